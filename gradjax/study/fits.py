"""Straight lines through measured points, and how well a line can be known: what claims on slopes and powers rest on.

A claim on a slope needs its standard error too, or its tolerance is taste.
"""

import numpy as np
from numpy.typing import ArrayLike

from gradjax.arguments import real, reals


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """Slope of the least-squares line through the points.

        p = Σ (x − x̄) y / Σ (x − x̄)²

    Args:
        x: (points,), at least two different numbers.
        y: (points,).

    Raises:
        ValueError: for other shapes, or where all x are the same.

    >>> slope([0, 1, 2], [1, 3, 5])
    2.0
    """
    x, y = _checked(x), reals("y", y, None)
    if x.shape != y.shape:
        raise ValueError(f"a line through points: x has shape {x.shape}, y {y.shape}; expected the same")
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def slope_error(x: ArrayLike, noise: float) -> float:
    """Standard error of that slope where each y errs alone.

        σ_p = σ / √Σ (x − x̄)²

    Args:
        x: (points,), at least two different numbers.
        noise: standard deviation of one y.

    >>> slope_error([-1, 0, 1], 0.5) == 0.5 / 2**0.5
    True
    """
    x, noise = _checked(x), real("noise", noise, "[0, inf)")
    return float(noise / np.linalg.norm(x - x.mean()))


def power(x: ArrayLike, y: ArrayLike) -> float:
    """Exponent p of the power law y ∝ x^p that fits best in logarithms.

    Args:
        x, y: (points,), all above zero.

    Raises:
        ValueError: for a number that has no logarithm, besides what ``slope`` raises.

    >>> round(power([1, 10, 100], [5, 500, 50000]), 12)
    2.0
    """
    return slope(_logs("x", x), _logs("y", y))


def _logs(name: str, values: ArrayLike) -> np.ndarray:
    values = reals(name, values, None)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"power: {name} holds {values[~(np.isfinite(values) & (values > 0))][0]}; expected numbers above 0"
        )
    return np.log(values)


def _checked(x: ArrayLike) -> np.ndarray:
    x = reals("x", x)
    if x.ndim != 1 or x.size < 2 or np.ptp(x) == 0:
        raise ValueError(f"a line through points: x is {x.tolist()!r:.100}; expected at least two different numbers")
    return x
