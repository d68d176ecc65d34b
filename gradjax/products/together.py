"""All Jacobi rotations at once, for columns that are nearly orthogonal already.

A sweep of Jacobi's goes through n − 1 rounds of pairs, each too small to keep a processor busy. Near the end no round
needs to wait for another: with K_ij twice the tangent of half of each pair's angle, the Cayley transform
(I − K/2)⁻¹ (I + K/2) is orthogonal whatever K is, so no singular value moves, and it leaves cosines of second order. It
is a matrix product and a solve. Between the scales D it reads D⁻¹ K D, whose entries are bounded like those of a single
rotation.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from gradjax.products import wide
from gradjax.products.pivoted import HIGHEST
from gradjax.products.wide import Wide

CROWDED = 0.5  # a column whose tangents sum to more is turned pair by pair


class Angles(NamedTuple):
    """Each pair's rotation: the tangent over the ratio of the sizes; that ratio, at most 1; and the cosine."""

    leaning: Array
    rho: Array
    cosine: Array
    upward: Array  # whether the second of the pair is the larger one

    @property
    def unsettled(self) -> Array:
        """By how many nats the rotations may change a scale: second order in the cosines, first at a tie."""
        return jnp.max(jnp.sum(jnp.abs(self.leaning * self.cosine), axis=1)) / 2

    @property
    def crowded(self) -> Array:
        """Whether some column has too much to turn for all pairs to be turned at once."""
        return ~(jnp.max(jnp.sum(jnp.abs(self.rho * self.leaning), axis=1)) < CROWDED)


def angles(unit: Array, scale: Wide) -> Angles:
    """What separates every pair of the columns scale_j · unit_j (stored as rows of `unit`) from being orthogonal."""
    n = unit.shape[0]
    cosine = jnp.where(jnp.eye(n, dtype=bool), 0.0, jnp.matmul(unit, unit.T, precision=HIGHEST))
    over = wide.ratio(
        scale[None, :], scale[:, None]
    )  # of the second of a pair to the first; inf where it is far larger
    place = jnp.arange(n)
    upward = jnp.where(over == 1, place[None, :] < place[:, None], over > 1)
    rho = jnp.where(upward, over.T, over)
    return Angles(lean(rho, cosine), rho, cosine, upward)


def lean(rho: Array, cosine: Array) -> Array:
    """tan(angle) / rho of the rotation that makes two columns orthogonal, rho ≤ 1 the ratio of their sizes: bounded."""
    apart = (1 - rho) * (1 + rho)
    below = apart + jnp.sqrt(apart * apart + 4 * (rho * cosine) ** 2)
    return jnp.where(below == 0, 0.0, 2 * cosine / jnp.where(below == 0, 1.0, below))


def turned(unit: Array, pairs: Angles) -> Array:
    """The columns after all rotations at once, no longer of length one."""
    halved = pairs.leaning / (1 + jnp.sqrt(1 + (pairs.rho * pairs.leaning) ** 2))  # tan of half the angle, over rho
    mixing = jnp.where(pairs.upward, -halved, pairs.rho**2 * halved)
    moved = unit + jnp.matmul(mixing, unit, precision=HIGHEST)
    return jnp.linalg.solve(jnp.eye(unit.shape[0], dtype=unit.dtype) - mixing, moved)
