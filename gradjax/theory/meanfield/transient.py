"""The gradient's factor of every layer on the way from the input to the stable length, not only the settled one.

Deep theory speaks of the layers behind the transient; a network of five layers has no other ones.
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import DEEPEST, real, whole
from gradjax.theory.meanfield.length import length_map
from gradjax.theory.meanfield.moments import check_stds, is_homogeneous, mean_over_gaussian
from gradjax.theory.quadrature import as_activation, evaluate


class LayerGains(NamedTuple):
    """For each layer in turn: chi, the factor of the mean squared gradient; and width times that factor's relative
    variance over networks with Gaussian weights, 3 E phi'^4 / (E phi'^2)^2 - 1."""

    gain: np.ndarray
    variance: np.ndarray


def gains_by_layer(activation, weight_std: float, bias_std: float, square: float, depth: int) -> LayerGains:
    """Return the factors of the mean squared gradient of each of the first `depth` layers, and their variances.

    chi_l = weight_std^2 E phi'(sqrt(q_l) z)^2 with q_1 = weight_std^2 square + bias_std^2 and q_(l+1) the length that
    follows q_l.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w >= 0.
        bias_std: sigma_b >= 0.
        square: mean square of the entries of the input, >= 0.
        depth: how many layers, >= 1.

    Raises:
        ValueError: an argument out of range.

    Source: Poole et al. (2016, arXiv:1606.05340); Schoenholz et al. (2017, arXiv:1611.01232).

    >>> gains = gains_by_layer("linear", 3.0, 0.0, 1.0, 2)
    >>> gains.gain.tolist(), gains.variance.tolist()
    ([9.0, 9.0], [2.0, 2.0])
    """
    activation = as_activation(activation)
    weight_std, bias_std, _ = check_stds(weight_std, bias_std)
    square, depth = real("square", square, "[0, inf)"), whole("depth", depth, 1, DEEPEST)
    # a length that grows by 16 a layer soon leaves the floats; for phi(a x) = a phi(x) the slopes do not depend on it
    fixed = is_homogeneous(activation)
    lengths = [1.0] if fixed else [weight_std**2 * square + bias_std**2]
    while len(lengths) < depth and not fixed:
        lengths.append(float(length_map(activation, weight_std, bias_std, lengths[-1])))
    second, fourth = mean_over_gaussian(
        activation, np.array(lengths), lambda _, x: np.stack([evaluate(activation, x, order=1) ** k for k in (2, 4)])
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # no slope at all has no relative variance
        spread = 3 * fourth / second**2 - 1
    return LayerGains(*(np.broadcast_to(row, depth).copy() for row in (weight_std**2 * second, spread)))
