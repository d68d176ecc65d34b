"""The law of phi'(h)^2 over a Gaussian pre-activation: all that free probability needs to know of an activation."""

from typing import NamedTuple

import numpy as np

from gradjax.activations import Activation
from gradjax.arguments import real
from gradjax.theory.quadrature import CUTOFF, DEGREE, as_activation, evaluate, gaussian_rule, partition_for

GRADED = 0.5 ** np.arange(48)


class SlopeLaw(NamedTuple):
    """Weights at the values that phi'(h)^2 / E phi'^2 takes, ascending; exact for piecewise linear activations.

    atoms are the values that have a probability of their own, with that probability.
    """

    values: np.ndarray
    weights: np.ndarray
    atoms: tuple[tuple[float, float], ...]


def slope_law(activation, q: float) -> SlopeLaw:
    """Return the law of phi'(sqrt(q) z)^2 divided by its mean, so that chi_1 = 1.

    Averages like E[d / (u - d)] are nearly singular where phi' is largest, so the nodes are graded towards there.

    >>> slope_law("relu", 1.0).atoms
    ((0.0, 0.5), (2.0, 0.5))
    """
    activation, q = as_activation(activation), real("q", q, "(0, inf)")
    std = float(np.sqrt(q))
    panels = partition_for(activation, CUTOFF * std)
    peak = _steepest(activation, gaussian_rule(panels.edges, 0.0, std).x)
    cuts = np.union1d(panels.edges, np.concatenate([peak - std * GRADED, [peak], peak + std * GRADED]))
    rule = gaussian_rule(cuts, 0.0, std)
    squares = evaluate(activation, rule.x, order=1) ** 2
    mean = squares @ rule.weights
    if not mean > 0:
        raise ValueError(f"activation {activation.__name__} has slope zero almost everywhere at q={q:g}")
    values, inverse, counts = np.unique(squares / mean, return_inverse=True, return_counts=True)
    weights = np.bincount(inverse, rule.weights)
    weights /= weights.sum()
    # A value on as many nodes as a panel has is a plateau of phi', not a coincidence. Where nothing ever bends sharply
    # it is rounding (1 - tanh^2 is 0 from x = 19 on), unless phi' is one constant.
    plateaus = [
        index for index in np.flatnonzero(counts >= DEGREE) if weights[index] > (1e-14 if len(panels.kinks) else 0.999)
    ]
    return SlopeLaw(values, weights, tuple((float(values[i]), round(float(weights[i]), 15)) for i in plateaus))


def _steepest(activation: Activation, x: np.ndarray) -> float:
    """Where |phi'| is largest: the best node, then ever finer grids around it."""
    x = np.unique(x)
    index = int(np.argmax(np.abs(evaluate(activation, x, order=1))))
    low, high = x[max(index - 1, 0)], x[min(index + 1, len(x) - 1)]
    for _ in range(8):
        grid = np.linspace(low, high, 65)
        index = int(np.argmax(np.abs(evaluate(activation, grid, order=1))))
        low, high = grid[max(index - 1, 0)], grid[min(index + 1, 64)]
    return float((low + high) / 2)
