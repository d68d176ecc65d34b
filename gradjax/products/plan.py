"""How the loops over depth will run, settled before they start: segments of one size, and the wanted depths in them.

Widths that change would give every layer a program of its own. Neighbouring factors are instead padded with zeros to
one size, which elimination passes over exactly, as long as that does not more than double a width worth the name.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradjax.products.factors import Runs

SMALL = 64  # below this width padding costs less than another compilation


class Segment(NamedTuple):
    """Consecutive factors as one stack of equal squares."""

    stack: Any  # (..., m, n, n)
    start: int  # how many factors come before
    depths: tuple[int, ...]  # the wanted ones among start + 1, …, start + m

    @property
    def numbers(self) -> np.ndarray:
        """1, 2, … counted over all segments, one for each factor."""
        return np.arange(self.start + 1, self.start + self.stack.shape[-3] + 1)

    @property
    def wanted(self) -> np.ndarray:
        """For each factor, whether the product up to and with it is wanted."""
        return np.isin(self.numbers, self.depths)

    @property
    def slots(self) -> np.ndarray:
        """For each factor, which wanted depth of the segment comes next at or after it; one past the last: none."""
        return np.searchsorted(np.array(self.depths, int), self.numbers)

    @property
    def stops(self) -> np.ndarray:
        """For each factor, how many factors of the segment end with the next wanted depth, or with the segment."""
        ends = np.array([*self.depths, self.numbers[-1]]) - self.start
        return ends[self.slots]


def padded(runs: Runs) -> Runs:
    """NumPy runs as few padded stacks, so that all chains of one size share one compiled program."""
    groups = _grouped(runs)
    return Runs(tuple(_padded(group, np) for group in groups))


def _grouped(runs: Runs) -> list[list]:
    groups: list[list] = []
    for run in runs.arrays:
        if groups and _fit_together([*groups[-1], run]):
            groups[-1].append(run)
        else:
            groups.append([run])
    return groups


def make_segments(runs: Runs, depths: tuple[int, ...]) -> list[Segment]:
    """The segments of checked runs; `depths` ascending."""
    segments, start = [], 0
    for group in _grouped(runs):
        stack = _padded(group, jnp)
        end = start + stack.shape[-3]
        segments.append(Segment(stack, start, tuple(d for d in depths if start < d <= end)))
        start = end
    return segments


def _fit_together(runs: list) -> bool:
    sizes = [size for run in runs for size in run.shape[-2:]]
    return max(sizes) <= max(SMALL, 2 * min(sizes))


def _padded(runs: list, xp):
    size = max(size for run in runs for size in run.shape[-2:])
    stacks = []
    for run in runs:
        missing = [(0, 0)] * (run.ndim - 2) + [(0, size - run.shape[-2]), (0, size - run.shape[-1])]
        stacks.append(run if run.shape[-2:] == (size, size) else xp.pad(run, missing))
    return stacks[0] if len(stacks) == 1 else xp.concatenate(stacks, axis=-3)


def leading_inputs(segments: list[Segment]) -> list[Array]:
    """For each segment, (m, n): from which inputs of each factor a path leads to the next wanted depth."""
    found, onward = [], None
    for segment in reversed(segments):
        size = segment.stack.shape[-1]
        after = jnp.zeros(size, bool) if onward is None else resized(onward, size)

        def backward(live, inputs):
            layer, all_rows = inputs
            leads = jnp.any((layer != 0) & (live | all_rows)[:, None], axis=0)
            return leads, leads

        onward, leads = lax.scan(backward, after, (segment.stack, jnp.asarray(segment.wanted)), reverse=True)
        found.append(leads)
    return found[::-1]


def provable_ranks(segments: list[Segment]) -> Array:
    """What a trace can prove of the rank of every prefix: the narrowest layer so far, counting reached vertices."""
    sizes = np.concatenate([np.full(segment.stack.shape[-3], segment.stack.shape[-1]) for segment in segments])
    narrowest = jnp.asarray(np.minimum.accumulate(sizes), jnp.int32)
    # most chains have no zero, and looking at each layer takes as long as multiplying it
    return lax.cond(zeros(segments) > 0, lambda: _reached(segments), lambda: narrowest)


def zeros(segments: list[Segment]) -> Array:
    """How many entries are zero, NaN where some entry is not finite: one sum, since two take four times as long."""
    return jnp.sum(jnp.stack([jnp.sum(jnp.where(s.stack == 0, 1.0, s.stack * 0.0)) for s in segments]))


def _reached(segments: list[Segment]) -> Array:
    """A row counts as reached where a path from the first width leads to it, and while the next factor looks at it."""
    reached, counts = None, []
    for segment in segments:
        size = segment.stack.shape[-1]
        reached = jnp.ones(size, bool) if reached is None else resized(reached, size)

        def forward(live, layer):
            nonzero = layer != 0
            rows = jnp.any(nonzero & live[None, :], axis=1)
            meeting = jnp.any(nonzero, axis=0) & live
            return rows, jnp.minimum(jnp.sum(rows, dtype=jnp.int32), jnp.sum(meeting, dtype=jnp.int32))

        reached, narrow = lax.scan(forward, reached, segment.stack)
        counts.append(narrow)
    return lax.cummin(jnp.concatenate(counts))


def resized(rows: Array, size: int) -> Array:
    """The leading axis cut, or filled up with zeros, to a size."""
    missing = [(0, max(size - rows.shape[0], 0))] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows[:size], missing)
