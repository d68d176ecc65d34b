"""How much a gradient grows per layer, and the weights at which it does not.

chi_1 = weight_std^2 E phi'(sqrt(q) z)^2 / keep_probability multiplies the mean squared gradient norm per layer
(Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232): its log is twice the slope of the log
gradient norm with depth.
"""

import numpy as np

from gradjax.arguments import real
from gradjax.theory.meanfield.length import bracketed_root, length_fixed_point, scan
from gradjax.theory.meanfield.moments import check_stds, is_homogeneous, moments
from gradjax.theory.quadrature import as_activation, evaluate


def gradient_gain(
    activation, weight_std: float, bias_std: float, *, keep_probability: float = 1.0, q: float | None = None
) -> float:
    """Return chi_1, the factor per layer of the mean squared gradient norm, at the stable length.

    chi_1 = weight_std^2 E phi'(sqrt(q) z)^2 / keep_probability. For phi(a x) = a phi(x) (linear, ReLU) it does not
    depend on the length and needs no fixed point.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w >= 0.
        bias_std: sigma_b >= 0.
        keep_probability: of dropout on the activations, in (0, 1].
        q: mean squared pre-activation to use instead of the stable one, >= 0.

    Raises:
        ValueError: an argument out of range, or no single stable length and no q.

    >>> round(gradient_gain("relu", 2 ** 0.5, 0.0), 12)
    1.0
    """
    activation = as_activation(activation)
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    if q is None:
        homogeneous = is_homogeneous(activation)
        q = 1.0 if homogeneous else length_fixed_point(activation, weight_std, bias_std, keep_probability=keep)
    q = real("q", q, "[0, inf)")
    return weight_std**2 / keep * float(moments(activation, q).slope_square)


def critical_weight_std(activation, bias_std: float) -> float:
    """Return the weight_std at which gradients neither grow nor shrink: chi_1 = 1.

    At length q, chi_1 = 1 means weight_std^2 = 1 / E phi'^2, and q is a fixed point where
    bias_std^2 = q - E phi^2 / E phi'^2: one equation for q.

    Args:
        activation: a callable, an `Activation`, or a name.
        bias_std: sigma_b >= 0.

    Raises:
        ValueError: there is none with a stable length (ReLU with a bias), or more than one.

    >>> round(critical_weight_std("tanh", 0.0), 12)
    1.0
    """
    activation = as_activation(activation)
    variance = check_stds(0.0, bias_std)[1] ** 2
    if is_homogeneous(activation):
        if variance:
            raise ValueError(f"{activation.__name__} has no critical weights at bias_std={bias_std:g}, only at 0")
        return float(1 / np.sqrt(moments(activation, 1.0).slope_square))

    def excess(q):
        m = moments(activation, q)
        return 1 - (m.square / m.slope_square + variance) / q

    def excess_and_slope(q):
        ratio = 1e-6  # a central difference is enough to steer Newton; the root's accuracy is that of excess
        return float(excess(q)), float(excess(q * (1 + ratio)) - excess(q * (1 - ratio))) / (2 * ratio)

    brackets, _, _ = scan(excess, variance / 2 if variance else 1e-12, lambda q, _: q > 1e6 * max(1.0, variance))
    lengths = [bracketed_root(excess_and_slope, *bracket) for bracket in brackets]
    if not variance and evaluate(activation, np.zeros(1))[0] == 0:
        lengths = [0.0, *lengths]
    averages = [moments(activation, q) for q in lengths]
    stds = [float(1 / np.sqrt(m.slope_square)) for m in averages]
    settled = [std for std, m in zip(stds, averages, strict=True) if m.growth / m.slope_square < 1 + 1e-9]
    if len(settled) != 1:
        found = ", ".join(f"{std:.6g} (q = {q:.6g})" for std, q in zip(stds, lengths, strict=True)) or "none"
        raise ValueError(
            f"{activation.__name__} at bias_std={bias_std:g} has {len(settled)} critical weight_std with a stable "
            f"length; with any length: {found}"
        )
    return settled[0]
