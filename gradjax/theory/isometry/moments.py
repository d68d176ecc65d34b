"""Moments of the spectrum of J J^T at finite depth, by power series of the S-transform."""

import numpy as np

from gradjax.arguments import DEEPEST, choice, whole
from gradjax.theory.isometry.slopes import slope_law

WEIGHTS = ("gaussian", "orthogonal")


def check(weights: str, depth: int) -> tuple[bool, int]:
    """Return whether the weights are Gaussian, and the depth, or raise ValueError."""
    choice("weights", weights, WEIGHTS)
    return weights == "gaussian", whole("depth", depth, 1, DEEPEST)


def squared_singular_value_variance(activation, weights: str, depth: int, q: float) -> float:
    """Return the variance of the eigenvalues of J J^T over their squared mean, with chi_1 = 1.

    depth (mu_2 / mu_1^2 - 1 - s_1), mu_k = E phi'(sqrt(q) z)^(2k), s_1 = -1 for Gaussian weights and 0 for orthogonal
    ones: exact at every depth in the limit of great width.

    Args:
        activation: a callable, an `Activation`, or a name.
        weights: 'gaussian' or 'orthogonal'.
        depth: number of layers, at least 1.
        q: mean squared pre-activation, above 0.

    Reference: Pennington, Schoenholz, Ganguli (2018, arXiv:1802.09979).

    >>> squared_singular_value_variance("linear", "gaussian", 7, 1.0)
    7.0
    """
    gaussian, depth = check(weights, depth)
    law = slope_law(activation, q)
    return float(depth * (law.weights @ (law.values - 1) ** 2 + gaussian))


def squared_singular_value_moments(activation, weights: str, depth: int, q: float, count: int) -> np.ndarray:
    """Return the first `count` moments of the eigenvalues of J J^T, with chi_1 = 1 (so the first is 1).

    M(y) = sum_k m_k y^k has the inverse series chi(z) = z S(z) / (1 + z), and S(z) of J J^T is
    (S_{D^2}(z) S_{WW^T}(z))^depth, S_{WW^T} = 1 / (1 + z) for Gaussian weights, 1 for orthogonal ones.

    Args: as `squared_singular_value_variance`, and count: how many moments, 1 to 12.

    Reference: Pennington, Schoenholz, Ganguli (2017, arXiv:1711.04735).

    >>> squared_singular_value_moments("linear", "gaussian", 2, 1.0, 4)  # Fuss-Catalan numbers
    array([ 1.,  3., 12., 55.])
    """
    gaussian, depth = check(weights, depth)
    count = whole("count", count, 1, 12)
    law = slope_law(activation, q)
    own = np.array([0.0, *(law.weights @ law.values**k for k in range(1, count + 1))])
    one_plus = np.zeros(count + 1)
    one_plus[:2] = 1.0
    transform = _product(one_plus, np.append(_inverse(own)[1:], 0.0))  # S_{D^2}, to z^(count - 1)
    if gaussian:
        transform = _product(transform, _reciprocal(one_plus))
    total = np.zeros(count + 1)
    total[0] = 1.0
    for _ in range(depth):
        total = _product(total, transform)
    inverse = np.append(0.0, _product(total, _reciprocal(one_plus))[:-1])
    moments = _inverse(inverse)[1:]
    return np.where(np.abs(moments - np.round(moments)) < 1e-12 * moments, np.round(moments), moments)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.convolve(a, b)[: len(a)]


def _reciprocal(a: np.ndarray) -> np.ndarray:
    result = np.zeros_like(a)
    result[0] = 1 / a[0]
    for k in range(1, len(a)):
        result[k] = -(a[1 : k + 1] @ result[k - 1 :: -1][:k]) / a[0]
    return result


def _inverse(series: np.ndarray) -> np.ndarray:
    """The series of the inverse function of a series without constant term (Lagrange): [y^(k-1)] (y/f)^k / k."""
    quotient = _reciprocal(np.append(series[1:], 0.0))
    power, result = np.eye(1, len(series))[0], np.zeros_like(series)
    for k in range(1, len(series)):
        power = _product(power, quotient)
        result[k] = power[k - 1] / k
    return result
