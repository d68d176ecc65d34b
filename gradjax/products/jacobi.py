"""Singular values of diag(scale) · right, with the scales far apart, repeated, or both.

QR sweeps first, one-sided Jacobi last. A sweep takes the QR of the transposed factor, whose scales stay outside in wide
numbers; it converges fast across gaps and not at all inside a cluster. Jacobi rotations then converge quadratically in
clusters as well and keep high relative accuracy for every value, because the columns are compared by their cosine and
the ratio of their scales, never by their sizes (Demmel and Veselic 1992; Drmac and Veselic 2008).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.blocks import scaled_rows
from gradjax.products.pivoted import HIGHEST, Graded
from gradjax.products.together import Angles, angles, lean, turned
from gradjax.products.wide import Wide

QR_SWEEPS = 6
SLACK = 10  # binary orders by which the scales may span more than the values
MAX_PASSES = 40


class Columns(NamedTuple):
    """Unit columns (stored as rows of `unit`) with their scales apart: column j is scale_j · unit_j."""

    unit: Array
    scale: Wide


def orthonormal_left(left: Wide, scale: Wide) -> tuple[Wide, Array, Array]:
    """left · diag(scale) = Q · diag(scale') · M: the scales in descending order, M bounded, and the order used."""
    order = wide.argsort_descending(scale)
    ordinary = left.mantissa * wide.power_of_two(left.exponent, left.mantissa.dtype)
    triangle = jnp.linalg.qr(ordinary[:, order], mode="r")
    return *graded_rows(triangle, scale[order]), order


def graded_rows(triangle: Array, scale: Wide) -> tuple[Wide, Array]:
    """triangle · diag(scale) = diag(scale') · M with M unit upper triangular up to signs."""
    diagonal = jnp.abs(jnp.diagonal(triangle))
    live = (diagonal > 0) & (scale.mantissa != 0)
    return wide.multiply(scale, wide.from_float(jnp.where(live, diagonal, 0.0))), scaled_rows(triangle, scale, live)


def sweep(scale: Wide, right: Array) -> tuple[Wide, Array]:
    """One QR sweep: the factor diag(scale) · right with the same singular values, closer to diagonal."""
    order = wide.argsort_descending(scale)
    return graded_rows(jnp.linalg.qr(right[order].T, mode="r"), scale[order])


def unit_columns(vectors: Array, scale: Wide) -> Columns:
    """Normalize the columns into their scales."""
    norms = jnp.sqrt(jnp.sum(vectors * vectors, axis=1))
    dead = (norms == 0) | (scale.mantissa == 0)
    unit = jnp.where(dead[:, None], 0.0, vectors / jnp.where(norms == 0, 1.0, norms)[:, None])
    return Columns(unit, wide.multiply(scale, wide.from_float(jnp.where(dead, 0.0, norms))))


def choose(condition: Array, a: Columns, b: Columns) -> Columns:
    """Column by column, one or the other."""
    return Columns(jnp.where(condition[:, None], a.unit, b.unit), wide.where(condition, a.scale, b.scale))


def rotate(first: Columns, second: Columns) -> tuple[Columns, Columns]:
    """Make each pair of columns orthogonal, each staying in its place."""
    swap = (second.scale.exponent > first.scale.exponent) | (
        (second.scale.exponent == first.scale.exponent)
        & (jnp.abs(second.scale.mantissa) > jnp.abs(first.scale.mantissa))
    )
    large, small = choose(swap, second, first), choose(swap, first, second)
    cosine = jnp.sum(large.unit * small.unit, axis=1)
    rho = wide.ratio(small.scale, large.scale)
    turn = lean(rho, cosine)
    shrink = wide.from_float(1 / jnp.sqrt(1 + (rho * turn) ** 2))
    large_scale, small_scale = wide.multiply(large.scale, shrink), wide.multiply(small.scale, shrink)
    new_large = unit_columns(large.unit + (rho * rho * turn)[:, None] * small.unit, large_scale)
    new_small = unit_columns(small.unit - turn[:, None] * large.unit, small_scale)
    return choose(swap, new_small, new_large), choose(swap, new_large, new_small)


def jacobi_sweep(columns: Columns) -> Columns:
    """Every pair once, in n − 1 rounds of n / 2 disjoint pairs (a tournament)."""
    n = columns.unit.shape[0]
    circle = jnp.concatenate([jnp.array([0]), jnp.roll(jnp.arange(1, n), 1)])

    def round_(columns: Columns, _):
        backward = jax.tree.map(lambda leaf: leaf[n // 2 :][::-1], columns)
        first, second = rotate(jax.tree.map(lambda leaf: leaf[: n // 2], columns), backward)
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b[::-1]])[circle], first, second), None

    return lax.scan(round_, columns, length=n - 1)[0]


def singular_values(scale: Wide, right: Array, settled: float) -> Wide:
    """The singular values of diag(scale) · right, in descending order, each within about `settled` nats."""
    if right.shape[0] < right.shape[1]:
        scale, right = sweep(scale, right)
    orders = max(0, int(math.log2(settled / (16 * float(jnp.finfo(right.dtype).eps)))))
    near = jnp.max(scale.exponent) - jnp.min(scale.exponent) <= orders + SLACK
    dense = lax.cond(near, _dense, lambda scale, _: scale, scale, right)
    enough = near & (jnp.max(dense.exponent) - jnp.min(dense.exponent) <= orders)
    # a loop of no turns costs nothing also under `vmap`, where both sides of a cond are run
    scale, right = lax.fori_loop(0, jnp.where(enough, 0, QR_SWEEPS), lambda _, factor: sweep(*factor), (scale, right))
    rotated = orthogonalized(scale, right, jnp.where(enough, jnp.inf, settled)).scale
    return wide.where(enough, dense, rotated)


def _dense(scale: Wide, right: Array) -> Wide:
    """The singular values by one dense decomposition, which loses as many digits as they span."""
    top = jnp.max(scale.exponent)
    rows = scale.mantissa * wide.power_of_two(scale.exponent - top, right.dtype)
    values = wide.from_float(jnp.linalg.svd(rows[:, None] * right, compute_uv=False))
    return Wide(values.mantissa, values.exponent + top)


def orthogonalized(scale: Wide, right: Array, settled: Array | float, more: int = 0) -> Columns:
    """diag(scale) · right made a diagonal of singular values times orthonormal rows, in descending order.

    more: passes after the values have settled, when the vectors have half the digits only.
    """
    columns = unit_columns(right, scale)
    if scale.mantissa.shape[0] % 2:
        columns = Columns(jnp.pad(columns.unit, ((0, 1), (0, 0))), wide.append_zero(columns.scale))

    pairs = angles(*columns)
    final = lax.while_loop(
        lambda state: (~(state.pairs.unsettled <= settled) | (state.more > 0)) & (state.passes < MAX_PASSES),
        lambda state: _closer_to_orthogonal(state, settled),
        Progress(columns, pairs, pairs.crowded, jnp.int32(more), jnp.int32(0)),
    ).columns
    order = wide.argsort_descending(final.scale)[: scale.mantissa.shape[0]]
    return Columns(final.unit[order], final.scale[order])


class Progress(NamedTuple):
    """Where the rotations stand."""

    columns: Columns
    pairs: Angles
    crowded: Array
    more: Array  # passes to make after settling
    passes: Array


def _closer_to_orthogonal(state: Progress, settled: Array | float) -> Progress:
    """All pairs turned at once, or one by one where some column has too much to turn."""
    # loops of one turn or none, which `vmap` runs only when some member needs them; a cond would always run both
    _, columns = lax.while_loop(
        lambda pair: pair[0],
        lambda pair: (jnp.zeros_like(pair[0]), jacobi_sweep(pair[1])),
        (state.crowded, state.columns),
    )
    _, columns = lax.while_loop(
        lambda pair: pair[0],
        lambda pair: (jnp.zeros_like(pair[0]), unit_columns(turned(pair[1].unit, state.pairs), pair[1].scale)),
        (~state.crowded, columns),
    )
    pairs = angles(*columns)
    more = state.more - (state.pairs.unsettled <= settled).astype(jnp.int32)
    return Progress(columns, pairs, pairs.crowded, more, state.passes + 1)


def graded_right(product: Graded) -> tuple[Wide, Array]:
    """diag(scale) · right with the singular values and right singular vectors of a graded product."""
    scale, rows, order = orthonormal_left(product.left, product.scale)
    return scale, jnp.matmul(rows, product.right[order], precision=HIGHEST)


def log_values(product: Graded, settled: float) -> Array:
    """ln of the singular values of a graded product, descending, each within about `settled` nats."""
    return _descending_logs(singular_values(*graded_right(product), settled))


def log_values_and_rows(product: Graded) -> tuple[Array, Array]:
    """The same, with the right singular vectors as rows (zero rows for values that are zero).

    Without the sweeps first: each of them exchanges the left and right vectors.
    """
    columns = orthogonalized(*graded_right(product), float(jnp.finfo(product.right.dtype).eps), more=1)
    return _descending_logs(columns.scale), columns.unit


def _descending_logs(values: Wide) -> Array:
    """ln of descending values, descending too: across a power of two a sum of two logs may round past its neighbour."""
    return lax.cummin(wide.log(values))
