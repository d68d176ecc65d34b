"""The fast route: several layers multiplied at once, then one Cholesky-QR, the rounding of each block measured.

A block A = J_{l+m} … J_{l+1} X is written A = Q · R, its columns ordered by size: R from the Cholesky factor of AᵀA, Q
by solving with R. Q takes the place of X, and the diagonal of R joins the scales. Q need not be orthonormal to the last
digit, since A = Q R holds row by row whatever R is; where the Cholesky factor has lost the smallest pivot, Q shows it
by a short column, and the block is refused.

What a block loses is its rounding divided by the pivots. Both are at hand: a vector of signs is taken through the same
layers one by one, and its distance from A times the signs shows the rounding that has really happened, cancellation
included. The next block is made as long as that leaves room for. (Elimination with row pivoting costs as much and loses
up to a hundred times more, since the inverse of its left factor grows with the width.)
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.pivoted import HIGHEST, Graded
from gradjax.products.wide import Wide

LONGEST = 64
PANEL = 64  # columns that are divided out at once
SAMPLES = 8  # of the rows of an inverse: tells the lengths of its columns within a half
CAUTION = 6.0  # over the rounding seen: one vector is a sample
SHIFT = (
    1.0  # rounding units by which the Gram matrix's diagonal is raised, so that rounding does not make it indefinite
)
ASKEW = 0.25  # of one column lying within the others, which would be 1
TURNS = 3  # each leaves as much of an error as the columns of Q are off from orthonormal
SHORT = 0.5  # squared length below which a column of Q is mostly rounding
SPARE = 0.25  # a block is made longer only where it should then lose less than this part of what it may


class Block(NamedTuple):
    """A product as left · diag(scale) · right with an ordinary left factor."""

    left: Array
    scale: Wide
    right: Array


def begin(product: Graded) -> Block:
    """A graded product with an ordinary left factor."""
    return Block(wide.to_float(product.left), product.scale, product.right)


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
    each = jnp.sum(jnp.abs(apart)) / (rows * columns**0.5)  # of one entry: the signs add up at random
    after, grown = _orthogonalized(product._replace(left=block), rank, signs)
    unit, largest = float(jnp.finfo(block.dtype).eps), jnp.max(jnp.abs(block))
    loss = CAUTION * (each + unit * largest) * grown
    # below this size the loss itself underflows, as the smaller entries of the block have done
    loss = jnp.where(unit * largest > float(jnp.finfo(block.dtype).tiny), loss, jnp.inf)
    return after, jnp.where(rank == 0, 0.0, loss)  # NaN or inf, and so refused, where it left the range


def next_length(length: Array, loss: Array, accepted: Array, allowance: Array) -> Array:
    """How many layers the next block may have, from what this one lost: digits are lost layer by layer."""
    unit = CAUTION * float(jnp.finfo(loss.dtype).eps)
    known = jnp.where(jnp.isfinite(loss), jnp.maximum(loss, 2 * unit), 1.0)
    each = jnp.log(known / unit) / length.astype(loss.dtype)
    fitting = jnp.floor(jnp.log(SPARE * allowance / unit) / each).astype(jnp.int32)
    longer = jnp.clip(fitting, length, jnp.minimum(4 * length, LONGEST))
    shorter = jnp.clip(fitting, 1, jnp.maximum(length - 1, 1))
    return jnp.where(accepted, longer, shorter)


def _orthogonalized(product: Block, rank: Array, signs: Array) -> tuple[Block, Array]:
    """The same product with a left factor of nearly orthonormal columns; and how much going back enlarges at most."""
    block, scale, right = product
    largest = wide.from_float(jnp.max(jnp.abs(block), axis=0))
    power = jnp.where(largest.mantissa == 0, 0, largest.exponent)
    order = wide.argsort_descending(wide.multiply(scale, largest))
    block, scale, power = block[:, order], scale[order], power[order]
    block = block * wide.power_of_two(-power, block.dtype)[None, :]  # columns of size one: their squares stay in range
    first = jnp.arange(block.shape[1], dtype=jnp.int32) < rank
    left, triangle = FACTORIZATIONS[block.dtype.name](block, first)
    squares = jnp.sum(left * left, axis=0)
    live = first & (squares != 0) & (jnp.diagonal(triangle) != 0) & (scale.mantissa != 0)  # NaN stays, to be seen
    left = jnp.where(live[None, :], left, 0.0)
    triangle = _past_the_rank(triangle, left, block, first)
    grown = _largest_inverse(triangle * wide.power_of_two(power, block.dtype)[None, :], live)
    lengths = jnp.where(live, squares, 0.0)  # 0 also where a column has underflowed
    shortest = jnp.min(jnp.where(first & (scale.mantissa != 0), lengths, 1.0))
    sound = (_askew(left, signs, squares) < ASKEW) & (shortest > SHORT)
    scale = wide.Wide(scale.mantissa, scale.exponent + power)
    rows = scaled_rows(triangle, scale, live)
    new = wide.multiply(scale, wide.from_float(jnp.where(live, jnp.abs(jnp.diagonal(triangle)), 0.0)))
    after = Block(left, new, jnp.matmul(rows, right[order], precision=HIGHEST))
    return after, jnp.where(sound, grown, jnp.inf)


def _past_the_rank(triangle: Array, left: Array, block: Array, first: Array) -> Array:
    """R with columns past the rank for which A = Q · R holds too.

    Within the rank Q is what makes it hold. Past it the Cholesky factor stands alone, and that is right only to the
    square of the condition number times rounding: 1e-8 where Q has lost nothing.
    """
    past = ~first & jnp.any(block != 0, axis=0)

    def correct(_, triangle):
        rest = jnp.where(past[None, :], block - jnp.matmul(left, triangle, precision=HIGHEST), 0.0)
        return triangle + jnp.matmul(left.T, rest, precision=HIGHEST)

    return lax.fori_loop(0, jnp.where(jnp.any(past), TURNS, 0), correct, triangle)


def _askew(left: Array, signs: Array, squares: Array) -> Array:
    """How far from orthogonal the columns are: one mixes others where the Cholesky factor has lost its pivot."""
    seen = jnp.matmul(left.T, jnp.matmul(left, signs, precision=HIGHEST), precision=HIGHEST)
    return jnp.sqrt(jnp.sum((seen - squares * signs) ** 2))


def _cholesky_qr(block: Array, first: Array) -> tuple[Array, Array]:
    """A = Q · R with R from the Gram matrix: right while A's condition number is below 1 / sqrt(eps)."""
    turned = lax.optimization_barrier(block.T)  # a product with its left side read across takes twice as long on a CPU
    gram = jnp.matmul(turned, block, precision=HIGHEST)
    squares = jnp.diagonal(gram)
    # past the rank a pivot is rounding of either sign; a larger diagonal there leaves the rows above as they are
    lift = jnp.where(first & (squares > 0), SHIFT * float(jnp.finfo(block.dtype).eps) * squares, 1 + squares)
    lower = lax.linalg.cholesky(gram + jnp.diag(lift), symmetrize_input=False)
    return _over_triangle(block, lower.T), lower.T


