"""Calls a public function with some arguments replaced by bad values, and says what is wrong with what came of it."""

import dataclasses
import importlib
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import gradjax
from bad_input.kinds import Argument, Bad, Own, Tracer

PACKAGE = str(Path(gradjax.__file__).parent)


class Row(NamedTuple):
    """One public function: how it is called rightly, and of what kind each of its arguments is.

    `call` stands for the function where arguments by name are not enough; `nan`: it returns a NaN by right.
    """

    name: str
    arguments: dict[str, Argument]
    call: Callable | None = None
    nan: bool = False


def row(name: str, /, *, call: Callable | None = None, nan: bool = False, **arguments: Argument) -> Row:
    """A line of the table: the function's full name, and a kind for each argument."""
    return Row(f"gradjax.{name}", arguments, call, nan)


def found(name: str) -> Any:
    """The public object of this full name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def outcome(row: Row, replaced: Mapping[str, Bad]) -> tuple[Any, BaseException | None]:
    """What the call returns, or the exception that it ends with."""
    function = row.call or found(row.name)
    given = {name: argument.make() for name, argument in row.arguments.items() if name not in replaced}
    given |= {name: one.make() for name, one in replaced.items()}
    given = {
        name: each() if isinstance(each, type) and issubclass(each, Tracer) else each for name, each in given.items()
    }
    traced = {name: each for name, each in given.items() if isinstance(each, Tracer)}
    results = []

    def call(tracers):
        results.append(function(**{**given, **tracers}))
        return 0

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if traced:
                shapes = {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in traced.items()}
                jax.eval_shape(call, shapes)
                return None, None
            call({})
    except Exception as error:
        return None, error
    return results[0], None


def complaint(row: Row, replaced: Mapping[str, Bad], right: Any) -> str | None:
    """What is wrong with the outcome, in words; None where it is as it must be. `right` is the right call's result."""
    result, error = outcome(row, replaced)
    verdicts = {one.verdict for one in replaced.values()}
    said = ", ".join(f"{name} = {one.label} ({one.verdict})" for name, one in replaced.items())
    if error is not None:
        if "refused" not in verdicts and verdicts == {"same"}:
            return f"{said}: raised {type(error).__name__}: {first_line(error)}"
        return (fault := foreign(row, replaced, error)) and f"{said}: {fault}"
    if "refused" in verdicts:
        return f"{said}: was taken"
    if not row.nan and any(np.isnan(array).any() for array in numbers_in(result)):
        return f"{said}: gave a NaN"
    if verdicts == {"same"} and not alike(result, right):
        return f"{said}: gave another result"
    return None


def foreign(row: Row, replaced: Mapping[str, Bad], error: BaseException) -> str | None:
    """Why this error is not one of gradjax's own that names an argument; None where it is."""
    if isinstance(error, Own):
        return None
    if not isinstance(error, (ValueError, TypeError)):
        return f"raised {type(error).__name__}: {first_line(error)}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "nowhere" if place is None else place.tb_frame.f_code.co_filename
    if not where.startswith(PACKAGE):
        return f"{type(error).__name__} from {'/'.join(Path(where).parts[-2:])}: {first_line(error)}"
    words = [word for name in replaced for word in (name, *row.arguments[name].words)]
    if all(one.verdict != "refused" for one in replaced.values()):  # such a value may clash with another argument
        words += [word for name, argument in row.arguments.items() for word in (name, *argument.words)]
    if not any(re.search(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9])", str(error)) for word in words):
        return f"does not name it: {first_line(error)}"
    return None


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:160]


def numbers_in(result: Any) -> list[np.ndarray]:
    """Every array of floats within a result, those within dataclasses too."""
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
        return [array for part in result for array in numbers_in(part)]
    arrays = []
    for leaf in jax.tree.leaves(result):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            continue
        if isinstance(leaf, (jax.Array, np.ndarray, np.generic, float, int)) and np.asarray(leaf).dtype.kind in "fcV":
            arrays.append(np.asarray(leaf).astype(complex))
    return arrays


def alike(one: Any, other: Any) -> bool:
    """Whether two results hold the same numbers, to the digits of float32."""
    pairs = numbers_in(one), numbers_in(other)
    return len(pairs[0]) == len(pairs[1]) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True)
        for a, b in zip(*pairs, strict=True)
    )
