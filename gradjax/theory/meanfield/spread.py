"""How much one layer's gain scatters from network to network: what a width short of infinity costs."""

import numpy as np

from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.meanfield.moments import check_stds, is_homogeneous, mean_over_gaussian
from gradjax.theory.quadrature import as_activation, evaluate


def gradient_gain_spread(activation, weight_std: float, bias_std: float) -> float:
    """Return v: at width n, one Gaussian layer's gain of the squared gradient has the relative variance v / n.

    v = 3 E phi'(sqrt(q*) z)^4 / (E phi'(sqrt(q*) z)^2)^2 - 1, to leading order. So the mean of half the log of a
    layer's gain lies v / (4 n) below half the log of its mean, chi_1, and scatters with the variance v / (4 n).

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std, bias_std: sigma_w > 0 and sigma_b >= 0.

    Raises:
        ValueError: no single stable length q*.

    Reference: Hanin and Nica (2019), arXiv:1812.05994, whose ReLU case is 5 / n.

    >>> [round(gradient_gain_spread(name, 2**0.5, 0.0), 9) for name in ("linear", "relu")]
    [2.0, 5.0]
    """
    activation = as_activation(activation)
    weight_std, bias_std, _ = check_stds(weight_std, bias_std)
    q = 1.0 if is_homogeneous(activation) else length_fixed_point(activation, weight_std, bias_std)
    second, fourth = mean_over_gaussian(
        activation, q, lambda _, x: np.stack([evaluate(activation, x, order=1) ** (2 * k) for k in (1, 2)])
    )
    return float(3 * fourth / second**2 - 1)
