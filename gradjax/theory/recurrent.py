"""Recurrent networks: Pascanu's bounds, the wall of the one-unit network, and exponents of random ones.

x_t = W phi(x_(t-1)) + input: the Jacobian through time is a product of W D with the same W. Bounds use W's largest
singular value; typical growth uses random-matrix theory, which is that of a feed-forward network of the same scale
(Engelken, Wolf, Abbott 2023, arXiv:2006.02427).
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import real, whole
from gradjax.theory.isometry.slopes import slope_law
from gradjax.theory.meanfield.gain import gradient_gain
from gradjax.theory.meanfield.length import length_fixed_point
from gradjax.theory.quadrature import GAUSS_NODES, GAUSS_WEIGHTS, as_activation, evaluate, partition_for

GATE_Z = np.linspace(-13.0, 13.0, 2001)  # the trapezoid rule is exact to rounding for what is smooth
GATE_WEIGHTS = np.exp(-(GATE_Z**2) / 2) * 0.013 / np.sqrt(2 * np.pi)
TOP, BOTTOM = 40.0, -200.0  # of ln u: beyond, x is 0 to rounding, or every direction that is not dead is counted


class Chaos(NamedTuple):
    """Per unit: share of expanding directions, Kolmogorov-Sinai entropy rate, Kaplan-Yorke dimension."""

    positive_fraction: float
    entropy_rate: float
    attractor_dimension: float


class Wall(NamedTuple):
    """Where the gradient of x_t = w phi(x_(t-1)) + b explodes: the bias, and the factor per step of its peak there."""

    bias: float
    rate: float


def steepest_slope(activation) -> float:
    """Return gamma = max |phi'|: 1 for tanh, 1/4 for the sigmoid.

    >>> steepest_slope("sigmoid")
    0.25
    """
    activation = as_activation(activation)
    edges = partition_for(activation, 64.0).edges
    x = ((edges[:-1, None] + edges[1:, None]) / 2 + np.diff(edges)[:, None] / 2 * np.linspace(-1, 1, 65)).ravel()
    slopes, best = np.zeros(1), 0
    for _ in range(8):
        slopes = np.abs(evaluate(activation, x, order=1))
        best = int(np.argmax(slopes))
        x = np.linspace(x[max(best - 2, 0)], x[min(best + 2, len(x) - 1)], 65)
    return float(slopes[best])


def log_gradient_bound(activation, largest_singular_value: float, steps: int) -> float:
    """Return the bound steps ln(gamma sigma_max) on ln of the norm of the Jacobian through that many steps.

    Gradients surely vanish where sigma_max(W) < 1 / gamma (the bound is negative and grows with steps); explosion needs
    sigma_max(W) > 1 / gamma, which is not enough for it.

    Args:
        activation: a callable, an `Activation`, or a name.
        largest_singular_value: of the recurrent weights, above 0: the singular value, not the spectral radius.
        steps: at least 0.

    Reference: Pascanu, Mikolov, Bengio (2013, arXiv:1211.5063).

    >>> log_gradient_bound("tanh", 1.0, 100)
    0.0
    """
    largest_singular_value = real("largest_singular_value", largest_singular_value, "(0, inf)")
    steps = whole("steps", steps, 0)
    return float(steps * np.log(steepest_slope(activation) * largest_singular_value))


def error_wall(activation, weight: float, start: float) -> Wall:
    """Return the bias at which x_t = w phi(x_(t-1)) + b starts on its unstable fixed point, and the peak's rate there.

    b = start - w phi(start), rate = w phi'(start): the peak of the gradient by b grows as rate^T where rate > 1. This
    is not the fold, where fixed points meet.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight: w.
        start: x_0.

    Raises:
        ValueError: w phi'(start) <= 1: the fixed point at the start is stable, and there is no wall.

    Reference: the picture of Pascanu, Mikolov, Bengio (2013, arXiv:1211.5063), figure 6; formula derived here.

    >>> round(error_wall("sigmoid", 5.0, 0.5).bias, 9)
    -2.612296656
    """
    activation, weight, start = as_activation(activation), real("weight", weight), real("start", start)
    partition_for(activation, abs(start))  # refuses what is not finite there
    value, slope = (float(evaluate(activation, np.array([start]), order)[0]) for order in (0, 1))
    if not weight * slope > 1:
        raise ValueError(f"weight * phi'(start) = {weight * slope:.6g} is not above 1: there is no wall at this weight")
    return Wall(start - weight * value, weight * slope)


def fold_biases(activation, weight: float) -> np.ndarray:
    """Return the biases at which fixed points of x = w phi(x) + b appear or vanish, ascending.

    There w phi'(x) = 1; b = x - w phi(x). Empty where the slope never reaches 1 / w.

    >>> fold_biases("sigmoid", 5.0).round(4)
    array([-2.6556, -2.3444])
    """
    activation, weight = as_activation(activation), real("weight", weight)
    partition_for(activation, 40.0)  # refuses what is not finite there
    x = np.linspace(-40, 40, 16_385)  # an even spacing that has its crossings bracketed, then bisection
    excess = weight * evaluate(activation, x, order=1) - 1
    index = np.flatnonzero(np.sign(excess[:-1]) * np.sign(excess[1:]) < 0)
    low, high, sign = x[index], x[index + 1], np.sign(excess[index])
    for _ in range(60):
        middle = (low + high) / 2
        same = np.sign(weight * evaluate(activation, middle, order=1) - 1) == sign
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return np.sort(low - weight * evaluate(activation, low))


def recurrent_exponent(activation, weight_std: float, bias_std: float) -> float:
    """Return the largest Lyapunov exponent of a large random recurrent network, per step: ln(g sqrt(E phi'^2)).

    Half the log of chi_1 at the stationary variance. Networks of a few hundred units near g = 1 stay below it.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: g, the weights' deviation times sqrt(N).
        bias_std: deviation of each unit's constant input.

    Reference: Engelken, Wolf, Abbott (2023, arXiv:2006.02427), discrete time.

    >>> round(recurrent_exponent("tanh", 3.0, 0.0), 4)
    0.3102
    """
    return float(np.log(gradient_gain(activation, weight_std, bias_std)) / 2)


def gate_gain(weight_std: float, bias: float, input_square: float) -> float:
    """Return the factor per step of the mean squared gradient of a large random gated network (minimalRNN).

    h <- u h + (1 - u) z with u = sigmoid(U h + V z + b), U and V of deviation weight_std / sqrt(N), and independent
    inputs z: E u^2 + weight_std^2 E[(h - z)^2] E[u^2 (1 - u)^2], the gate's argument being Gaussian with the variance
    weight_std^2 (q + E z^2), where q = E h^2 settles at E (1 - u)^2 E z^2 / (1 - E u^2). An open gate (b above 0) keeps
    the gradient near 1 at any weights, with no scale to be met.

    Args:
        weight_std: of U and V alike, at least 0.
        bias: b.
        input_square: E z^2, at least 0.

    Reference: derived; the network is that of Chen, Pennington, Schoenholz (2018, arXiv:1806.05394).

    >>> gate_gain(0.0, 0.0, 1.0)
    0.25
    """
    weight_std, bias = real("weight_std", weight_std, "[0, 1e150]"), real("bias", bias)
    input_square = real("input_square", input_square, "[0, inf)")

    def averages(q: float) -> tuple[float, float, float]:
        x = bias + weight_std * np.sqrt(q + input_square) * GATE_Z
        u, closed = 1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))
        return tuple(float(GATE_WEIGHTS @ f) for f in (u**2, closed**2, (u * closed) ** 2))  # pyright: ignore[reportReturnType]

    q, low, high = input_square, 0.0, input_square  # h lies between z and itself: E h^2 <= E z^2
    for _ in range(60):
        q = (low + high) / 2
        kept, entered, _ = averages(q)
        low, high = (q, high) if kept * q + entered * input_square > q else (low, q)
    kept, _, turned = averages(q)
    return kept + weight_std**2 * (q + input_square) * turned


def memory_sensitivity(factor: float) -> float:
    """Return E (dh/d factor)^2 of the linear memory h <- factor h + x with white inputs of variance 1.

    (1 + l^2) / (1 - l^2)^3: it grows like (1 - l)^-3 as the memory 1 / (1 - l) does, though no gradient explodes.

    Args:
        factor: l in (-1, 1).

    Reference: derived; Zucchet and Orvieto (2024, arXiv:2405.21064).

    >>> memory_sensitivity(0.0)
    1.0
    """
    factor = real("factor", factor, "(-1, 1)")  # beyond, the memory never forgets
    return (1 + factor**2) / (1 - factor**2) ** 3


def chaos(activation, weight_std: float, bias_std: float) -> Chaos:
    """Return how chaotic a large random recurrent network is, per unit.

    From the whole spectrum lambda(x): the x where it crosses zero, the integral of its positive part (Pesin), and the
    x at which its integral from 0 returns to zero (Kaplan and Yorke), all over N.

    Args: as `recurrent_exponent`.

    Reference: Engelken, Wolf, Abbott (2023, arXiv:2006.02427).

    >>> round(chaos("tanh", 3.0, 0.0).positive_fraction, 3)
    0.153
    """
    activation = as_activation(activation)
    q = length_fixed_point(activation, weight_std, bias_std)
    log_gain = np.log(gradient_gain(activation, weight_std, bias_std, q=q))
    if log_gain <= 0:
        return Chaos(0.0, 0.0, 0.0)
    values, weights, _ = slope_law(activation, q)

    def fraction_and_exponent(t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rank x, -dx/dt and lambda at t = ln u, which runs down from infinity as x runs up from 0."""
        share = values / (values + np.exp(t)[..., None])
        x = (weights * share).sum(axis=-1)
        return x, (weights * share * (1 - share)).sum(axis=-1), (log_gain + np.log(x) + t) / 2

    def integral(low: float, high: float) -> float:
        t = (low + high) / 2 + (high - low) / 2 * GAUSS_NODES
        _, density, exponent = fraction_and_exponent(t)
        return float((high - low) / 2 * (GAUSS_WEIGHTS @ (density * exponent)))

    zero = _crossing(lambda t: float(fraction_and_exponent(np.array(t))[2]), TOP, BOTTOM)
    entropy = sum(integral(low, low + 1) for low in np.arange(zero, TOP))
    total, low = entropy, zero
    while low > BOTTOM and total + integral(low - 1, low) > 0:
        total, low = total + integral(low - 1, low), low - 1
    end = _crossing(lambda t: total + integral(t, low), low, low - 1) if low > BOTTOM else low
    fractions = fraction_and_exponent(np.array([zero, end]))[0]
    return Chaos(float(fractions[0]), float(entropy), float(fractions[1]))


def _crossing(function, positive: float, negative: float) -> float:
    for _ in range(52):
        middle = (positive + negative) / 2
        positive, negative = (middle, negative) if function(middle) > 0 else (positive, middle)
    return (positive + negative) / 2
