"""A spectrum's computation in pieces, to be measured: what the length of a block costs and keeps, where the time goes.

`log_singular_values` makes each block as long as what the one before has lost leaves room for. Here the same code
multiplies and factors dense layers in blocks whose lengths follow the same rule, or are given beforehand, and counts
them. The safe route is left out: where even one layer loses too much it is taken all the same, and counted, so that a
block that is too long shows what it loses.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.products import blocks, pivoted, wide
from gradjax.products.chain import ADVANCE
from gradjax.products.factors import Runs
from gradjax.products.jacobi import log_values
from gradjax.products.pivoted import Graded
from gradjax.products.plan import make_segments
from gradjax.products.spectrum import make_plan


class InBlocks(NamedTuple):
    """A product and how it was multiplied; a leading axis for every batch axis of the layers."""

    product: Graded
    taken: Array  # blocks that are in the product
    refused: Array  # those that lost too much, and were tried again with fewer layers
    lossy: Array  # of those taken: at their shortest, and yet they lost too much


def allowance(factors: Array, tolerance: float) -> Array:
    """What one layer of (…, depth, n, n) may lose where `tolerance` is asked for, in nats."""
    depth, width = factors.shape[-3:-1]
    segments = make_segments(Runs((jax.ShapeDtypeStruct((depth, width, width), factors.dtype),)), (depth,))
    return make_plan(tolerance, segments, jnp.full(depth, width, jnp.int32), False).allowance


@jax.jit
def in_blocks(factors: Array, allowance: Array, shortest: Array, longest: Array) -> InBlocks:
    """The product of dense layers (…, depth, n, n), multiplied in blocks of `shortest` to `longest` layers.

    allowance: what one layer may lose, in nats; of no account where both lengths are the same.
    """
    one = _one_in_blocks
    for _ in factors.shape[:-3]:
        one = jax.vmap(one, in_axes=(0, None, None, None))
    return one(factors, allowance, shortest, longest)


def _one_in_blocks(factors: Array, allowance: Array, shortest: Array, longest: Array) -> InBlocks:
    depth, width = factors.shape[:2]
    lengths = jnp.asarray(shortest, jnp.int32), jnp.asarray(longest, jnp.int32)

    def step(state):
        layer, length, spent, product, counts = state
        length = jnp.minimum(length, depth - layer)
        after, loss = blocks.advance(product, factors, layer, length, jnp.int32(width))
        total, end = spent + loss**2, layer + length
        sound = total <= allowance**2 * (end.astype(loss.dtype) + ADVANCE * depth)
        taken = sound | (length <= lengths[0])
        product = jax.tree.map(functools.partial(jnp.where, taken), after, product)
        counts += jnp.stack([taken, ~taken, taken & ~sound]).astype(jnp.int32)
        following = jnp.clip(blocks.next_length(length, loss, taken, allowance), *lengths)
        return jnp.where(taken, end, layer), following, jnp.where(sound, total, spent), product, counts

    product = blocks.begin(pivoted.identity(width, factors.dtype))
    start = (jnp.int32(0), lengths[0], jnp.zeros((), factors.dtype), product, jnp.zeros(3, jnp.int32))
    product, counts = jax.lax.while_loop(lambda state: state[0] < depth, step, start)[3:]
    return InBlocks(Graded(wide.from_float(product.left), product.scale, product.right), *counts)


@functools.partial(jax.jit, static_argnames="tolerance")
def last_step(product: Graded, tolerance: float) -> Array:
    """The log singular values of a graded product, (…, n): what is left to do after the last block."""
    settle = functools.partial(log_values, settled=max(0.01 * tolerance, 4 * float(jnp.finfo(product.right.dtype).eps)))
    for _ in product.right.shape[:-2]:
        settle = jax.vmap(settle)
    return settle(product)


@functools.partial(jax.jit, static_argnames="name")
def factored(block: Array, count: Array, name: str) -> Array:
    """`count` factorizations one after the other, each of the last one's left factor: the last Q of A = Q · R.

    name: of the dtype that factors its blocks so ("float64": Cholesky-QR, "float32": reflections).
    """
    live = jnp.ones(block.shape[-1], bool)

    def factor(one):
        return blocks.FACTORIZATIONS[name](one, live)[0]

    for _ in block.shape[:-2]:
        factor = jax.vmap(factor)
    return jax.lax.fori_loop(0, count, lambda _, left: factor(left), block)
