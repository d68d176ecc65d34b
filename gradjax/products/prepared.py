"""What the host knows of concrete factors before the loop over depth starts, and what follows from it.

The zeros of the pattern give the ranks and say whether they must be kept; stretches that ordinary digits do not hold
are replaced; and factors in float32 go on in float64. Inside a trace nothing is known.
"""

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np

from gradjax.platforms import in_doubles
from gradjax.products import doubled
from gradjax.products.exact import replaced, stretches
from gradjax.products.factors import Checked, Runs
from gradjax.products.pattern import generic_ranks, keeps_zeros
from gradjax.products.plan import padded


class Prepared(NamedTuple):
    """A chain ready for the loop over depth."""

    runs: Runs
    depths: tuple[int, ...]  # the wanted ones, ascending, counted in these factors
    ranks: Any  # generic ranks of the prefixes, (..., depth), or None
    twice: bool  # whether zeros must be kept in twice the digits
    watched: bool  # whether layers may mix scales in no order
    given_up: np.ndarray | None = None  # at which of the depths nothing is certain, (..., len(depths))

    @property
    def host(self) -> bool:
        """Whether it stands on the host, and the answer goes back there."""
        return isinstance(self.runs.arrays[0], np.ndarray)

    @property
    def dtype(self):
        """What it is multiplied in."""
        return self.runs.arrays[0].dtype

    def precision(self):
        """The context that computes in the factors' own precision; what stands on a device is in the caller's."""
        return in_doubles(self.dtype == np.float64) if self.host else contextlib.nullcontext()


def prepared(checked: Checked, depths: tuple[int, ...]) -> Prepared:
    """The chain as it will be multiplied: on the host (NumPy) where it came so or was changed there."""
    if checked.concrete is None:
        return Prepared(checked.runs, depths, None, twice=False, watched=True)
    checked = _in_float64(checked)
    ranks, keeps = _pattern(checked, depths)
    found = stretches(checked, depths)
    if found.stretches:
        runs, depths, ranks, given_up = replaced(checked, depths, ranks, found)
        return Prepared(padded(runs), depths, ranks, False, False, given_up)
    return Prepared(padded(checked.runs) if checked.numpy else checked.runs, depths, ranks, keeps, found.beyond)


def _in_float64(checked: Checked) -> Checked:
    """Factors of single precision with twice the digits, on the host.

    In their own, 1000 Gaussian layers of width 64 take forty times as long, since each has to be eliminated on its own,
    and sparse, triangular or masked ones lose up to a nat that rounding the entries does not.
    """
    assert checked.concrete is not None
    if checked.concrete[0].dtype == np.float64:
        return checked
    doubles = tuple(run.astype(np.float64) for run in checked.concrete)
    return checked._replace(runs=Runs(doubles), concrete=doubles, numpy=True)


def _pattern(checked: Checked, depths: tuple[int, ...]) -> tuple[np.ndarray, bool]:
    """The generic rank of every prefix, (..., depth), and whether zeros must be kept and can be."""
    assert checked.concrete is not None
    batch = checked.concrete[0].shape[:-3]
    nonzero = [(run != 0).reshape(-1, *run.shape[-3:]) for run in checked.concrete]
    if all(run.all() for run in nonzero):
        ranks = np.minimum(np.minimum.accumulate(checked.widths[:-1]), checked.widths[1:])
        ranks = np.minimum.accumulate(ranks).astype(np.int32)
        return np.broadcast_to(ranks, (*batch, checked.depth)), False
    members = [[run[i] for run in nonzero] for i in range(math.prod(batch))]
    ranks = np.array([generic_ranks(runs) for runs in members], np.int32).reshape(*batch, checked.depth)
    return ranks, any(keeps_zeros(runs, depths) for runs in members) and doubled.suits(checked.concrete)
