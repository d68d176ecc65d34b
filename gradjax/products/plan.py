"""Where in the runs the wanted prefix depths lie: all that the loops over depth need to know before they start."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.products.factors import Runs
from gradjax.products.pattern import leading_rows


class Part(NamedTuple):
    """What one run contributes: factors start, start + 1, …, and the wanted depths among them."""

    start: int
    length: int
    depths: tuple[int, ...]

    def slots(self) -> np.ndarray:
        """For each factor, which wanted depth of this part comes next at or after it (one past the last: none)."""
        return np.searchsorted(np.array(self.depths, int), np.arange(self.start + 1, self.start + self.length + 1))

    def wanted(self) -> np.ndarray:
        """For each factor, whether the product up to and with it is wanted."""
        return np.isin(np.arange(self.start + 1, self.start + self.length + 1), self.depths)


def make_plan(runs: Runs, depths: tuple[int, ...]) -> list[Part]:
    """The parts of all runs; `depths` ascending."""
    parts, start = [], 0
    for run in runs.arrays:
        length = run.shape[-3]
        parts.append(Part(start, length, tuple(d for d in depths if start < d <= start + length)))
        start += length
    return parts


def onward_rows(runs: Runs, plan: list[Part]) -> list[Array]:
    """For each run, (m, n): from which rows of each factor a path leads to the next wanted depth after it."""
    found, onward = [], jnp.zeros(runs.arrays[-1].shape[-2], bool)
    for run, part in zip(reversed(runs.arrays), reversed(plan), strict=True):
        onward, rows = leading_rows(run, part.wanted(), onward)
        found.append(rows)
    return found[::-1]
