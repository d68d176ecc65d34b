"""How the angle between two signals changes from layer to layer, and over how many layers anything settles.

c' = (weight_std^2 E phi(u1) phi(u2) + bias_std^2) / q' with u1, u2 of variance q and correlation c (Poole et al. 2016,
arXiv:1606.05340). Mehler's expansion makes it a power series in c with no negative coefficient, so on [0, 1] it is
convex: c* = 1 where chi_1 <= 1, and else there is exactly one fixed point below 1, the stable one.
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import real
from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.meanfield.moments import SMALLEST_Q, check_stds, is_homogeneous, moments
from gradjax.theory.quadrature import CUTOFF, Activation, as_activation, evaluate, gaussian_rule, partition_for

NEGLIGIBLE = 1e-22  # weights of the outer average below this are left out
SMOOTHED = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.5, 7.0, 9.0, 13.0])


class PairMoments(NamedTuple):
    """E phi(u1) phi(u2) and E phi'(u1) phi'(u2), the second being the first's derivative by c, over q (Price 1958)."""

    product: float
    slope_product: float


class DepthScales(NamedTuple):
    """Layers over which a perturbation of length, correlation or gradient shrinks by e; negative where it grows."""

    length: float
    correlation: float
    gradient: float


def pair_moments(activation: Activation, q: float, c: float) -> PairMoments:
    """Return E phi(u1) phi(u2) and E phi'(u1) phi'(u2) for two Gaussians of variance q and correlation c.

    u1 = sqrt(q) z1, u2 = sqrt(q) (c z1 + sqrt(1 - c^2) z2). The inner average over z2 is split where u2 meets a panel;
    as a function of z1 it is the activation smoothed to the width sqrt(1 - c^2), so the outer one is cut there too.

    >>> from gradjax.activations import ACTIVATIONS
    >>> round(pair_moments(ACTIVATIONS["linear"], 2.0, 0.25).product, 12)
    0.5
    """
    std, spread = np.sqrt(max(q, SMALLEST_Q)), np.sqrt((1 - c) * (1 + c))
    panels = partition_for(activation, CUTOFF * std)
    if spread < 1e-12:
        z, x, weights = gaussian_rule(panels.edges, 0.0, std)
        parts = [(evaluate(activation, x, n) * evaluate(activation, np.sign(c) * x, n)) @ weights for n in (0, 1)]
        return PairMoments(*map(float, parts))
    edges, kinks = panels.edges / std, panels.kinks / std
    cuts = edges
    if abs(c) > 0.05:
        smoothed = (kinks[:, None] + spread * np.concatenate([-SMOOTHED, SMOOTHED])).ravel()
        cuts = np.concatenate([edges, edges / c, smoothed / c])
    outer = gaussian_rule(np.unique(cuts), 0.0, 1.0)
    kept = outer.weights > NEGLIGIBLE
    z, weights = outer.z[kept], outer.weights[kept]
    inner = gaussian_rule(edges, c * z, spread)
    parts = [
        weights
        @ (evaluate(activation, std * z, n) * np.sum(evaluate(activation, std * inner.x, n) * inner.weights, -1))
        for n in (0, 1)
    ]
    return PairMoments(*map(float, parts))


def _settled_length(activation: Activation, weight_std: float, bias_std: float, keep: float, q: float | None) -> float:
    if q is not None:
        return real("q", q, "[0, 1e30]")
    if not bias_std and is_homogeneous(activation):
        return 1.0  # angles do not depend on the length
    return length_fixed_point(activation, weight_std, bias_std, keep_probability=keep)


