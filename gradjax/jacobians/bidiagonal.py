"""Singular values from products alone: Golub and Kahan's bidiagonalization, and the quadrature that it is.

From a random unit vector v it makes a small bidiagonal B, whose squared singular values θ_j² are the nodes and the
squares of its right singular vectors' first entries the weights w_j of Gauss quadrature for the spectrum of AᵀA as v
sees it. The largest θ_j approaches the largest singular value from below, the smallest is never below the smallest one,
and the sums of weights enclose the distribution function (Chebyshev, Markov, Stieltjes): that bounds the median.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Nodes(NamedTuple):
    """What one random vector has seen of the spectrum.

    Args:
        values: (steps,), θ_j ascending.
        weights: (steps,), w_j >= 0 with sum 1.
        exhausted: whether the vector saw all distinct values: then they are exact to rounding.
    """

    values: Array
    weights: Array
    exhausted: Array


def quadrature(forward: Callable, backward: Callable, start: Array, steps: int) -> Nodes:
    """Nodes and weights of the spectrum of A that a vector sees, by `steps` products with A and Aᵀ each.

    Args:
        forward, backward: v ↦ A v and u ↦ Aᵀ u.
        start: (n,), the vector; random, or it may miss some of the spectrum.
        steps: at most n.

    Reference: Golub, Kahan (1965); Golub, Meurant (2010), Matrices, Moments and Quadrature; every new vector is made
    orthogonal to all before it, twice, for rounding would otherwise repeat values that have converged.

    >>> a = jnp.array([3.0, 4.0])
    >>> nodes = quadrature(lambda v: a * v, lambda u: a * u, jnp.ones(2), 2)
    >>> print(nodes.values.round(5), nodes.weights.round(5))
    [3. 4.] [0.5 0.5]
    """
    diagonal, beside, exhausted = _bidiagonal(forward, backward, start, steps)
    _, values, right = jnp.linalg.svd(jnp.diag(diagonal) + jnp.diag(beside[:-1], 1))
    return Nodes(values[::-1], (right[:, 0] ** 2)[::-1], exhausted)


def _bidiagonal(forward: Callable, backward: Callable, start: Array, steps: int) -> tuple[Array, Array, Array]:
    """The diagonal of B, what stands beside it (its last entry outside B), and whether nothing was left to see.

    Behind the last vector the diagonal repeats its first entry: a value within the spectrum, of weight zero.
    """
    v = start / jnp.linalg.norm(start)
    u = forward(v)
    first = jnp.linalg.norm(u)
    u = u / jnp.where(first > 0, first, 1)
    rights = jnp.zeros((steps, v.size), v.dtype).at[0].set(v)
    lefts = jnp.zeros((steps, u.size), u.dtype).at[0].set(u)
    rounding = 8 * max(v.size, u.size) ** 0.5 * float(jnp.finfo(v.dtype).eps)

    def step(carry, i):
        rights, lefts, largest, before, ended = carry
        v, b = _next(backward(lefts[i - 1]), rights, rounding * largest)
        ended = ended | (before == 0) | (b == 0)
        u, a = _next(forward(v), lefts, rounding * largest)
        b, a = jnp.where(ended, 0, b), jnp.where(ended, first, a)
        rights, lefts = rights.at[i].set(jnp.where(ended, 0, v)), lefts.at[i].set(jnp.where(ended, 0, u))
        return (rights, lefts, jnp.maximum(largest, jnp.maximum(a, b)), a, ended), (a, b)

    begin = (rights, lefts, first, first, jnp.array(False))
    (rights, lefts, largest, last, ended), (a, b) = jax.lax.scan(step, begin, jnp.arange(1, steps))
    _, after = _next(backward(lefts[-1]), rights, rounding * largest)
    return jnp.append(first, a), jnp.append(b, after), ended | (last == 0) | (after == 0)


def _next(w: Array, basis: Array, rounding: Array) -> tuple[Array, Array]:
    """w without its part in the basis, of length 1, and its length; 0 and 0 where nothing but rounding is left."""
    for _ in range(2):
        w = w - basis.T @ (basis @ w)
    length = jnp.linalg.norm(w)
    kept = length > rounding
    return jnp.where(kept, w / jnp.where(kept, length, 1), 0), jnp.where(kept, length, 0)
