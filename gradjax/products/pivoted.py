"""The safe route: one layer at a time, eliminated with complete pivoting in wide numbers.

The product so far is kept as P = X · diag(d) · T with X and T well conditioned and every scale in d. A new layer J
gives B = (J X) diag(d), which complete pivoting writes as X' diag(d') Y, |X'|, |Y| ≤ 1, and T' = Y T. Elimination
commutes with the scaling of rows and of columns, so layers diag(phi') W keep their small rows however many decades they
span, where orthogonal reduction loses them to the large ones (Demmel, Gu, Eisenstat, Slapnicar, Veselic, Drmac 1999: rank-revealing
decompositions). A pivot is exactly zero when nothing is left, and only then.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.factors import Runs
from gradjax.products.plan import Part, onward_rows
from gradjax.products.wide import Wide

HIGHEST = lax.Precision.HIGHEST


class Graded(NamedTuple):
    """A product as left · diag(scale) · right."""

    left: Wide
    scale: Wide
    right: Array


def identity(width: int, dtype) -> Graded:
    """The empty product."""
    eye = jnp.eye(width, dtype=dtype)
    return Graded(wide.from_float(eye), wide.from_float(jnp.ones(width, dtype)), eye)


def eliminate(b: Wide, rank: Array) -> tuple[Wide, Wide, Array]:
    """b = X · diag(d) · Y by Gaussian elimination with complete pivoting, stopped after `rank` pivots.

    Rows and columns stay where they are. Past the rank that the zero pattern allows only rounding is left, which might
    exceed a tiny value that is real.
    """
    rows, columns = b.mantissa.shape

    def step(rest: Wide, index: Array):
        flat = jnp.argmax(wide.size_key(rest))
        row, column = rest[flat // columns], rest[:, flat % columns]
        pivot = rest[flat // columns, flat % columns]
        pivot = wide.where(index < rank, pivot, wide.zeros_like(pivot))
        x, y = wide.divide(column, pivot), wide.divide(row, pivot)
        rest = wide.subtract(rest, wide.multiply(x[:, None], row[None, :]))
        gone = (jnp.arange(rows) == flat // columns)[:, None] | (jnp.arange(columns) == flat % columns)[None, :]
        return wide.where(gone, wide.zeros_like(rest), rest), (x, pivot, y)

    _, (x, pivots, y) = lax.scan(step, b, jnp.arange(min(rows, columns)))
    left = Wide(x.mantissa.T, x.exponent.T)
    return left, pivots, y.mantissa * wide.power_of_two(y.exponent, y.mantissa.dtype)


def absorb(product: Graded, layer: Array, rank: Array) -> Graded:
    """layer · product, graded again, of rank `rank` at most."""
    return regrade(wide.matmul(wide.from_float(layer), product.left), product, rank)


def regrade(left: Wide, product: Graded, rank: Array) -> Graded:
    """left · diag(scale) · right with a new left factor, graded again."""
    left, scale, right = eliminate(wide.multiply(left, product.scale[None, :]), rank)
    return Graded(left, scale, jnp.matmul(right, product.right, precision=HIGHEST))


class Layers(NamedTuple):
    """What a step over a run is handed for each factor (leading axis: the run's length)."""

    matrix: Array
    rank: Array  # what the zero pattern allows the product up to here
    onward: Array  # rows from which a path leads to a later wanted depth
    wanted: Array  # whether the product up to here is wanted
    slot: Array  # where it is kept


def snapshots(runs: Runs, plan: list[Part], ranks: Array, jitter: Array) -> list[Graded]:
    """The graded product after each wanted depth: one stack of them for every run that holds any.

    ranks: (depth,), what the zero pattern allows each prefix. jitter: which random signs to move every entry by one
    rounding unit with, 0 for none; two answers with different signs differ by what rounding does to them.
    """
    product, kept = identity(runs.arrays[0].shape[-1], runs.arrays[0].dtype), []
    for run, part, onward in zip(runs.arrays, plan, onward_rows(runs, plan), strict=True):
        rank = ranks[part.start : part.start + part.length]
        where = (jnp.asarray(part.wanted()), jnp.asarray(part.slots()))
        layers = Layers(jittered(run, jitter, part.start), rank, onward, *where)
        if part.length == 1:
            layer = jax.tree.map(lambda leaf: leaf[0], layers)
            after = absorb(product, _pruned(layer), layer.rank)
            states = jax.tree.map(lambda leaf: leaf[None], after)
            product = _without_dead_ends(after, layer)
        else:
            empty = jax.tree.map(lambda leaf, d=len(part.depths): jnp.zeros((d, *leaf.shape), leaf.dtype), product)
            (product, states), _ = lax.scan(_step, (product, empty), layers)
        kept.append(states)
    return [states for states, part in zip(kept, plan, strict=True) if part.depths]


def _step(carry: tuple[Graded, Graded], layer: Layers) -> tuple[tuple[Graded, Graded], None]:
    product, states = carry
    product = absorb(product, _pruned(layer), layer.rank)
    states = jax.tree.map(lambda kept, leaf: kept.at[layer.slot].set(leaf, mode="drop"), states, product)
    return (_without_dead_ends(product, layer), states), None


def _pruned(layer: Layers) -> Array:
    """The factor without the rows that lead nowhere: exact zeros are met where it would meet rounding."""
    return jnp.where((layer.onward | layer.wanted)[:, None], layer.matrix, 0.0)


def _without_dead_ends(product: Graded, layer: Layers) -> Graded:
    """The same after a wanted depth, whose own rows all count but whose dead ends must not go on."""
    dead_ends = layer.wanted & ~layer.onward

    def drop(product: Graded) -> Graded:
        left = wide.where(dead_ends[:, None], wide.zeros_like(product.left), product.left)
        return regrade(left, product, layer.rank)

    return lax.cond(jnp.any(dead_ends) & jnp.any(layer.onward), drop, lambda product: product, product)


def jittered(run: Array, jitter: Array, start: int) -> Array:
    """The run with each entry moved by one rounding unit, up or down by signs drawn from `jitter`; 0 moves none."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), jitter.astype(jnp.uint32)), start)
    sign = jax.random.rademacher(key, run.shape, run.dtype)
    return run * (1 + sign * jnp.where(jitter == 0, 0.0, jnp.finfo(run.dtype).eps).astype(run.dtype))
