"""Bad input to every public function: an error of gradjax's own that names the argument, or the right answer."""

import inspect

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from bad_input import AFTER_COMPUTING, ELSEWHERE, ROWS, is_costly
from bad_input.judge import complaint, found, outcome
from bad_input.kinds import Argument, Bad
from bad_input.listing import public_functions
from hypothesis import HealthCheck, given, settings

CHEAP = [name for name in ROWS if not is_costly(name)]
DRAWN = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(autouse=True, scope="module")
def _whole_tracebacks():
    """jax takes its own frames out of tracebacks: an error of its own would look like one of ours."""
    before = jax.config.jax_traceback_filtering
    jax.config.update("jax_traceback_filtering", "off")
    yield
    jax.config.update("jax_traceback_filtering", before)


def test_the_table_has_a_line_for_every_public_function():
    covered = {id(found(name)) for name in ROWS if "[" not in name}
    missing = sorted(
        name
        for name, function in public_functions()
        if id(function) not in covered and not name.startswith(tuple(ELSEWHERE))
    )
    assert not missing, missing


def test_a_line_names_only_what_the_function_takes():
    for name, row in ROWS.items():
        if row.call is None:
            assert set(row.arguments) <= set(inspect.signature(found(name)).parameters), name


def _computes(one: Bad) -> bool:
    return one.verdict != "refused" or one.label in AFTER_COMPUTING


def _judge(name: str, chosen) -> None:
    row = ROWS[name]
    cases = [(a, bad) for a, kind in row.arguments.items() for bad in kind.bad if chosen(bad)]
    right, error = outcome(row, {}) if any(bad.verdict == "same" for _, bad in cases) else (None, None)
    if error is not None:
        raise error
    complaints = [one for argument, bad in cases if (one := complaint(row, {argument: bad}, right))]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("name", ROWS)
def test_each_bad_argument_is_refused_by_name_or_answered(name):
    _judge(name, lambda bad: not is_costly(name) or not _computes(bad))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ROWS if is_costly(name)])
def test_what_is_judged_by_a_result_that_takes_long(name):
    _judge(name, _computes)


@st.composite
def _two_bad_arguments(draw):
    """A function, and one or two of its arguments with bad values of the catalogue, one of them to be refused."""
    row = ROWS[draw(st.sampled_from([name for name in ROWS if ROWS[name].arguments]))]
    listed = {a: [b for b in kind.bad if not _computes(b)] for a, kind in row.arguments.items()}
    names = [a for a, bad in listed.items() if bad]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)) if names else []
    return row, {a: draw(st.sampled_from(listed[a])) for a in chosen}


def _two_are_refused(drawn):
    row, replaced = drawn
    wrong = complaint(row, replaced, None) if replaced else None
    assert wrong is None, f"{row.name}: {wrong}"


@settings(max_examples=150, **DRAWN)
@given(_two_bad_arguments())
def test_two_bad_arguments_are_refused_by_the_name_of_one(drawn):
    _two_are_refused(drawn)


@pytest.mark.slow
@settings(max_examples=2000, **DRAWN)
@given(_two_bad_arguments())
def test_any_two_bad_arguments_are_refused_by_the_name_of_one(drawn):
    _two_are_refused(drawn)


SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
KINDS = st.sampled_from(["bool", "int8", "int64", "uint32", "float16", "float32", "float64", "complex64", "U2", "O"])
ORDINARY = st.floats(-1e3, 1e3, width=16)


@st.composite
def _arrays(draw):
    """An array of any dtype, rank and size, some with a NaN or an infinity at any place."""
    kind, shape = draw(KINDS), draw(SHAPES)
    elements = st.just(None) if kind == "O" else ORDINARY if kind.startswith(("float", "complex")) else None
    array = draw(arrays.arrays(kind, shape, elements=elements))
    if array.size and kind.startswith(("float", "complex")) and draw(st.booleans()):
        array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return array


VALUES = st.one_of(
    _arrays(),
    st.floats(allow_subnormal=True),
    st.integers(-(10**30), 10**30),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.lists(st.one_of(ORDINARY, st.none(), st.text(max_size=1)), max_size=3),
    st.dictionaries(st.text(max_size=2), ORDINARY, max_size=2),
)


def _is_guarded(kind: Argument) -> bool:
    """Whether there is a value that the argument may not have: others mean something else by design."""
    return any(bad.verdict == "refused" for bad in kind.bad)


@st.composite
def _any_value(draw):
    open_ = {name: [a for a, kind in ROWS[name].arguments.items() if _is_guarded(kind)] for name in CHEAP}
    name = draw(st.sampled_from([name for name, arguments in open_.items() if arguments]))
    return ROWS[name], draw(st.sampled_from(open_[name])), draw(VALUES)


def _answered(drawn):
    """Whatever comes is refused by name, or gives a result: NaN out only for what was not finite coming in."""
    row, argument, value = drawn
    numbers = np.asarray(value) if isinstance(value, (np.ndarray, float, int)) else np.zeros(())
    ordinary = numbers.dtype.kind in "biufc" and (np.abs(numbers.astype(complex)) <= 1e3).all()
    wrong = complaint(
        row._replace(nan=row.nan or not ordinary), {argument: Bad(repr(value), lambda: value, "sound")}, None
    )
    assert wrong is None, f"{row.name}: {wrong}"


@pytest.mark.slow
@settings(max_examples=2000, **DRAWN)
@given(_any_value())
def test_any_value_is_refused_by_name_or_answered(drawn):
    _answered(drawn)
