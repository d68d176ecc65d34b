"""Numbers as mantissa times power of two, for what no float can store.

A product of a thousand layers has singular values far outside 1e±308, and a single layer may mix 1e200 with 1e-200,
whose determinant is then no float either. A `Wide` array keeps an ordinary float mantissa in [1/2, 1) beside an integer
exponent: multiplication is exact up to one rounding at any magnitude, and a logarithm is taken once, at the very end,
so that the rounding of large logarithms does not pile up with depth.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

ZERO_EXPONENT = -(
    1 << 28
)  # of an exact zero: below every product that depth can build, and twice it still fits an int32


class Wide(NamedTuple):
    """An array mantissa · 2^exponent; an exact zero has mantissa 0 and exponent `ZERO_EXPONENT`."""

    mantissa: Array
    exponent: Array

    def __getitem__(self, index) -> "Wide":  # pyright: ignore[reportIncompatibleMethodOverride]: an array, not a pair
        return Wide(self.mantissa[index], self.exponent[index])


def power_of_two(exponent: Array, dtype) -> Array:
    """2^exponent exactly, built from its bits: exp2 rounds, and ldexp costs five times as much. Underflow gives 0."""
    info = jnp.finfo(dtype)
    integer = jnp.int64 if info.bits == 64 else jnp.int32
    inside = jnp.clip(exponent, info.minexp, info.maxexp - 1)
    bits = (inside + (1 - info.minexp)).astype(integer) << info.nmant
    return jnp.where(exponent < info.minexp, 0.0, lax.bitcast_convert_type(bits, jnp.dtype(dtype)))


def renormalize(mantissa: Array, exponent: Array) -> Wide:
    """The same numbers with every mantissa in [1/2, 1); read from the bits, since frexp costs many times as much."""
    info = jnp.finfo(mantissa.dtype)
    integer = jnp.int64 if info.bits == 64 else jnp.int32
    bits = lax.bitcast_convert_type(mantissa, integer)
    field = ((1 << info.nexp) - 1) << info.nmant
    stored = (bits & field) >> info.nmant
    half = (-info.minexp) << info.nmant  # the exponent field of 1/2
    unit = lax.bitcast_convert_type((bits & ~field) | half, mantissa.dtype)
    zero = stored == 0
    shift = stored.astype(jnp.int32) + info.minexp
    return Wide(jnp.where(zero, 0.0, unit), jnp.where(zero, ZERO_EXPONENT, exponent + shift))


def from_float(values: Array) -> Wide:
    """The wide form of ordinary numbers."""
    return renormalize(values, jnp.zeros(values.shape, jnp.int32))


def multiply(a: Wide, b: Wide) -> Wide:
    """The elementwise product a · b."""
    return renormalize(a.mantissa * b.mantissa, a.exponent + b.exponent)


def divide(a: Wide, b: Wide) -> Wide:
    """The elementwise quotient a / b; 0 where b is 0, which only an eliminated row or column asks for."""
    zero = b.mantissa == 0
    quotient = renormalize(a.mantissa / jnp.where(zero, 1.0, b.mantissa), a.exponent - b.exponent)
    return where(zero | (a.mantissa == 0), zeros_like(quotient), quotient)


def subtract(a: Wide, b: Wide) -> Wide:
    """The elementwise difference a − b, aligned to the larger exponent."""
    top = jnp.maximum(a.exponent, b.exponent)
    dtype = a.mantissa.dtype
    left = a.mantissa * power_of_two(a.exponent - top, dtype)
    return renormalize(left - b.mantissa * power_of_two(b.exponent - top, dtype), top)


def matmul(a: Wide, b: Wide) -> Wide:
    """The matrix product a b, each entry summed at the scale of its own largest term."""
    exponents = a.exponent[:, :, None] + b.exponent[None, :, :]
    top = jnp.max(exponents, axis=1)
    scales = power_of_two(exponents - top[:, None, :], a.mantissa.dtype)
    terms = a.mantissa[:, :, None] * b.mantissa[None, :, :] * scales
    return renormalize(jnp.sum(terms, axis=1), top)


def where(condition: Array, a: Wide, b: Wide) -> Wide:
    """Elementwise choice."""
    return Wide(jnp.where(condition, a.mantissa, b.mantissa), jnp.where(condition, a.exponent, b.exponent))


def zeros_like(a: Wide) -> Wide:
    """Exact zeros of the same shape."""
    return Wide(jnp.zeros_like(a.mantissa), jnp.full_like(a.exponent, ZERO_EXPONENT))


def resize_rows(a: Wide, rows: int) -> Wide:
    """The matrix cut, or filled up with exact zeros, to so many rows."""
    missing = ((0, max(rows - a.mantissa.shape[0], 0)), (0, 0))
    exponent = jnp.pad(a.exponent[:rows], missing, constant_values=ZERO_EXPONENT)
    return Wide(jnp.pad(a.mantissa[:rows], missing), exponent)


def append_zero(a: Wide) -> Wide:
    """The vector with one exact zero after it."""
    return Wide(jnp.pad(a.mantissa, (0, 1)), jnp.pad(a.exponent, (0, 1), constant_values=ZERO_EXPONENT))


def ratio(a: Wide, b: Wide) -> Array:
    """a / b as an ordinary float, for quotients known to be of order one or less (0 where either is 0)."""
    return to_float(divide(a, b))


def log(a: Wide) -> Array:
    """ln |a|, −inf at an exact zero."""
    magnitude = jnp.abs(a.mantissa)
    zero = magnitude == 0
    value = jnp.log(jnp.where(zero, 1.0, magnitude)) + a.exponent.astype(magnitude.dtype) * math.log(2.0)
    return jnp.where(zero, -jnp.inf, value)


def size_key(a: Wide) -> Array:
    """A float that orders magnitudes: the exponent plus the mantissa; −inf at an exact zero."""
    magnitude = jnp.abs(a.mantissa)
    return jnp.where(magnitude == 0, -jnp.inf, a.exponent.astype(magnitude.dtype) + magnitude)


def transpose(a: Wide) -> Wide:
    """The transposed matrix."""
    return Wide(a.mantissa.T, a.exponent.T)


def to_float(a: Wide) -> Array:
    """The ordinary numbers, 0 where they underflow; for what is known not to overflow."""
    return a.mantissa * power_of_two(a.exponent, a.mantissa.dtype)


def argsort_descending(a: Wide) -> Array:
    """The order of decreasing magnitude (stable, by exponent and then mantissa, so exact in float32 too)."""
    return jnp.lexsort((-jnp.abs(a.mantissa), -a.exponent))