def _over_triangle(block: Array, triangle: Array) -> Array:
    """block · triangle⁻¹, a panel of columns after the other: matrix products are faster than one large solve."""
    size = triangle.shape[0]
    if size < 2 * PANEL:
        return lax.linalg.triangular_solve(triangle, block, left_side=False, lower=False)
    solved = []
    for start in range(0, size, PANEL):
        panel = slice(start, min(start + PANEL, size))
        rest = block[:, panel]
        if solved:
            before = jnp.concatenate(solved, axis=1)
            rest = rest - jnp.matmul(before, triangle[:start, panel], precision=HIGHEST)
        solved.append(lax.linalg.triangular_solve(triangle[panel, panel], rest, left_side=False, lower=False))
    return jnp.concatenate(solved, axis=1)


def _householder_qr(block: Array, first: Array) -> tuple[Array, Array]:
    """A = Q · R by reflections: single precision has no digits to square."""
    del first
    left, triangle = jnp.linalg.qr(block)
    return left, triangle


FACTORIZATIONS = {"float64": _cholesky_qr, "float32": _householder_qr}


def _largest_inverse(triangle: Array, live: Array) -> Array:
    """How much errors at random grow when the triangle of the live columns is divided out: the longest column of R⁻¹.

    Read from a few mixtures of its rows. (Its smallest pivot tells ten times too little where zeros or gradings make
    the triangle far from normal, and the sum over a column tells as much too much.)
    """
    size = live.shape[0]
    mixing = np.random.default_rng(0).standard_normal((SAMPLES, size)) / SAMPLES**0.5
    square = jnp.where(live[:, None] & live[None, :], triangle, jnp.eye(size, dtype=triangle.dtype))
    mixed = jnp.where(live[None, :], jnp.asarray(mixing, triangle.dtype), 0.0)
    inverse = lax.linalg.triangular_solve(square, mixed, left_side=False, lower=False)
    return jnp.sqrt(jnp.max(jnp.where(live, jnp.sum(inverse**2, axis=0), 0.0)))


def scaled_rows(triangle: Array, scale: Wide, live: Array) -> Array:
    """The upper triangle with its rows over their pivots, between the scales: bounded where these descend."""
    pivots = jnp.where(live, jnp.abs(jnp.diagonal(triangle)), 1.0)
    ratio = scale.mantissa[None, :] / jnp.where(live, scale.mantissa, 1.0)[:, None]
    power = wide.power_of_two(scale.exponent[None, :] - scale.exponent[:, None], triangle.dtype)
    return jnp.where(live[:, None], jnp.triu(triangle) / pivots[:, None] * ratio * power, 0.0)
