"""Digamma and trigamma in NumPy float64: the core has no SciPy, and jax.scipy's need the x64 flag."""

import math

import numpy as np

from gradjax.arguments import reals

SHIFT = 14.0  # from there on the asymptotic series below is exact to rounding
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def _positive(x) -> np.ndarray:
    return reals("x", x, "(0, inf)")


def digamma(x) -> np.ndarray:
    """Return psi(x) = d ln Gamma(x) / dx for x > 0.

    psi(x) = psi(x + 1) - 1/x up to x >= 14, then ln x - 1/(2x) - sum_k B_2k / (2k x^2k).

    >>> abs(float(digamma(1.0)) + np.euler_gamma) < 1e-14
    True
    """
    x = _positive(x)
    below = np.zeros_like(x)
    for _ in range(math.ceil(SHIFT)):
        small = x < SHIFT
        below = below + np.where(small, 1 / x, 0.0)
        x = np.where(small, x + 1, x)
    tail = sum(b / (2 * k * x ** (2 * k)) for k, b in enumerate(BERNOULLI, start=1))
    return np.log(x) - 1 / (2 * x) - tail - below


def trigamma(x) -> np.ndarray:
    """Return psi'(x) for x > 0.

    psi'(x) = psi'(x + 1) + 1/x^2 up to x >= 14, then 1/x + 1/(2x^2) + sum_k B_2k / x^(2k + 1).

    >>> abs(float(trigamma(1.0)) - np.pi**2 / 6) < 1e-14
    True
    """
    x = _positive(x)
    below = np.zeros_like(x)
    for _ in range(math.ceil(SHIFT)):
        small = x < SHIFT
        below = below + np.where(small, 1 / x**2, 0.0)
        x = np.where(small, x + 1, x)
    tail = sum(b / x ** (2 * k + 1) for k, b in enumerate(BERNOULLI, start=1))
    return 1 / x + 1 / (2 * x**2) + tail + below
