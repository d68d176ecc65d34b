"""A whole phase diagram at once: every quantity of mean field theory over a grid of (weight_std, bias_std).

All points share the same one-dimensional functions of q, so these are tabulated once in ln q as piecewise Chebyshev
polynomials (13 digits), and roots are found on the tables for all points together. Correlations use Mehler's series in
c with coefficients tabulated in the same way; what lies beyond its last term is known in sum and slope at c = 1.
"""

from typing import NamedTuple

import numpy as np

from gradjax.arguments import reals
from gradjax.theory.meanfield.length import largest
from gradjax.theory.meanfield.moments import is_homogeneous, mean_over_gaussian, moments
from gradjax.theory.quadrature import Activation, as_activation, evaluate

PANEL, NODES = 0.7, 12  # width of one polynomial in ln q, and its points
CHEBYSHEV = -np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
BARYCENTRIC = (-1.0) ** np.arange(NODES) * np.sin(np.pi * (np.arange(NODES) + 0.5) / NODES)
SERIES = 192  # terms of Mehler's series
# Behind a kink the terms fall like k^(-5/2). That law on k > SERIES as eight powers, in units of its mean excess over
# SERIES: with k = SERIES / v^2 the weight is 3 v^2 dv on (0, 1).
_LEGENDRE, _LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(8)
REST_ORDERS, REST_WEIGHTS = (4 / (_LEGENDRE + 1) ** 2 - 1) / 2, 3 * (_LEGENDRE + 1) ** 2 / 8 * _LEGENDRE_WEIGHTS
SHORTEST, LONGEST = 1e-14, 1e6


class PhaseDiagram(NamedTuple):
    """Arrays (len(weight_stds), len(bias_stds)); NaN where there is not exactly one stable length.

    length is q*, gain is chi_1, correlation is c*; the scales are those of `depth_scales`.
    """

    length: np.ndarray
    gain: np.ndarray
    correlation: np.ndarray
    length_scale: np.ndarray
    correlation_scale: np.ndarray
    gradient_scale: np.ndarray


class Table(NamedTuple):
    """Values (panels, NODES, ...) of functions of ln q on panels of equal width from start."""

    start: float
    values: np.ndarray

    def __call__(self, log_q: np.ndarray) -> np.ndarray:
        """Interpolate at every log_q, shape (points,) -> (points, ...), by the barycentric formula."""
        position = np.clip((log_q - self.start) / PANEL, 0, len(self.values) - 1e-9)
        panel = position.astype(int)
        local = 2 * (position - panel) - 1
        difference = local[:, None] - CHEBYSHEV
        difference[difference == 0] = 1e-300
        weights = BARYCENTRIC / difference
        weights /= weights.sum(axis=1, keepdims=True)
        result = np.zeros((len(log_q), *self.values.shape[2:]))
        for node in range(NODES):
            result += weights[:, node].reshape(-1, *[1] * (result.ndim - 1)) * self.values[panel, node]
        return result


def _tabulate(function, low: float, high: float) -> Table:
    panels = int(np.ceil((np.log(high) - np.log(low)) / PANEL))
    start = np.log(low)
    log_q = start + PANEL * (np.arange(panels)[:, None] + (CHEBYSHEV + 1) / 2)
    return Table(start, np.stack([function(np.exp(row)) for row in log_q]))


def _basic(activation: Activation):
    def function(q):
        m = moments(activation, q)
        return np.stack([np.log(m.square), m.slope_square, m.growth], axis=-1)

    return function


def _mehler(activation: Activation):
    """Squared Hermite coefficients of phi(sqrt(q) z), k < SERIES, for a few q: a_k = E phi he_k / sqrt(k!)."""

    def coefficients(z, x):
        phi = evaluate(activation, x)
        before, current, rows = np.zeros_like(z), np.ones_like(z), []
        for k in range(SERIES):
            rows.append(phi * current)
            before, current = current, (z * current - np.sqrt(k) * before) / np.sqrt(k + 1)
        return np.stack(rows)

    return lambda q: (mean_over_gaussian(activation, q, coefficients) ** 2).T


