"""How alike the gradients at two inputs are: why a plain ReLU network does not shatter as quoted."""

import numpy as np

from gradjax.arguments import DEEPEST, SQUARABLE, real, whole
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
    depth, c = _checked(depth, correlation)
    if q is None:
        free = is_homogeneous(activation) and not bias_std
        q = 1.0 if free else length_fixed_point(activation, weight_std, bias_std)
    q = real("q", q, "[0, 1e30]")
    one = moments(activation, q)
    after = weight_std**2 * float(one.square) + bias_std**2
    result = [1.0]
    for _ in range(depth):
        pair = pair_moments(activation, q, c)
        result.append(result[-1] * pair.slope_product / float(one.slope_square))
        c = min(max((weight_std**2 * pair.product + bias_std**2) / after, -1.0), 1.0)
    return np.array(result)


def residual_gradient_correlation(
    activation, branch_std: float, depth: int, *, correlation: float = 0.0, q: float = 1.0
) -> np.ndarray:
    """Return the correlation between the input gradients at two inputs of a residual network x <- x + W phi(x).

    prod_l (1 + s^2 E phi'(u1) phi'(u2)) / (1 + s^2 E phi'(u1)^2) with s = branch_std, along q' = q + s^2 E phi(u1)^2
    and q'c' = q c + s^2 E phi(u1) phi(u2). The first block of a ReLU network gives 3/4; the quoted (3/4)^depth
    would need inputs that stay decorrelated, and they do not: the angle between them shrinks here too, more slowly.

    Args:
        activation: a callable, an `Activation`, or a name.
        branch_std: s, of W, times sqrt(fan_in); sqrt(2) for ReLU after He.
        depth: number of blocks, at least 0.
        correlation: of the two inputs, in [-1, 1].
        q: their mean square, above 0.

    Returns:
        Array (depth + 1,): entry L is that of a network of L blocks.

    Reference: Balduzzi et al. (2017, arXiv:1702.08591); the recursion derived here.

    >>> residual_gradient_correlation("relu", 2 ** 0.5, 1).round(9)
    array([1.  , 0.75])
    """
    activation = as_activation(activation)
    s = real("branch_std", branch_std, SQUARABLE) ** 2
    depth, c = _checked(depth, correlation)
    q, result = real("q", q, "(0, 1e30]"), [1.0]
    for _ in range(depth):
        one, pair = moments(activation, q), pair_moments(activation, q, c)
        result.append(result[-1] * (1 + s * pair.slope_product) / (1 + s * float(one.slope_square)))
        after = q + s * float(one.square)
        c, q = min(max((q * c + s * pair.product) / after, -1.0), 1.0), after
    return np.array(result)


def batchnorm_gradient_correlation(activation, depth: int, *, batch_size: float = np.inf) -> np.ndarray:
    """Return the correlation between the input gradients at two inputs of one batch under batch-norm.

    (E phi'(u1) phi'(u2) / E phi'(u)^2)^depth with the correlation -1 / (batch_size - 1) that centring leaves:
    batch-norm keeps inputs apart, so every layer decorrelates the gradients again; 2^-depth for ReLU and a large
    batch. The batch's statistics count as constants.

    Args:
        activation: applied to the normalized signal.
        depth: number of layers, at least 0.
        batch_size: B, at least 2, or infinity.

    Reference: Balduzzi et al. (2017, arXiv:1702.08591).

    >>> batchnorm_gradient_correlation("relu", 2).round(9)
    array([1.  , 0.5 , 0.25])
    """
    activation, c = as_activation(activation), _batch_correlation(batch_size)
    depth, _ = _checked(depth, 0.0)
    factor = pair_moments(activation, 1.0, c).slope_product / float(moments(activation, 1.0).slope_square)
    return factor ** np.arange(depth + 1)


def batchnorm_residual_gradient_correlation(
    activation, branch_std: float, depth: int, *, batch_size: float = np.inf
) -> np.ndarray:
    """Return the same for a residual network with batch-norm in its branches, x <- x + W phi(BN(x)).

    The stream's variance over the batch grows by s^2 Var phi a block, so block l (from 0) has the slope a_l = s^2 /
    (1 + s^2 Var phi l) and the factor (1 + a_l E phi1' phi2') / (1 + a_l E phi'^2): a power law of depth with the
    exponent -(E phi'^2 - (E phi')^2) / Var phi. For ReLU that is -pi / (2 (pi - 1)) = -0.734, where depth^(-1/2) is
    quoted: the quoted law counts the branch's mean square, and batch-norm sees only its variance over the batch.

    Args:
        activation, depth, batch_size: as `batchnorm_gradient_correlation`.
        branch_std: s, of W, times sqrt(fan_in); sqrt(2) for ReLU after He.

    Reference: Balduzzi et al. (2017, arXiv:1702.08591) for the question; the recursion derived here.

    >>> batchnorm_residual_gradient_correlation("relu", 2 ** 0.5, 1).round(9)
    array([1.  , 0.75])
    """
    activation, c = as_activation(activation), _batch_correlation(batch_size)
    s = real("branch_std", branch_std, SQUARABLE) ** 2
    depth, _ = _checked(depth, 0.0)
    one, pair = moments(activation, 1.0), pair_moments(activation, 1.0, c)
    slopes = s / (1 + s * (float(one.square) - pair.product) * np.arange(depth))
    factors = (1 + slopes * pair.slope_product) / (1 + slopes * float(one.slope_square))
    return np.concatenate([[1.0], np.cumprod(factors)])


def _checked(depth: int, correlation: float) -> tuple[int, float]:
    return whole("depth", depth, 0, DEEPEST), real("correlation", correlation, "[-1, 1]")


def _batch_correlation(batch_size: float) -> float:
    return -1 / (real("batch_size", batch_size, "[2, inf]") - 1)
