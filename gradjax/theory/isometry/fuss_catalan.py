"""Products of Gaussian matrices in closed form: the Fuss-Catalan law."""

import math

import numpy as np

from gradjax.arguments import reals, whole
from gradjax.theory.isometry.moments import check


def fuss_catalan_moment(depth: int, order: int) -> int:
    """Return the order-th moment of the squared singular values of a product of `depth` Gaussian matrices.

    C((depth + 1) k, k) / (depth k + 1), an integer: the Catalan numbers at depth 1.

    Reference: Penson and Zyczkowski (2011, arXiv:1103.3453).

    >>> [fuss_catalan_moment(1, k) for k in range(1, 6)]
    [1, 2, 5, 14, 42]
    """
    _, depth = check("gaussian", depth)
    order = whole("order", order, 0, 10**4)
    return math.comb((depth + 1) * order, order) // (depth * order + 1)


def fuss_catalan_density(depth: int, angles) -> tuple[np.ndarray, np.ndarray]:
    """Return points x and the density there of the squared singular values of a product of Gaussian matrices.

    x = sin^(L+1)((L+1) t) / (sin t sin^L(L t)), density = sin^2 t sin^(L-1)(L t) / (pi sin^L((L+1) t)): parametric in
    the angle t from the upper edge (t = 0) down to zero (t = pi / (L+1)).

    Args:
        depth: number of matrices L, at least 1.
        angles: t in (0, pi / (L + 1)).

    Reference: Haagerup and Moller (2013, arXiv:1211.4457).

    >>> x, density = fuss_catalan_density(1, [np.pi / 3])  # Marchenko-Pastur at 1: sqrt(3) / (2 pi)
    >>> round(float(x[0]), 12), round(float(density[0]), 6)
    (1.0, 0.275664)
    """
    _, depth = check("gaussian", depth)
    t = reals("angles", angles)
    if not ((t > 0) & (t < np.pi / (depth + 1))).all():
        raise ValueError(f"angles must lie strictly between 0 and pi / {depth + 1}")
    one, inner, outer = (np.log(np.sin(k * t)) for k in (1, depth, depth + 1))
    x = np.exp((depth + 1) * outer - one - depth * inner)
    return x, np.exp(2 * one + (depth - 1) * inner - depth * outer) / np.pi
