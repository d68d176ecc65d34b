"""The doubled route: one layer at a time in twice the digits, for chains whose zeros must not be filled with rounding.

Rounding inside a block acts like a small dense change between two layers. Where the factors are dense it costs no more
than rounding their entries does. A chain of triangular layers is different: its entries may be rounded with hardly any
effect, and a change below the diagonal that is a rounding unit large moves its values by the angles between its
directions, which are tiny. So the left factor is kept here as a sum of two arrays.

A layer times the left factor is multiplied without error: both are cut into slices of so few bits that their products
and sums are exact in ordinary arithmetic (Ozaki, Ogita, Oishi and Rump 2012), and the slices' products are added with
their rounding kept (Knuth's two-sum). Any triangle R will do for A = Q · R, as long as Q is then what A is over R: R is
the ordinary one, and Q gets its second half from one step of refinement, (A − Q R) R⁻¹. What stands to the right of the
scales needs no second half: rounding there acts outside the whole product, where it costs a rounding unit and no more.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.blocks import SHORT, scaled_rows
from gradjax.products.pivoted import HIGHEST, Graded
from gradjax.products.wide import Wide

LONGEST = 1  # layer at a time: a longer block would only save slicing
SLICES = 5  # of each factor: 110 bits at width 64; with four, 1000 triangular layers of that width lose six digits more
NOISE = 1e4  # rounding units of a column: a smaller rest may be rounding, and is eliminated last
BLURRED = (1e2, 1e6)  # rounding units: singular values of a layer in between are neither zero nor known
UNREFINED = 1e-3  # largest second half of Q whose own rounding can be left out


class Doubled(NamedTuple):
    """A product as (left + low) · diag(scale) · right."""

    left: Array
    low: Array
    scale: Wide
    right: Array


def suits(runs: Sequence[np.ndarray]) -> bool:
    """Whether ordinary QR tells the rank of every layer, its rows and columns brought to size one: R must be ordinary.

    A wide triangular matrix of random entries may have singular values of every size down to 2^-width: it does not.
    """
    return not any(np.any((units > BLURRED[0]) & (units < BLURRED[1])) for units in map(in_units, runs))


def in_units(run: np.ndarray) -> np.ndarray:
    """The singular values of each layer, its rows and columns brought to size one, in rounding units of the largest."""
    run = np.where(np.isfinite(run), run, 0.0)  # a member of a batch that is not finite has no say
    for axis in (-1, -2):
        largest = np.abs(run).max(axis=axis, keepdims=True)
        run = run / np.where(largest == 0, 1.0, largest)
    values = np.linalg.svd(run, compute_uv=False)
    return values / np.maximum(values[..., :1], 1.0) / np.finfo(run.dtype).eps


def begin(product: Graded) -> Doubled:
    """A graded product with an empty second half."""
    left = wide.to_float(product.left)
    return Doubled(left, jnp.zeros_like(left), product.scale, product.right)


def advance(product: Doubled, stack: Array, start: Array, length: Array, rank: Array) -> tuple[Doubled, Array]:
    """One layer more (`length` is 1): the product, and what its values may have lost, in nats.

    rank: what the zero pattern allows; the columns past it are combinations of those before, and are dropped.
    """
    del length
    layer = lax.dynamic_index_in_dim(stack, start, keepdims=False)
    largest = wide.from_float(jnp.max(jnp.abs(layer)))
    up = jnp.where(largest.mantissa == 0, 0, largest.exponent)
    layer = layer * wide.power_of_two(-up, layer.dtype)
    block, low = multiply(layer, product.left)
    block, low = two_sum(block, low + jnp.matmul(layer, product.low, precision=HIGHEST))
    after, loss = _factored(block, low, product, rank)
    scale = wide.multiply(after.scale, Wide(jnp.full(after.scale.mantissa.shape, 0.5, layer.dtype), up + 1))
    return after._replace(scale=scale), jnp.where(rank == 0, 0.0, loss)


def _factored(block: Array, low: Array, product: Doubled, rank: Array) -> tuple[Doubled, Array]:
    """(block + low) · diag(scale) · right graded again, and what that may have lost."""
    tall = wide.from_float(jnp.max(jnp.abs(block), axis=0))
    power = jnp.where(tall.mantissa == 0, 0, tall.exponent)
    unit = wide.power_of_two(-power, block.dtype)
    scale = Wide(product.scale.mantissa, product.scale.exponent + power)
    order = pivot_order(block * unit[None, :], scale)
    block, low, scale = (block * unit[None, :])[:, order], (low * unit[None, :])[:, order], scale[order]
    triangle = jnp.linalg.qr(block, mode="r")
    pivots = jnp.abs(jnp.diagonal(triangle))
    wanted = (jnp.arange(block.shape[1], dtype=jnp.int32) < rank) & (scale.mantissa != 0)
    live = wanted & (pivots > 0)
    left, low, triangle = _refined(block, low, triangle, live)
    shortest = jnp.min(jnp.where(wanted, jnp.sum(left * left, axis=0), 1.0))
    sound = (shortest > SHORT) & (jnp.max(jnp.abs(low)) < UNREFINED)
    kept = 2.0 ** (SLICES * _bits(block.shape[0], block.dtype))
    loss = block.shape[0] / kept / jnp.min(jnp.where(live, pivots, 1.0))
    rows = scaled_rows(triangle, scale, live)
    new = wide.multiply(scale, wide.from_float(jnp.where(live, pivots, 0.0)))
    right = jnp.matmul(rows, product.right[order], precision=HIGHEST)
    return Doubled(left, low, new, right), jnp.where(sound, loss, jnp.inf)


def _refined(block: Array, low: Array, triangle: Array, live: Array) -> tuple[Array, Array, Array]:
    """Both halves of Q = (block + low) R⁻¹ in the live columns; and R, its other columns in terms of those."""
    both = live[:, None] & live[None, :]
    square = jnp.where(both, triangle, jnp.eye(live.shape[0], dtype=block.dtype))

    def over_triangle(array: Array) -> Array:
        columns = jnp.where(live[None, :], array, 0.0)
        return lax.linalg.triangular_solve(square, columns, left_side=False, lower=False)

    triangle = jnp.where(live[:, None], triangle, 0.0)
    left = over_triangle(block)
    high, rest = multiply(left, triangle)
    error = (block - high) + (low - rest)
    second = over_triangle(error)
    dropped = jnp.where(live[None, :], 0.0, error - jnp.matmul(second, triangle, precision=HIGHEST))
    return left, second, triangle + jnp.matmul(left.T, dropped, precision=HIGHEST)


def pivot_order(block: Array, scale: Wide) -> Array:
    """The columns of block · diag(scale) by what each adds to those before it, the largest first."""
    start = jnp.sqrt(jnp.sum(block**2, axis=0))
    ahead = scale.exponent.astype(block.dtype) + jnp.log2(jnp.where(scale.mantissa == 0, 1.0, jnp.abs(scale.mantissa)))

    info = jnp.finfo(block.dtype)

    def step(state, _):
        rest, free = state
        sizes = jnp.sqrt(jnp.sum(rest**2, axis=0))
        real = free & (sizes > NOISE * float(info.eps) * start) & (scale.mantissa != 0)
        key = ahead + jnp.log2(jnp.maximum(sizes, float(info.tiny)))
        best = jnp.argmax(jnp.where(jnp.where(jnp.any(real), real, free), key, -jnp.inf))
        unit = rest[:, best] / jnp.where(sizes[best] > 0, sizes[best], 1.0)
        rest = rest - unit[:, None] * jnp.matmul(unit, rest, precision=HIGHEST)[None, :]
        return (rest, free.at[best].set(False)), best

    free = jnp.ones(block.shape[1], bool)
    return lax.scan(step, (block, free), length=block.shape[1])[1]


def multiply(a: Array, b: Array) -> tuple[Array, Array]:
    """The matrix product as a sum of two arrays, right to `SLICES` times `_bits` bits of each row times column."""
    bits = _bits(a.shape[1], a.dtype)
    of_a, of_b = _slices(a, 1, bits), _slices(b, 0, bits)
    high = low = jnp.zeros((a.shape[0], b.shape[1]), a.dtype)
    for order in range(1, len(of_a) + 1):  # all products of one order of magnitude in one sum
        parts = jnp.concatenate(of_a[:order], axis=1), jnp.concatenate(of_b[order - 1 :: -1], axis=0)
        high, rest = two_sum(high, jnp.matmul(*parts, precision=HIGHEST))
        low = low + rest
    return two_sum(high, low)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b, and the rounding of it, exactly."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _bits(terms: int, dtype) -> int:
    """How many bits two factors may have for a sum of so many products to be exact."""
    return (jnp.finfo(dtype).nmant + 1 - math.ceil(math.log2(SLICES * terms))) // 2


def _slices(a: Array, axis: int, bits: int) -> list[Array]:
    """The array as a sum of parts with so many bits below the largest entry along an axis, then below that, …"""
    top = wide.from_float(jnp.max(jnp.abs(a), axis=axis, keepdims=True)).exponent
    parts = []
    for count in range(1, SLICES + 1):
        place = top - bits * count
        part = jnp.round(a * wide.power_of_two(-place, a.dtype)) * wide.power_of_two(place, a.dtype)
        parts.append(part)
        a = a - part
    return parts
