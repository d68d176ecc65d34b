"""How alike the gradients at two inputs are: why a plain ReLU network does not shatter as quoted."""

import numpy as np

from gradjax.theory.meanfield.correlation import pair_moments
from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.meanfield.moments import check_stds, is_homogeneous, moments
from gradjax.theory.quadrature import as_activation


def gradient_correlation(
    activation, weight_std: float, bias_std: float, depth: int, *, correlation: float = 0.0, q: float | None = None
) -> np.ndarray:
    """Return the correlation between the input gradients at two inputs, for networks of 0 to `depth` layers.

    prod_l E phi'(u1) phi'(u2) / E phi'(u1)^2 along the correlations c_l of the two signals. For He-initialized ReLU it
    is prod_l (1 - theta_l / pi) with theta_l the angle between the signals; angles shrink like 3 pi / l, so it falls
    like depth^-3. The 2^-depth of Balduzzi et al. holds where inputs stay decorrelated, as under batch-norm.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w > 0.
        bias_std: sigma_b >= 0.
        depth: number of layers, at least 0.
        correlation: of the first pre-activations, in [-1, 1].
        q: mean squared pre-activation; the stable one where None.

    Returns:
        Array (depth + 1,): entry L is that of a network of L layers.

    Reference: Balduzzi et al. (2017, arXiv:1702.08591); the recursion of angles derived here.

    >>> gradient_correlation("relu", 2 ** 0.5, 0.0, 1).round(9)
    array([1. , 0.5])
    """
    activation = as_activation(activation)
    weight_std, bias_std, _ = check_stds(weight_std, bias_std)
    if int(depth) != depth or depth < 0:
        raise ValueError(f"depth={depth!r} must be a whole number, at least 0")
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation={correlation!r} must lie in [-1, 1]")
    if q is None:
        free = is_homogeneous(activation) and not bias_std
        q = 1.0 if free else length_fixed_point(activation, weight_std, bias_std)
    one = moments(activation, q)
    after = weight_std**2 * float(one.square) + bias_std**2
    result, c = [1.0], float(correlation)
    for _ in range(int(depth)):
        pair = pair_moments(activation, q, c)
        result.append(result[-1] * pair.slope_product / float(one.slope_square))
        c = min(max((weight_std**2 * pair.product + bias_std**2) / after, -1.0), 1.0)
    return np.array(result)
