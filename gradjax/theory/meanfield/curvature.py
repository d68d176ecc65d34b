"""How a network bends a curve: chaos stretches a circle and, unlike a linear map, folds it (Poole et al. 2016)."""

import numpy as np

from gradjax.arguments import real
from gradjax.theory.meanfield.gain import gradient_gain
from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.meanfield.moments import check_stds, is_homogeneous, mean_over_gaussian
from gradjax.theory.quadrature import CUTOFF, as_activation, evaluate, partition_for


def curvature_gain(activation, weight_std: float, bias_std: float, *, q: float | None = None) -> float:
    """Return chi_2 = weight_std^2 E phi''(sqrt(q) z)^2, the source of curvature per layer.

    It is infinite where phi' jumps: automatic differentiation would miss the jump and return a finite number.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w >= 0.
        bias_std: sigma_b >= 0.
        q: mean squared pre-activation; the stable one where None.

    Reference: Poole et al. (2016, arXiv:1606.05340).

    >>> curvature_gain("relu", 1.0, 1.0)
    inf
    """
    activation = as_activation(activation)
    weight_std, bias_std, _ = check_stds(weight_std, bias_std)
    if q is None:
        q = 1.0 if is_homogeneous(activation) else length_fixed_point(activation, weight_std, bias_std)
    q = real("q", q, "[0, inf)")
    kinks = partition_for(activation, CUTOFF * np.sqrt(q)).kinks
    beside = 1e-9 * np.maximum(1.0, abs(kinks))
    left, right = (evaluate(activation, kinks + side * beside, order=1) for side in (-1, 1))
    if weight_std and (abs(right - left) > 1e-6 * np.maximum(abs(left), abs(right))).any():
        return float("inf")
    second = mean_over_gaussian(activation, q, lambda z, x: evaluate(activation, x, order=2) ** 2)
    return weight_std**2 * float(second)


def curvature_map(
    activation, weight_std: float, bias_std: float, curvature: float, *, q: float | None = None
) -> tuple[float, float]:
    """Return the squared extrinsic curvature of a curve one layer on, and its fixed point.

    kappa' = 3 chi_2 / chi_1^2 + kappa / chi_1, where kappa is the squared curvature times the width: a great circle on
    the sphere of radius sqrt(N q) has kappa = 1 / q. The fixed point 3 chi_2 / (chi_1 (chi_1 - 1)) exists for
    chi_1 > 1 only and is infinite otherwise: contraction sharpens every bend.

    Args: as `curvature_gain`, with curvature >= 0.

    Reference: Poole et al. (2016, arXiv:1606.05340), equation 9.

    >>> curvature_map("linear", 2.0, 0.0, 1.0)
    (0.25, 0.0)
    """
    curvature = real("curvature", curvature, "[0, inf)")
    chi_1 = gradient_gain(activation, weight_std, bias_std, q=q)
    if not chi_1:
        raise ValueError(f"weight_std={weight_std:g} lets no gradient through (chi_1 = 0): a curve becomes a point")
    chi_2 = curvature_gain(activation, weight_std, bias_std, q=q)
    following = 3 * chi_2 / chi_1**2 + curvature / chi_1
    return following, 3 * chi_2 / (chi_1 * (chi_1 - 1)) if chi_1 > 1 else float("inf")
