"""The fast route: several layers multiplied at once, then one elimination, the rounding of each block measured.

A block A = J_{l+m} … J_{l+1} X is written A = L · U by elimination with row pivoting, its columns ordered by size: L
has entries of at most 1 and takes the place of X, and the scales of U join the others. What a block of m layers loses
is its rounding divided by the pivots of U. Both are at hand: a vector of signs is taken through the same layers one by
one, and its distance from A times the signs shows the rounding that has really happened, cancellation included. The
next block is made as long as that leaves room for.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.pivoted import HIGHEST
from gradjax.products.wide import Wide

LONGEST = 64
NARROW = 32  # up to this width a triangle is inverted for free
CAUTION = 4.0  # over the rounding seen: one vector is a sample
SPARE = 0.25  # a block is made longer only where it should then lose less than this part of what it may


class Block(NamedTuple):
    """A product as left · diag(scale) · right with an ordinary left factor."""

    left: Array
    scale: Wide
    right: Array


def advance(product: Block, stack: Array, start: Array, length: Array, rank: Array) -> tuple[Block, Array]:
    """`length` more layers of the stack from `start` on: the product, and what its values may have lost, in nats.

    rank: what the zero pattern allows; the columns past it hold rounding only and are dropped.
    """
    rows, columns = product.left.shape
    signs = jnp.where(jnp.arange(columns) % 3 == 1, -1.0, 1.0).astype(product.left.dtype)

    def multiply(t, state):
        block, seen = state
        layer = lax.dynamic_index_in_dim(stack, start + t, keepdims=False)
        return jnp.matmul(layer, block, precision=HIGHEST), jnp.matmul(layer, seen, precision=HIGHEST)

    begin = (product.left, jnp.matmul(product.left, signs, precision=HIGHEST))
    block, seen = lax.fori_loop(0, length, multiply, begin)
    apart = jnp.matmul(block, signs, precision=HIGHEST) - seen
    rounding = CAUTION * jnp.sum(jnp.abs(apart)) / rows + _unit(block.dtype) * jnp.max(jnp.abs(block))
    after, packed = _eliminated(product._replace(left=block), rank)
    loss = rounding * _largest_inverse(packed, jnp.arange(columns, dtype=jnp.int32) < rank)
    return after, jnp.where(rank == 0, 0.0, loss)  # NaN or inf, and so refused, where it left the range


def next_length(length: Array, loss: Array, accepted: Array, allowance: float) -> Array:
    """How many layers the next block may have, from what this one lost: digits are lost layer by layer."""
    unit = _unit(loss.dtype)
    known = jnp.where(jnp.isfinite(loss), jnp.maximum(loss, 2 * unit), 1.0)
    each = jnp.log(known / unit) / length.astype(loss.dtype)
    fitting = jnp.floor(jnp.log(SPARE * allowance / unit) / each).astype(jnp.int32)
    longer = jnp.clip(fitting, length, jnp.minimum(4 * length, LONGEST))
    shorter = jnp.clip(fitting, 1, jnp.maximum(length - 1, 1))
    return jnp.where(accepted, longer, shorter)


def _unit(dtype) -> float:
    return CAUTION * float(jnp.finfo(dtype).eps)


def _largest_inverse(packed: Array, live: Array) -> Array:
    """How much the upper triangle of the live columns enlarges at most, going backward.

    Its smallest pivot tells, but for triangles far from normal; where it costs little the inverse itself is asked.
    """
    if live.shape[0] > NARROW:
        return 1 / jnp.min(jnp.where(live, jnp.abs(jnp.diagonal(packed)), jnp.inf))
    identity = jnp.eye(live.shape[0], dtype=packed.dtype)
    triangle = jnp.where(live[:, None] & live[None, :], jnp.triu(packed)[: live.shape[0]], identity)
    inverse = lax.linalg.triangular_solve(triangle, identity, left_side=True, lower=False)
    return jnp.max(jnp.sum(jnp.abs(jnp.where(live[:, None] & live[None, :], inverse, 0.0)), axis=0))


def _eliminated(product: Block, rank: Array) -> tuple[Block, Array]:
    """The same product with a left factor of bounded entries; and the packed elimination."""
    block, scale, right = product
    rows, columns = block.shape
    sizes = wide.multiply(scale, wide.from_float(jnp.max(jnp.abs(block), axis=0)))  # a norm's squares may overflow
    order = wide.argsort_descending(sizes)
    block, scale = block[:, order], scale[order]
    packed, _, permutation = lax.linalg.lu(block)
    pivots = jnp.abs(jnp.diagonal(packed))
    live = (pivots > 0) & (scale.mantissa != 0) & (jnp.arange(columns, dtype=jnp.int32) < rank)
    lower = jnp.tril(packed, -1) + jnp.eye(rows, columns, dtype=block.dtype)
    left = jnp.where(live[None, :], lower, 0.0)[jnp.argsort(permutation)]
    rows_of_right = scaled_rows(packed, scale, live)
    new = wide.multiply(scale, wide.from_float(jnp.where(live, pivots, 0.0)))
    return Block(left, new, jnp.matmul(rows_of_right, right[order], precision=HIGHEST)), packed


def scaled_rows(triangle: Array, scale: Wide, live: Array) -> Array:
    """The upper triangle with its rows over their pivots, between the scales: bounded where these descend."""
    pivots = jnp.where(live, jnp.abs(jnp.diagonal(triangle)), 1.0)
    ratio = scale.mantissa[None, :] / jnp.where(live, scale.mantissa, 1.0)[:, None]
    power = wide.power_of_two(scale.exponent[None, :] - scale.exponent[:, None], triangle.dtype)
    return jnp.where(live[:, None], jnp.triu(triangle) / pivots[:, None] * ratio * power, 0.0)
