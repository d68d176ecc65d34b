"""All Lyapunov exponents of a wide network: the log singular values of its Jacobian, per layer, as depth grows."""

import numpy as np

from gradjax.arguments import reals
from gradjax.theory.isometry.moments import check
from gradjax.theory.isometry.slopes import slope_law
from gradjax.theory.meanfield.gain import gradient_gain
from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.meanfield.moments import is_homogeneous
from gradjax.theory.quadrature import as_activation


def lyapunov_spectrum(
    activation, weight_std: float, bias_std: float, fractions, *, weights: str = "gaussian", q: float | None = None
) -> np.ndarray:
    """Return lambda(x), the Lyapunov exponent of the direction of rank x N among N, in the limit of great width.

    lambda(x) = ln(weight_std^2 x u) / 2 where u > 0 solves E[d / (d + u)] = x, d = phi'(sqrt(q) z)^2 (Gaussian
    weights; orthogonal ones: ln(weight_std^2 x u / (1 - x)) / 2). At x = 0 it is ln(chi_1) / 2, and -inf where x
    exceeds the share of units with a slope: half the directions of a ReLU network die.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w > 0.
        bias_std: sigma_b >= 0.
        fractions: x = i / N in [0, 1], any shape.
        weights: 'gaussian' or 'orthogonal'.
        q: mean squared pre-activation; the stable one where None.

    Raises:
        ValueError: an argument out of range, or no single stable length and no q.

    Reference: Newman (1986) for linear networks; lambda(x) = -ln S(-x) / 2 with the S-transform of one layer.

    >>> lyapunov_spectrum("linear", 1.0, 0.0, [0.75, 1.0]).round(6)  # ln(1 - x) / 2
    array([-0.693147,      -inf])
    """
    gaussian, _ = check(weights, 1)
    activation = as_activation(activation)
    x = reals("fractions", fractions, "[0, 1]")
    if q is None:
        q = 1.0 if is_homogeneous(activation) else length_fixed_point(activation, weight_std, bias_std)
    chi_1 = gradient_gain(activation, weight_std, bias_std, q=q)
    if not chi_1:
        return np.full(x.shape, -np.inf)
    law = slope_law(activation, max(q, 1e-30))
    return _exponents(law.values, law.weights, x.ravel(), np.log(chi_1), gaussian).reshape(x.shape)


def _exponents(values: np.ndarray, weights: np.ndarray, x: np.ndarray, log_gain: float, gaussian: bool) -> np.ndarray:
    """E[d / (d + u)] falls from P(d > 0) to 0 as u grows, so bisection in ln u finds every fraction at once."""
    exponents = np.where(x == 0, log_gain / 2, -np.inf)
    open_ = np.flatnonzero((x > 0) & (x < weights[values > 0].sum() - 1e-12))
    low, high = np.full(len(open_), -700.0), np.log(1 / x[open_])
    for _ in range(90):
        middle = (low + high) / 2
        share = (weights * values / (values + np.exp(middle)[:, None])).sum(axis=1)
        low, high = np.where(share > x[open_], middle, low), np.where(share > x[open_], high, middle)
    inverse = np.log(x[open_]) if gaussian else np.log(x[open_] / (1 - x[open_]))
    exponents[open_] = (log_gain + inverse + (low + high) / 2) / 2
    return exponents
