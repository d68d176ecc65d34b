"""What rounding does to a value, seen by doing it: runs with every entry moved a little beside the reported one.

The bound on a value's error is `SAFETY` times what those runs moved it and its neighbours; a value that they move too
far is lost, and said to be. What no rounding of an entry moves, such as a pivot that an elimination has drowned, none
of them shows: `scales` looks for that.
"""

import math

import jax.numpy as jnp
from jax import Array

from gradjax.products.factors import Runs
from gradjax.products.plan import Segment

MOVED = 4.0  # the rounding units by which every entry is moved at most in the runs beside the reported one
SAFETY = 20.0  # the bound over the root mean square of what those runs moved
LOST = {"float64": 1.0, "float32": 5.0}  # a value that rounding may move by more nats than this says nothing
DOUBTFUL = 1.0  # beside a lost one, one that it may move by more than this is in doubt: noise may hold still by luck
DRIFT = {"float64": 0.0, "float32": 1.0}  # rounding units a layer in which all runs err alike: a rounding has a bias


def probes_for(runs: Runs) -> int:
    """How many runs beside the reported one: few values tell less about one another."""
    return 3 if max(max(run.shape[-2:]) for run in runs.arrays) <= 32 else 2


def jittered(segments: list[Segment], seed: Array) -> list[Segment]:
    """The segments with each entry moved by up to `MOVED` rounding units at random; seed 0 moves none.

    Not by one unit up or down: two by two, half of all sign patterns are of rank one and would move no small value.
    """

    def move(segment: Segment) -> Segment:
        stack = segment.stack
        size = MOVED * float(jnp.finfo(stack.dtype).eps)
        relative = jnp.where(seed == 0, 0.0, size) * _noise(stack.shape, seed, stack.dtype)
        return segment._replace(stack=stack * (1 + relative))

    return [move(segment) for segment in segments]


def _noise(shape: tuple[int, ...], seed: Array, dtype) -> Array:
    """Numbers spread over [−1, 1] in no pattern that the factors could share: a multiplicative hash of the position."""
    bits = jnp.arange(math.prod(shape), dtype=jnp.uint32) + seed.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
    for _ in range(3):
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    return ((bits >> 8).astype(jnp.int32).astype(dtype) * 2.0**-23 - 1.0).reshape(shape)


def bounded(values: Array, probes: Array, rank: Array, blurred: Array, width: int, depth: int) -> tuple[Array, Array]:
    """One row of the answer from the reported run and its probes: proven zeros, bounds, and what is lost.

    blurred: what no probe would show may be wrong, so that everything is lost that is not proven.
    """
    eps, lost = float(jnp.finfo(values.dtype).eps), LOST[values.dtype.name]
    proven = jnp.arange(values.shape[0], dtype=jnp.int32) >= rank
    vanished = jnp.isneginf(values) | jnp.any(jnp.isneginf(probes), axis=0)
    distance = jnp.where(vanished[None, :], 0.0, probes - jnp.where(vanished, 0.0, values)[None, :])
    moved = jnp.sqrt(jnp.sum(distance**2, axis=0) / max(probes.shape[0], 1))
    known = ~proven & ~vanished & ~blurred & (SAFETY * moved < lost)
    bound = SAFETY * _neighbourhood(moved, known) + eps * (10 + DRIFT[values.dtype.name] * depth + 2 * jnp.abs(values))
    bound = jnp.where(known & (bound > DOUBTFUL), _doubted(bound, known, ~proven & ~known, lost), bound)
    last = jnp.min(jnp.where(jnp.isneginf(values), jnp.inf, values))
    lowest = jnp.where(jnp.isposinf(last), 0.0, last) + math.log(eps)
    values = jnp.where(jnp.isneginf(values), lowest, values)  # not proven, so not claimed
    errors = jnp.where(proven, 0.0, jnp.where(known & (bound <= lost), bound, jnp.inf))
    missing = (0, width - values.shape[0])  # no narrower layer let more values through
    values = jnp.pad(jnp.where(proven, -jnp.inf, values), missing, constant_values=-jnp.inf)
    return values, jnp.pad(errors, missing)


def _doubted(bound: Array, known: Array, gone: Array, lost: float) -> Array:
    """Bounds of values beside lost ones: the largest that is said where the known ones reach so far, else infinite.

    Noise lies below what is known, and few of its values hold still: past two lost in a row, or with no other known one
    beside it, one that does is taken for noise. (64 float32 layers and their inverses: off by 2.5 with a bound of 2.2.)
    """
    beside_lost = jnp.any(_around(gone), axis=0)
    broken = jnp.cumsum(gone & jnp.pad(gone, (1, 0))[:-1], dtype=jnp.int32) > 0
    alone = jnp.sum(_around(known), axis=0, dtype=jnp.int32) < 2
    return jnp.where(beside_lost, jnp.where(broken | alone, jnp.inf, jnp.maximum(bound, lost)), bound)


def _neighbourhood(moved: Array, known: Array) -> Array:
    """The largest of five neighbours: a few probes of one value may agree by luck, of all of them hardly."""
    return jnp.maximum(moved, jnp.max(_around(jnp.where(known, moved, 0.0)), axis=0))


def _around(row: Array) -> Array:
    """For each place those up to two before and behind it, (5, k); zeros beyond the ends."""
    padded = jnp.pad(row, 2)
    return jnp.stack([padded[shift : shift + row.shape[0]] for shift in range(5)])
