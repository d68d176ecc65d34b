"""Singular values of diag(scale) · right, with the scales far apart, repeated, or both.

QR sweeps first, one-sided Jacobi last. A sweep takes the QR of the transposed factor, whose scales stay outside in wide
numbers; it converges fast across gaps and not at all inside a cluster. Jacobi rotations then converge quadratically in
clusters as well and keep high relative accuracy for every value, because the columns are compared by their cosine and
the ratio of their scales, never by their sizes (Demmel and Veselic 1992; Drmac and Veselic 2008).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.blocks import scaled_rows
from gradjax.products.pivoted import HIGHEST, Graded
from gradjax.products.wide import Wide

QR_SWEEPS = 4
MAX_JACOBI_SWEEPS = 40


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


def rotate(first: Columns, second: Columns) -> tuple[Columns, Columns, Array]:
    """Make each pair of columns orthogonal, each staying in its place; with the cosine each pair had."""
    swap = (second.scale.exponent > first.scale.exponent) | (
        (second.scale.exponent == first.scale.exponent)
        & (jnp.abs(second.scale.mantissa) > jnp.abs(first.scale.mantissa))
    )
    large, small = choose(swap, second, first), choose(swap, first, second)
    cosine = jnp.sum(large.unit * small.unit, axis=1)
    rho = wide.ratio(small.scale, large.scale)
    apart = (1 - rho) * (1 + rho)
    below = apart + jnp.sqrt(apart * apart + 4 * (rho * cosine) ** 2)
    lean = jnp.where(below == 0, 0.0, 2 * cosine / jnp.where(below == 0, 1.0, below))  # tan(angle) / rho: bounded
    shrink = wide.from_float(1 / jnp.sqrt(1 + (rho * lean) ** 2))
    large_scale, small_scale = wide.multiply(large.scale, shrink), wide.multiply(small.scale, shrink)
    new_large = unit_columns(large.unit + (rho * rho * lean)[:, None] * small.unit, large_scale)
    new_small = unit_columns(small.unit - lean[:, None] * large.unit, small_scale)
    return choose(swap, new_small, new_large), choose(swap, new_large, new_small), jnp.abs(cosine)


def jacobi_sweep(columns: Columns) -> tuple[Columns, Array]:
    """Every pair once, in n − 1 rounds of n / 2 disjoint pairs (a tournament); and the largest cosine met."""
    n = columns.unit.shape[0]
    circle = jnp.concatenate([jnp.array([0]), jnp.roll(jnp.arange(1, n), 1)])

    def round_(state, _):
        columns, worst = state
        first = Columns(columns.unit[: n // 2], columns.scale[: n // 2])
        second = Columns(columns.unit[n // 2 :][::-1], columns.scale[n // 2 :][::-1])
        first, second, cosine = rotate(first, second)
        unit = jnp.concatenate([first.unit, second.unit[::-1]])[circle]
        mantissa = jnp.concatenate([first.scale.mantissa, second.scale.mantissa[::-1]])[circle]
        exponent = jnp.concatenate([first.scale.exponent, second.scale.exponent[::-1]])[circle]
        return (Columns(unit, Wide(mantissa, exponent)), jnp.maximum(worst, jnp.max(cosine))), None

    zero = jnp.zeros((), columns.unit.dtype)
    (columns, worst), _ = lax.scan(round_, (columns, zero), length=n - 1)
    return columns, worst


def singular_values(scale: Wide, right: Array) -> Wide:
    """The singular values of diag(scale) · right, in descending order."""
    return orthogonalized(*lax.fori_loop(0, QR_SWEEPS, lambda _, factor: sweep(*factor), (scale, right))).scale


def orthogonalized(scale: Wide, right: Array) -> Columns:
    """diag(scale) · right made a diagonal of singular values times orthonormal rows, in descending order."""
    columns = unit_columns(right, scale)
    if scale.mantissa.shape[0] % 2:
        columns = Columns(jnp.pad(columns.unit, ((0, 1), (0, 0))), wide.append_zero(columns.scale))
    # quadratic convergence: a sweep that met no cosine above this leaves none above rounding
    enough = 0.1 * float(jnp.finfo(right.dtype).eps) ** 0.5

    def unfinished(state):
        _, worst, count = state
        return (worst > enough) & (count < MAX_JACOBI_SWEEPS)

    def again(state):
        columns, _, count = state
        return *jacobi_sweep(columns), count + 1

    start = (columns, jnp.full((), jnp.inf, right.dtype), 0)
    final, _, _ = lax.while_loop(unfinished, again, start)
    order = wide.argsort_descending(final.scale)[: scale.mantissa.shape[0]]
    return Columns(final.unit[order], final.scale[order])


def graded_right(product: Graded) -> tuple[Wide, Array]:
    """diag(scale) · right with the singular values and right singular vectors of a graded product."""
    scale, rows, order = orthonormal_left(product.left, product.scale)
    return scale, jnp.matmul(rows, product.right[order], precision=HIGHEST)


def log_values(product: Graded) -> Array:
    """ln of the singular values of a graded product, descending."""
    return wide.log(singular_values(*graded_right(product)))


def log_values_and_rows(product: Graded) -> tuple[Array, Array]:
    """The same, with the right singular vectors as rows (zero rows for values that are zero).

    Without the sweeps first: each of them exchanges the left and right vectors.
    """
    columns = orthogonalized(*graded_right(product))
    return wide.log(columns.scale), columns.unit
