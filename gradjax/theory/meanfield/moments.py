"""Averages of an activation over a Gaussian pre-activation of variance q, for many q at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradjax.activations import Activation
from gradjax.arguments import SQUARABLE, real
from gradjax.theory.quadrature import CUTOFF, evaluate, gaussian_rule, partition_for

SMALLEST_Q = 1e-30  # stands for q = 0, where only the one-sided slopes at the origin matter
CHUNK = 1 << 21  # nodes at once: 16 MB an array


class Moments(NamedTuple):
    """Averages over h = sqrt(q) z, z ~ N(0, 1), each of the shape of q.

    square is E phi(h)^2, slope_square is E phi'(h)^2, and growth is d square / dq = E[z phi phi'] / sqrt(q). The
    last needs no second derivative: E[phi'^2 + phi phi''] would miss the jumps of phi' at kinks.
    """

    square: np.ndarray
    slope_square: np.ndarray
    growth: np.ndarray


def check_stds(weight_std: float, bias_std: float, keep_probability: float = 1.0) -> tuple[float, float, float]:
    """Return weight_std, bias_std, keep_probability as floats, or raise ValueError where one is out of range."""
    return (
        real("weight_std", weight_std, SQUARABLE),
        real("bias_std", bias_std, SQUARABLE),
        real("keep_probability", keep_probability, "(0, 1]"),
    )


def mean_over_gaussian(activation: Activation, q: np.ndarray | float, integrand: Callable) -> np.ndarray:
    """Return E[integrand(z, x)] with x = sqrt(q) z, split at the activation's panels, for every q.

    The integrand may return a stack: the nodes are its last axis, q's flattened shape the one before.
    """
    q = np.asarray(q, np.float64)
    std = np.sqrt(np.maximum(q.ravel(), SMALLEST_Q))
    edges = partition_for(activation, CUTOFF * float(std.max(initial=0.0))).edges
    rows = max(1, CHUNK // ((len(edges) + 27) * 16))
    parts = []
    for start in range(0, max(len(std), 1), rows):
        z, x, weights = gaussian_rule(edges, 0.0, std[start : start + rows])
        parts.append(np.sum(integrand(z, x) * weights, axis=-1))
    values = np.concatenate(parts, axis=-1)
    return values.reshape((*values.shape[:-1], *q.shape))


def moments(activation: Activation, q: np.ndarray | float) -> Moments:
    """Return E phi^2, E phi'^2 and d E phi^2 / dq at every variance q >= 0.

    >>> from gradjax.activations import ACTIVATIONS
    >>> [round(float(m), 12) for m in moments(ACTIVATIONS["relu"], 3.0)]
    [1.5, 0.5, 0.5]
    """
    q = np.asarray(q, np.float64)

    def integrand(z, x):
        phi, slope = evaluate(activation, x), evaluate(activation, x, order=1)
        return np.stack([phi**2, slope**2, z * phi * slope])

    square, slope_square, radial = mean_over_gaussian(activation, q, integrand)
    return Moments(square, slope_square, radial / np.sqrt(np.maximum(q, SMALLEST_Q)))


def is_homogeneous(activation: Activation) -> bool:
    """Return whether phi(a x) = a phi(x) for a > 0: then no average of slopes depends on the length.

    >>> from gradjax.activations import ACTIVATIONS
    >>> is_homogeneous(ACTIVATIONS["leaky_relu"]), is_homogeneous(ACTIVATIONS["gelu"])
    (True, False)
    """
    rays = np.logspace(-8, 8, 65)
    x = np.stack([-rays, rays])
    slopes, ratios = evaluate(activation, x, order=1), evaluate(activation, x) / x
    return all(bool(np.allclose(v, v[:, :1], rtol=1e-14, atol=0)) for v in (slopes, ratios)) and bool(
        np.allclose(slopes, ratios, rtol=1e-14, atol=0)
    )
