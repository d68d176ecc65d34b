"""A grid's cells: their values, their place in the grid, and a number for each that its values alone decide.

A key that follows from the values, not from the place in the grid, is the same in every grid that holds the cell.
"""

import hashlib
import inspect
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Cells:
    """The cells of a grid, ordered by their values, so that the order in which a grid names them is without effect.

    Args:
        shape: the grid's, one axis a name, in the grid's order.
        axes: name -> the values on its axis, as plain numbers.
        values: name -> (count,) array for the program.
        numbers: (count, 2) uint32: 64 bits that tell a cell from any other by its names and values.
        places: (count,) flat index of each in the grid.
    """

    shape: tuple[int, ...]
    axes: dict[str, list[Any]]
    values: dict[str, np.ndarray]
    numbers: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)


def cells_of(grid: Mapping[str, Any]) -> Cells:
    """The cells of the product of the grid's axes.

    Raises:
        ValueError: for a grid without axes, and for an axis that is empty, is not one-dimensional, holds something
            that is no finite number (inf is allowed, NaN is not), or holds a value twice.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(f"grid is {grid!r:.100}; expected a dict from a name to the values that its axis takes")
    arrays = {name: _axis(name, values) for name, values in grid.items()}
    axes = {name: array.tolist() for name, array in arrays.items()}
    names = sorted(axes)
    shape = tuple(map(len, axes.values()))
    ranks = {name: np.argsort(np.argsort(array, kind="stable")) for name, array in arrays.items()}
    where = dict(zip(axes, np.indices(shape).reshape(len(shape), -1), strict=True))
    places = np.lexsort([ranks[name][where[name]] for name in reversed(names)])
    chosen = {name: where[name][places] for name in names}
    words = {name: [json.dumps(value) for value in axes[name]] for name in names}
    numbers = [_number(names, [words[name][i] for name, i in zip(names, row, strict=True)]) for row in _rows(chosen)]
    values = {name: _as_jax_has_it(arrays[name])[chosen[name]] for name in names}
    return Cells(shape, axes, values, np.array(numbers, np.uint32), places)


def check_cell(cell: Callable, grid: Mapping[str, Any]) -> None:
    """Refuses a cell that does not take a key and the grid's names.

    Raises:
        TypeError: where the cell is not callable. ValueError: naming the arguments that do not fit.
    """
    if not callable(cell):
        raise TypeError(f"cell is {type(cell).__name__}; expected a function cell(key, **point)")
    try:
        inspect.signature(cell).bind(None, **dict.fromkeys(grid))
    except TypeError as error:
        raise ValueError(f"cell does not take a key and the grid's names {list(grid)}: {error}") from error
    except ValueError:  # a builtin without a signature: its call will tell
        return


def _rows(columns: Mapping[str, np.ndarray]) -> itertools.chain[Any] | zip:
    return zip(*(column.tolist() for column in columns.values()), strict=True)


def _number(names: list[str], words: list[str]) -> tuple[int, int]:
    """64 bits of the digest of the names and values, as two words for ``fold_in``, which takes 32 bits."""
    point = json.dumps(list(zip(names, words, strict=True))).encode()
    digest = hashlib.sha256(point).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


def _axis(name: str, values: Any) -> np.ndarray:
    """One axis as an array, checked."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"grid has the name {name!r}; expected an identifier, for cell takes it as an argument")
    said = f"grid[{name!r}]"
    try:
        array = np.asarray(list(values) if isinstance(values, range) else values)
    except (ValueError, TypeError) as error:  # lists of unequal length, a tracer
        raise ValueError(f"{said} is no array: {error}; expected one axis of numbers") from error
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{said} has shape {array.shape}; expected one axis with at least one value")
    if array.dtype.kind not in "biuf" or array.dtype == np.longdouble:
        raise ValueError(f"{said} holds {array.dtype}; expected numbers (give indices into a tuple for anything else)")
    plain = array.tolist()
    if any(math.isnan(value) for value in plain):
        raise ValueError(f"{said} holds NaN; expected numbers")
    if len(set(plain)) < len(plain):
        raise ValueError(
            f"{said} holds a value twice: its cells would be equal (give repetitions an axis of their own)"
        )
    if array.dtype.kind in "iu" and (_as_jax_has_it(array) != array).any():
        raise ValueError(f"{said} holds integers beyond 32 bits; enable x64 or give smaller ones")
    # one zero: -0.0 equals 0.0, but would give another cell
    return array + 0.0 if array.dtype.kind == "f" else array


def _as_jax_has_it(array: np.ndarray) -> np.ndarray:
    """The numbers in the type that jax gives them: 32 bits without x64."""
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
