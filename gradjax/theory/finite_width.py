"""What is exact at finite width: the law of a ReLU network's log norm, and the exponents of Gaussian products.

Mean field theory is the limit of infinite width. At width n every layer adds about 5/n to the variance of the log of
the squared gradient norm, so it is depth over width that counts (Hanin 2018, arXiv:1801.03744; Hanin and Nica 2019,
arXiv:1812.05994).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gradjax.arguments import listed, real, said, wholes
from gradjax.room import axis
from gradjax.theory.special import digamma, trigamma

RELU_LAYER, LINEAR_LAYER = 5.0, 2.0  # leading variance of ln |Ju|^2 per layer, times its width


class LogNormMoments(NamedTuple):
    """Mean and variance of ln |J u|^2 given that it is not zero, and the probability that it is."""

    mean: float
    variance: float
    dead: float


def _gates(gated: Sequence[bool]) -> list[bool]:
    gates = listed("gated", gated, "truth values")
    if any(np.ndim(gate) for gate in gates):
        raise ValueError(f"gated is {said(gated)}, expected one truth value a layer")
    return [bool(gate) for gate in gates]


def _checked_widths(widths: Sequence[int], gated: Sequence[bool] | None) -> tuple[list[int], list[bool]]:
    widths = wholes("widths", widths)
    if len(widths) < 2:
        raise ValueError(f"widths={widths} must hold at least two whole numbers (n_0, ..., n_L), each at least 1")
    gates = [True] * (len(widths) - 1) if gated is None else _gates(gated)
    if len(gates) != len(widths) - 1:
        raise ValueError(f"gated has {len(gates)} entries; expected one for each of the {len(widths) - 1} layers")
    return widths, gates


def _log_chi_squared(width: int, gated: bool) -> tuple[float, float]:
    """Mean and variance of ln chi^2_k, where k is the width, or the number of open gates given that one is open."""
    if not gated:
        return float(digamma(width / 2) + np.log(2)), float(trigamma(width / 2))
    k = np.arange(1, width + 1)
    log_choose = np.cumsum(np.log((width - k + 1) / k))  # C(n, k) itself overflows from n = 1030
    probability = np.exp(log_choose - log_choose.max())
    probability /= probability.sum()
    means = digamma(k / 2) + np.log(2)
    mean = probability @ means
    return float(mean), float(probability @ (trigamma(k / 2) + (means - mean) ** 2))


def log_squared_norm_moments(widths: Sequence[int], *, gated: Sequence[bool] | None = None) -> LogNormMoments:
    """Return mean and variance of ln |J u|^2 of a He-initialized ReLU network, and the probability that it is dead.

    |J u|^2 = prod_l (2 / n_{l-1}) chi^2_{k_l} with k_l ~ Binomial(n_l, 1/2) open gates, all independent, for a unit
    vector u. Given k_l >= 1 everywhere each layer adds E psi(k/2) + ln(4 / n_{l-1}) to the mean and
    E psi'(k/2) + Var psi(k/2) to the variance: -5/(2n) and 5/n in the limit of great width.

    Args:
        widths: (n_0, ..., n_L), each at least 1.
        gated: for each layer whether a ReLU follows; all of them where None. A layer without one has weight variance
            1 / n_{l-1} and chi^2 with n_l degrees.

    Raises:
        ValueError: fewer than two widths, one below 1, or a gate too many or too few.

    Reference: Hanin and Nica (2019, arXiv:1812.05994); exact form derived here.

    >>> log_squared_norm_moments((1, 1)).dead
    0.5
    """
    widths, gates = _checked_widths(widths, gated)
    mean = variance = log_alive = 0.0
    for fan_in, width, gate in zip(widths[:-1], widths[1:], gates, strict=True):
        layer_mean, layer_variance = _log_chi_squared(width, gate)
        mean += layer_mean + np.log((2 if gate else 1) / fan_in)
        variance += layer_variance
        log_alive += np.log1p(-(0.5**width)) if gate else 0.0
    return LogNormMoments(float(mean), float(variance), float(-np.expm1(log_alive)))


def log_squared_gradient_moments(widths: Sequence[int]) -> LogNormMoments:
    """Return mean and variance of ln |df / dx|^2 of a He-initialized ReLU network with a scalar readout.

    widths are those of the input and of the ReLU layers, (n_0, ..., n_L); the readout has variance 1 / n_L. Read
    backwards, every ReLU layer gives a gated chi^2 as in `log_squared_norm_moments`, and the input one without gates:
    |df / dx|^2 = (chi^2_{k_L} / n_L) prod_{l < L} (2 chi^2_{k_l} / n_l) (2 chi^2_{n_0} / n_0). To leading order the
    variance is sum_l 5 / n_l + 2 / n_0 over the ReLU layers.

    Args:
        widths: (n_0, ..., n_L), each at least 1.

    Raises:
        ValueError: fewer than two widths, or one below 1.

    Reference: Hanin and Nica (2019, arXiv:1812.05994); exact form derived here.

    >>> log_squared_gradient_moments((1, 1)).dead
    0.5
    """
    widths, gates = _checked_widths(widths, None)
    backwards = log_squared_norm_moments([1, *widths[:0:-1], widths[0]], gated=[*gates, False])
    # the reversed chain scales by 2 or 1 over its own fan-in, (1, n_L, ..., n_1); the network by 1/n_L, then 2/n_(l-1)
    own = len(gates) * np.log(2) - np.sum(np.log(widths[1:]))
    network = len(gates) * np.log(2) - np.sum(np.log(widths[:-1])) - np.log(widths[-1])
    return LogNormMoments(float(backwards.mean - own + network), backwards.variance, backwards.dead)


def leading_log_squared_norm_moments(widths: Sequence[int], *, gated: Sequence[bool] | None = None) -> LogNormMoments:
    """Return the same moments to leading order in 1 / width: ln |J u|^2 ~ N(ln(n_L / n_0) - beta/2, beta).

    beta = sum of 5 / n_l over layers with a ReLU and 2 / n_l over those without. At width 8 the exact variance is twice
    this one, at width 64 it is 6 % larger.

    Args: as `log_squared_norm_moments`.

    Reference: Hanin and Nica (2019, arXiv:1812.05994).

    >>> leading_log_squared_norm_moments((100, 100, 100)).variance
    0.1
    """
    widths, gates = _checked_widths(widths, gated)
    beta = sum((RELU_LAYER if gate else LINEAR_LAYER) / n for n, gate in zip(widths[1:], gates, strict=True))
    return LogNormMoments(float(np.log(widths[-1] / widths[0]) - beta / 2), float(beta), 0.0)


def fourth_moment_ratio(widths: Sequence[int], *, gated: Sequence[bool] | None = None) -> float:
    """Return E |J u|^4 / (E |J u|^2)^2 of a He-initialized ReLU network, exact at any width.

    prod_l (1 + 5 / n_l) over layers with a ReLU, (1 + 2 / n_l) without. It is carried by rare large values: do not
    test it by sampling once sum 5 / n_l passes 0.3.

    Args: as `log_squared_norm_moments`.

    Reference: Hanin (2018, arXiv:1801.03744).

    >>> fourth_moment_ratio((3, 5, 5))
    4.0
    """
    widths, gates = _checked_widths(widths, gated)
    return float(np.prod([1 + (RELU_LAYER if g else LINEAR_LAYER) / n for n, g in zip(widths[1:], gates, strict=True)]))


def gaussian_product_exponents(width: int, weight_std: float) -> np.ndarray:
    """Return the Lyapunov exponents of products of Gaussian matrices, descending: lim ln sigma_i / depth.

    lambda_i = (ln(2 weight_std^2 / N) + psi((N - i + 1) / 2)) / 2, i = 1..N, for square matrices with independent
    entries N(0, weight_std^2 / N): exact at every width. At large N it is ln(weight_std^2 (1 - i/N)) / 2.

    Args:
        width: N, at least 1.
        weight_std: sigma_w, above 0.

    Raises:
        ValueError: an argument out of range.

    Reference: Newman (1986), Communications in Mathematical Physics 103, 121.

    >>> gaussian_product_exponents(1, 1.0).round(6)  # (ln 2 + psi(1/2)) / 2 = E ln |z|
    array([-0.635181])
    """
    width, weight_std = axis("width", width), real("weight_std", weight_std, "[1e-150, 1e150]")
    degrees = np.arange(width, 0, -1)
    return (np.log(2 * weight_std**2 / width) + digamma(degrees / 2)) / 2
