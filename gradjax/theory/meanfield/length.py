"""How the length of a signal changes from layer to layer, and where it settles.

q' = weight_std^2 E phi(sqrt(q) z)^2 / keep_probability + bias_std^2 (Poole et al. 2016, arXiv:1606.05340; dropout:
Schoenholz et al. 2017, arXiv:1611.01232). All fixed points are found by scanning q over its whole range in log scale:
GELU and SiLU at 2 < weight_std^2 < 4 have a stable one below an unstable one, and iterating from the wrong start
diverges.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from gradjax.arguments import reals
from gradjax.theory.meanfield.moments import Moments, check_stds, moments
from gradjax.theory.quadrature import CUTOFF, Activation, as_activation, evaluate

LOWEST, HIGHEST = 1e-14, 1e12
POINTS, FACTOR = 24, 16.0  # one scan: so many points over this factor in q
ROUNDING = 1e-13  # a relative excess below this is zero


class FixedPoints(NamedTuple):
    """Every fixed point of the length map, ascending; whether each is stable; whether large lengths grow for ever."""

    values: np.ndarray
    stable: np.ndarray
    escapes: bool


def length_map(activation, weight_std: float, bias_std: float, q, *, keep_probability: float = 1.0) -> np.ndarray:
    """Return the mean squared pre-activation of the next layer, q'.

    q' = weight_std^2 E phi(sqrt(q) z)^2 / keep_probability + bias_std^2.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_std: sigma_w >= 0.
        bias_std: sigma_b >= 0.
        q: mean squared pre-activation of this layer, >= 0, any shape.
        keep_probability: of dropout on the activations, in (0, 1].

    >>> float(length_map("linear", 2.0, 1.0, 3.0))
    13.0
    """
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    q = reals("q", q, "[0, inf)")
    return weight_std**2 / keep * moments(as_activation(activation), q).square + bias_std**2


def scan(excess: Callable, start: float, stop: Callable) -> tuple[list[tuple[float, float]], float, float]:
    """Return the brackets in which excess(q) changes sign above start, its first nonzero sign, and its last.

    stop(q, values) says after each stretch of the scan whether nothing can happen beyond it. Values within rounding
    of zero have no sign: their noise would be a host of roots.
    """
    brackets, previous, first, low = [], None, 0.0, start
    while low < HIGHEST:
        q = np.geomspace(low, low * FACTOR, POINTS)
        values = excess(q)
        for point, sign in zip(q, np.sign(np.where(abs(values) < ROUNDING, 0.0, values)), strict=True):
            if sign and previous and sign != previous[1]:
                brackets.append((previous[0], point))
            if sign:
                previous, first = (point, sign), first or sign
        low *= FACTOR
        if stop(low, values):
            break
    return brackets, first, previous[1] if previous else 0.0


def bracketed_root(excess: Callable, low: float, high: float) -> float:
    """Return the root of excess(q) -> (value, slope in ln q) in a bracket: Newton in ln q, bisection where it leaves.

    >>> round(bracketed_root(lambda q: (q - 2.0, q), 1.0, 9.0), 14)
    2.0
    """
    low, high = np.log(low), np.log(high)
    sign_low = np.sign(excess(np.exp(low))[0])
    guess = (low + high) / 2
    for _ in range(100):
        value, slope = excess(np.exp(guess))
        low, high = (guess, high) if np.sign(value) == sign_low else (low, guess)
        newton = guess - value / slope if slope else np.inf
        step_to = newton if low < newton < high else (low + high) / 2
        if value == 0 or abs(step_to - guess) <= 4e-16 * max(1.0, abs(guess)):
            break
        guess = step_to
    return float(np.exp(guess))


def largest(activation: Activation, q: float) -> float:
    """Return the largest |phi| that a Gaussian of variance q ever reaches, on 513 points."""
    reach = CUTOFF * np.sqrt(q)
    return float(np.abs(evaluate(activation, np.linspace(-reach, reach, 513))).max())


def length_fixed_points(activation, weight_std: float, bias_std: float, *, keep_probability: float = 1.0):
    """Return every fixed point of the length map between 1e-14 and 1e12, with its stability, as `FixedPoints`.

    A fixed point is stable where |dq'/dq| < 1; zero is one where phi(0) = 0 and bias_std = 0.

    Args: as `length_map`.

    Raises:
        ValueError: an argument out of range, or every length is a fixed point (He-scaled ReLU: the values would be
            the whole line).

    >>> length_fixed_points("linear", 0.5, 3 ** 0.5).values.round(12)
    array([4.])
    """
    activation = as_activation(activation)
    weight_std, bias_std, keep = check_stds(weight_std, bias_std, keep_probability)
    gain, variance = weight_std**2 / keep, bias_std**2

    def excess(q):
        return (gain * moments(activation, q).square + variance) / q - 1

    def excess_and_slope(q):
        m: Moments = moments(activation, q)
        ratio = (gain * m.square + variance) / q
        return float(ratio - 1), float(gain * m.growth - ratio)

    def nothing_beyond(q, values):
        bounded = gain * largest(activation, q) ** 2 + variance < q  # so is every longer signal: phi has levelled off
        straight = q > 1e4 and np.ptp(values) < 1e-7 * abs(values[-1]) and abs(values[-1]) > 1e-5  # far out on rays
        return bounded or straight

    brackets, first, last = scan(excess, variance / 2 if variance else LOWEST, nothing_beyond)
    if not first:
        raise ValueError(
            f"every length is a fixed point of {activation.__name__} at weight_std={weight_std:g}, bias_std=0: "
            "choose q from the input instead"
        )
    values = [bracketed_root(excess_and_slope, *bracket) for bracket in brackets]
    slopes = [gain * float(moments(activation, q).growth) for q in values]
    signs = [first * (-1) ** index for index in range(len(values))]  # of the excess just below each
    stable = [sign > 0 and slope > -1 for sign, slope in zip(signs, slopes, strict=True)]
    if not variance and evaluate(activation, np.zeros(1))[0] == 0:
        values, stable = [0.0, *values], [first < 0, *stable]
    return FixedPoints(np.array(values), np.array(stable, bool), bool(last > 0))


def length_fixed_point(activation, weight_std: float, bias_std: float, *, keep_probability: float = 1.0) -> float:
    """Return q*, the one stable mean squared pre-activation that lengths settle at.

    Args: as `length_map`.

    Raises:
        ValueError: unless exactly one fixed point is stable; the message lists those there are.

    >>> length_fixed_point("linear", 0.5, 0.0)
    0.0
    """
    activation = as_activation(activation)
    points = length_fixed_points(activation, weight_std, bias_std, keep_probability=keep_probability)
    stable = points.values[points.stable]
    if len(stable) == 1:
        return float(stable[0])
    where = f"{activation.__name__} at weight_std={weight_std:g}, bias_std={bias_std:g}"
    if len(stable):
        raise ValueError(
            f"{where} has {len(stable)} stable lengths, q = {stable.tolist()}; choose one and pass it as q"
        )
    fate = "lengths grow without bound" if points.escapes else "lengths oscillate"
    raise ValueError(f"{where} has no stable length, {fate}; fixed points: {points.values.tolist()}")