def correlation_map(
    activation,
    weight_std: float,
    bias_std: float,
    correlation: float,
    *,
    keep_probability: float = 1.0,
    q: float | None = None,
) -> tuple[float, float]:
    """Return the correlation of two signals one layer on, and its derivative by the correlation.

    c' = (weight_std^2 E phi(u1) phi(u2) + bias_std^2) / q', where q' is the length one layer on. With dropout the two
    signals have masks of their own: only q' is divided by keep_probability, and equal inputs drift apart.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w > 0.
        bias_std: sigma_b >= 0.
        correlation: c in [-1, 1].
        keep_probability: of dropout, in (0, 1].
        q: mean squared pre-activation of both; the stable one where None.

    >>> tuple(round(v, 12) for v in correlation_map("relu", 2 ** 0.5, 0.0, 1.0))
    (1.0, 1.0)
    """
    activation = as_activation(activation)
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    correlation = real("correlation", correlation, "[-1, 1]")
    q = _settled_length(activation, weight_std, bias_std, keep, q)
    return _map(activation, weight_std**2, bias_std**2, keep, q)(correlation)


def _map(activation: Activation, gain: float, variance: float, keep: float, q: float):
    after = gain / keep * float(moments(activation, q).square) + variance
    if not after:
        raise ValueError("weight_std and bias_std are both 0: there is no signal whose correlation could be told")

    def step(c: float) -> tuple[float, float]:
        pair = pair_moments(activation, q, c)
        return (gain * pair.product + variance) / after, gain * pair.slope_product * max(q, SMALLEST_Q) / after

    return step


def correlation_fixed_point(
    activation, weight_std: float, bias_std: float, *, keep_probability: float = 1.0, q: float | None = None
) -> float:
    """Return c*, the correlation in [0, 1] that any two signals approach.

    Args: as `correlation_map`.

    Raises:
        ValueError: an argument out of range, no single stable length, or a map that keeps every correlation (a linear
            network without bias, or one whose signals vanish into its linear range).

    >>> correlation_fixed_point("tanh", 1.0, 0.5)
    1.0
    """
    activation = as_activation(activation)
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    q = _settled_length(activation, weight_std, bias_std, keep, q)
    step = _map(activation, weight_std**2, bias_std**2, keep, q)
    c, (value, slope) = 0.0, step(0.0)
    if slope > 1 - 1e-12:
        raise ValueError(
            f"{activation.__name__} at weight_std={weight_std:g}, bias_std={bias_std:g} keeps every correlation: "
            "its signals stay in a linear range"
        )
    if keep == 1 and step(1.0)[1] <= 1:
        return 1.0
    for _ in range(200):  # convex: Newton from 0 climbs to the first fixed point and never passes it
        ahead = min(c + (value - c) / (1 - slope), 1.0)
        if ahead - c <= 1e-15:
            break
        c, (value, slope) = ahead, step(ahead)
        if slope >= 1:  # rounding carried it beyond, where the fixed point is within rounding of here
            break
    return c


def depth_scales(
    activation, weight_std: float, bias_std: float, *, keep_probability: float = 1.0, q: float | None = None
) -> DepthScales:
    """Return how many layers length, correlation and gradient take to change by a factor e.

    1/xi_length = -ln |dq'/dq|, 1/xi_correlation = -ln c'(c*), 1/xi_gradient = -ln chi_1 (negative: it explodes), the
    slope of the length map without second derivatives: dq'/dq = weight_std^2 E[z phi phi'] / sqrt(q), which is right
    at kinks too (Schoenholz et al. 2017, arXiv:1611.01232).

    Args: as `correlation_map`.

    >>> round(depth_scales("linear", 0.5, 1.0).gradient, 6)
    0.721348
    """
    activation = as_activation(activation)
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    q = _settled_length(activation, weight_std, bias_std, keep, q)
    averages = moments(activation, q)
    step = _map(activation, weight_std**2, bias_std**2, keep, q)
    if step(0.0)[1] > 1 - 1e-12:
        rate = 1.0  # every correlation is kept
    else:
        rate = step(correlation_fixed_point(activation, weight_std, bias_std, keep_probability=keep, q=q))[1]
    gain = weight_std**2 / keep
    factors = gain * averages.growth, rate, gain * averages.slope_square
    return DepthScales(*(_scale(float(factor)) for factor in factors))


def _scale(factor: float) -> float:
    if factor == 0:
        return 0.0
    return float(-1 / np.log(abs(factor))) if abs(factor) != 1 else float("inf")
