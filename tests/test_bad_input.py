"""Bad input to every public function: an error of gradjax's own that names the argument, or the right answer."""

import inspect

import jax
import pytest
from bad_input import ELSEWHERE, JUDGED, ROWS
from bad_input.judge import complaint, found, outcome
from bad_input.listing import public_functions


@pytest.fixture(autouse=True)
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


@pytest.mark.parametrize("name", JUDGED)
def test_each_bad_argument_is_refused_by_name_or_answered(name):
    row = ROWS[name]
    right, error = outcome(row, {})
    if error is not None:
        raise error
    complaints = [
        complaint(row, {argument: bad}, right) for argument, kind in row.arguments.items() for bad in kind.bad
    ]
    complaints = [one for one in complaints if one]
    assert not complaints, "\n" + "\n".join(complaints)