def phase_diagram(activation, weight_stds, bias_stds) -> PhaseDiagram:
    """Return q*, chi_1, c* and the depth scales on a grid, to 1e-9; beside c* = 1 kinks leave c* 2e-5, its scale 0.5 %.

    Args:
        activation: a callable, an `Activation`, or a name.
        weight_stds: sigma_w > 0, shape (m,).
        bias_stds: sigma_b >= 0, shape (n,).

    Returns:
        `PhaseDiagram` of arrays (m, n). Homogeneous activations have chi_1 and the gradient's scale everywhere.

    Reference: Schoenholz et al. (2017, arXiv:1611.01232), figure 1.

    >>> phase_diagram("linear", [0.5], [1.0]).length.round(9)
    array([[1.33333333]])
    """
    activation = as_activation(activation)
    weights, biases = _axis("weight_stds", weight_stds), _axis("bias_stds", bias_stds)
    if (weights == 0).any():
        raise ValueError("weight_stds must be above 0: without weights there is no gradient to follow")
    gain, variance = (grid.ravel() for grid in np.meshgrid(weights**2, biases**2, indexing="ij"))
    lowest = min(SHORTEST, *variance[variance > 0] / 2)
    table = _tabulate(_basic(activation), lowest, _longest(activation, gain.max(), variance.max()))
    log_q = _stable_log_length(table, gain, variance)
    unknown = np.isnan(log_q)
    at_length = table(np.where(np.isfinite(log_q), log_q, table.start))
    at_length[log_q == -np.inf] = _basic(activation)(0.0)
    chi, growth = (np.where(unknown, np.nan, gain * at_length[:, column]) for column in (1, 2))
    if is_homogeneous(activation):
        chi = gain * float(moments(activation, 1.0).slope_square)
    correlation, rate = _correlations(activation, table, gain, variance, chi, log_q)
    quantities = np.exp(log_q), chi, correlation, *map(_scales, (growth, rate, chi))
    return PhaseDiagram(*(quantity.reshape(len(weights), len(biases)) for quantity in quantities))


def _axis(name: str, stds) -> np.ndarray:
    stds = reals(name, stds, "[0, inf)", ranks=(1,))
    if not stds.size:
        raise ValueError(f"{name} is empty, expected at least one number")
    return stds


def _longest(activation: Activation, gain: float, variance: float) -> float:
    bound = 4 * (gain * largest(activation, 1e4) ** 2 + variance)
    return bound if bound < 1e4 else LONGEST  # of a bounded activation; sin needs a panel for every period


def _scales(factor: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a factor 1 has an infinite scale, a factor 0 the scale 0
        return -1 / np.log(np.abs(factor))


def _stable_log_length(table: Table, gain: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """ln q* of every point: -inf where signals vanish, NaN where no stable length, or more than one, is found."""

    def excess(log_q, gain, variance, square):
        return np.log(gain * np.exp(square) + variance) - log_q

    grid = table.start + PANEL * np.linspace(0, len(table.values), 6 * len(table.values) + 1)
    square = table(grid)[:, 0]
    values = np.stack([excess(t, gain, variance, s) for t, s in zip(grid, square, strict=True)], axis=1)
    downward = (values[:, :-1] > 0) & (values[:, 1:] <= 0)
    start = np.argmax(downward, axis=1)
    low, high = grid[start], grid[start + 1]
    for _ in range(60):
        middle = (low + high) / 2
        above = excess(middle, gain, variance, table(middle)[:, 0]) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    vanishing = (variance == 0) & (values[:, 0] < 0)
    stable = downward.sum(axis=1) + vanishing
    root = np.where(vanishing, -np.inf, (low + high) / 2)
    return np.where(stable == 1, root, np.nan)


def _correlations(activation, table, gain, variance, chi, log_q) -> tuple[np.ndarray, np.ndarray]:
    """c* and the slope of the correlation map there."""
    correlation, rate = np.where(np.isnan(log_q), np.nan, 1.0), np.where(np.isnan(log_q), np.nan, chi)
    chaotic = np.flatnonzero(np.isfinite(log_q) & (chi > 1))
    if not len(chaotic):
        return correlation, rate
    t, gain, variance = log_q[chaotic], gain[chaotic], variance[chaotic]
    squares = _tabulate(_mehler(activation), np.exp(t.min()), max(np.exp(t.max()), 1.01 * np.exp(t.min())))(t)
    total, slope_total = np.exp(table(t)[:, 0]), np.exp(t) * table(t)[:, 1]
    orders = np.arange(SERIES)
    rest = np.maximum(total - squares.sum(axis=1), 1e-300)[:, None] * REST_WEIGHTS
    beyond = np.maximum((slope_total - squares @ orders) / rest.sum(axis=1) - SERIES, 0.0)  # mean order of the rest
    power = SERIES + beyond[:, None] * REST_ORDERS
    q = gain * total + variance
    c, slope = np.zeros(len(t)), np.ones(len(t))
    for _ in range(60):
        powers = np.cumprod(np.concatenate([np.ones((len(c), 1)), np.tile(c[:, None], SERIES - 1)], axis=1), axis=1)
        value = (gain * ((squares * powers).sum(axis=1) + (rest * c[:, None] ** power).sum(axis=1)) + variance) / q
        rest_slope = (rest * power * c[:, None] ** (power - 1)).sum(axis=1)
        slope = gain * ((squares[:, 1:] * orders[1:] * powers[:, :-1]).sum(axis=1) + rest_slope) / q
        ahead = np.where(slope < 1, np.clip(c + (value - c) / np.where(slope < 1, 1 - slope, 1.0), c, 1.0), c)
        if np.max(ahead - c) <= 1e-15:
            break
        c = ahead
    correlation[chaotic], rate[chaotic] = c, slope
    return correlation, rate
