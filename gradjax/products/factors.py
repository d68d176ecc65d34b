"""What a caller may hand in, checked before any computing and brought to one form: runs of equally shaped factors.

A run is an array (..., m, rows, columns) whose m matrices are multiplied in order, so a run longer than one is square.
A network of a hundred thousand equal layers is one run, and the program that multiplies it is as short as for ten.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from gradjax.arguments import real, reals, wholes

LOOSEST = 1e3  # a tolerance beyond it asks for no digit at all, and its powers would overflow


class Runs(NamedTuple):
    """Factors as arrays (..., m_i, n_i, n_{i-1}): m_i above 1 only where square, leading batch axes alike."""

    arrays: tuple[Any, ...]


class Checked(NamedTuple):
    """Factors that passed the door."""

    runs: Runs
    widths: tuple[int, ...]  # n_0, n_1, …, n_depth
    concrete: tuple[np.ndarray, ...] | None  # the runs on the host, None inside a trace
    numpy: bool  # whether the answer goes back as NumPy

    @property
    def depth(self) -> int:
        """How many factors there are."""
        return len(self.widths) - 1

    def count(self, depth: int) -> int:
        """How many singular values the product of the first `depth` factors has."""
        return min(self.widths[0], self.widths[depth])


def check_factors(factors) -> Checked:
    """The factors as checked runs; ValueError naming the first one that does not fit."""
    runs = _grouped(factors)
    numpy = all(isinstance(run, np.ndarray) for run in runs.arrays)
    traced = any(isinstance(run, Tracer) for run in runs.arrays)
    concrete = None if traced else tuple(np.asarray(run) for run in runs.arrays)
    if concrete is not None and concrete[0].ndim == 3:
        _check_finite(concrete)
    return Checked(runs, _widths(runs), concrete, numpy)


def _grouped(factors) -> Runs:
    if isinstance(factors, Runs):
        _check_matrices([_Matrix(run, i) for i, run in enumerate(factors.arrays)], "factors.arrays")
        return factors
    if hasattr(factors, "ndim") and hasattr(factors, "dtype"):
        return Runs((_check_stack(factors),))
    if not isinstance(factors, Sequence):
        raise TypeError(f"factors: expected an array (depth, n, n) or a sequence of matrices, got {type(factors)}")
    matrices = [f if hasattr(f, "dtype") else reals(f"factors[{i}]", f, None) for i, f in enumerate(factors)]
    for index, matrix in enumerate(matrices):
        if matrix.ndim < 2:
            raise ValueError(f"factors[{index}]: got shape {matrix.shape}; expected a matrix (rows, columns)")
    _check_matrices([_Matrix(m[..., None, :, :], i) for i, m in enumerate(matrices)], "factors")
    groups = itertools.groupby(enumerate(matrices), key=_run_key)
    return Runs(tuple(_stacked([m for _, m in group]) for _, group in groups))


def _run_key(indexed) -> tuple:
    index, matrix = indexed
    rows, columns = matrix.shape[-2:]
    return (rows, columns) if rows == columns else (rows, columns, index)


def _stacked(matrices: list):
    every_numpy = all(isinstance(m, np.ndarray) for m in matrices)
    return (np if every_numpy else jnp).stack(matrices, axis=-3)


class _Matrix(NamedTuple):
    run: Any
    place: int


def _check_stack(stack):
    if stack.ndim < 3 or 0 in stack.shape[-3:]:
        raise ValueError(
            f"factors: got an array of shape {stack.shape}; expected (..., depth, n, n) with depth and n at least 1 "
            "(wrap a single matrix in a list)"
        )
    _check_matrices([_Matrix(stack, 0)], "factors")
    return stack


def _check_matrices(matrices: list[_Matrix], name: str) -> None:
    if not matrices:
        raise ValueError(f"{name}: got an empty sequence; expected at least one matrix")
    before = first = matrices[0].run
    for run, index in matrices:
        where = f"{name}[{index}]" if len(matrices) > 1 else name
        rows, columns = run.shape[-2:]
        if 0 in run.shape[-3:]:
            raise ValueError(f"{where}: got shape {(rows, columns)}; expected at least one row and one column")
        if run.dtype not in (np.dtype("float32"), np.dtype("float64")):
            raise ValueError(f"{where}: got dtype {run.dtype}; expected float32 or float64 (cast it with .astype)")
        if run.dtype != first.dtype:
            raise ValueError(f"{where}: got dtype {run.dtype} after {first.dtype}; cast all to one dtype")
        if run.shape[:-3] != first.shape[:-3]:
            raise ValueError(f"{where}: got batch shape {run.shape[:-3]}; expected {first.shape[:-3]}")
        if run.shape[-3] > 1 and rows != columns:
            raise ValueError(
                f"{where}: got {run.shape[-3]} stacked matrices of shape {(rows, columns)}; only square ones can be "
                "multiplied in a row (hand over a list if the widths change)"
            )
        if index and columns != before.shape[-2]:
            raise ValueError(
                f"{where}: got {columns} columns; expected {before.shape[-2]}, the rows of {name}[{index - 1}] "
                "(the first factor is applied first)"
            )
        before = run


def _widths(runs: Runs) -> tuple[int, ...]:
    rows = [[run.shape[-2]] * run.shape[-3] for run in runs.arrays]
    return (runs.arrays[0].shape[-1], *itertools.chain.from_iterable(rows))


def _check_finite(concrete: tuple[np.ndarray, ...]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if all(np.isfinite(run.sum()) for run in concrete):  # one quick pass; a sum may overflow, so look again
            return
    bad = np.flatnonzero(~np.concatenate([np.isfinite(run).all(axis=(1, 2)) for run in concrete]))
    if bad.size:
        raise ValueError(
            f"factors[{bad[0]}]: holds NaN or inf (so do {bad.size} factors in all); expected finite numbers "
            "(look at the layer that made it)"
        )


def check_tolerance(tolerance) -> float:
    """The tolerance, an absolute error in ln σ, as a float; ValueError unless it is a positive number."""
    return min(real("tolerance", tolerance, "(0, inf)"), LOOSEST)


def check_depths(depths, depth: int) -> tuple[int, ...]:
    """The prefix depths as a tuple of ints; ValueError unless each is between 1 and the number of factors."""
    chosen = tuple(wholes("depths", depths))
    wrong = [d for d in chosen if not 1 <= d <= depth]
    if wrong or not chosen:
        raise ValueError(f"depths: got {wrong or 'none'}; expected numbers from 1 to {depth}, the number of factors")
    return chosen
