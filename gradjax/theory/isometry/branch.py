"""Follow the solution of x(u) = x into the complex plane: from the edge of a spectrum down through its density."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FIRST_STEP = 1e-5
SMALLEST_STEP = 1e-7
LARGEST_STEP = 0.02


class Branch(NamedTuple):
    """one_plus_moment(u) = 1 + z, and log_map(u) = (ln x, d ln x / du); u complex or real, any shape."""

    one_plus_moment: Callable
    log_map: Callable


def edge_of(branch: Branch, scan: np.ndarray) -> tuple[float, float] | None:
    """Return the first stationary point of ln x along a scan from outside the spectrum, and ln x there."""
    with np.errstate(all="ignore"):
        slopes = branch.log_map(scan)[1]
    rising = np.sign(slopes[np.isfinite(slopes)][:1])
    turned = np.flatnonzero(np.isfinite(slopes) & (np.sign(slopes) == -rising))
    if not len(turned):
        return None
    outside, inside = scan[turned[0] - 1], scan[turned[0]]
    for _ in range(200):
        middle = (outside + inside) / 2
        if middle in (outside, inside):
            break
        stays = np.sign(branch.log_map(np.array(middle))[1]) == rising
        outside, inside = (middle, inside) if stays else (outside, middle)
    return float(outside), float(branch.log_map(np.array(outside))[0])


def _solve(branch: Branch, log_x: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton in ln u; returns u and whether it converged."""
    log_u = np.log(guess)
    step = np.full(log_u.shape, np.inf, complex)
    with np.errstate(all="ignore"):
        for _ in range(12):
            u = np.exp(log_u)
            value, slope = branch.log_map(u)
            gap = value - log_x
            # the sum of logs is known up to turns; near the solution the right one is the smallest
            gap = gap.real + 1j * (np.remainder(gap.imag + np.pi, 2 * np.pi) - np.pi)
            step = gap / (slope * u)
            log_u = log_u - step
            if not (np.abs(step) > 1e-13).any():
                break
    return np.exp(log_u), np.abs(step) < 1e-8


def _path(branch: Branch, start: float, log_edge: float, lowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances below the edge in ln x, and the solution at each, as far down as there is a density."""
    nudge = 1e-4 * abs(start) if start else 1e-4
    above, below = (branch.log_map(np.array(start + side * nudge))[1] for side in (1, -1))
    curvature = float((above - below) / (2 * nudge))
    depths, solutions = [0.0], [complex(start)]
    depth, step = 0.0, FIRST_STEP
    while depth < lowest:
        ahead = min(depth + step, lowest)
        if depth == 0:
            guess = start + 1j * np.sqrt(2 * ahead / abs(curvature))
        elif len(depths) == 2:
            guess = start + (solutions[-1] - start) * np.sqrt(ahead / depth)
        else:  # in the square root of the distance the branch is smooth at the edge
            before, last, root = np.sqrt(depths[-2]), np.sqrt(depths[-1]), np.sqrt(ahead)
            guess = solutions[-1] + (solutions[-1] - solutions[-2]) * (root - last) / (last - before)
        u, converged = _solve(branch, np.array(log_edge - ahead), np.array(guess))
        near = abs(u - guess) <= 0.05 * abs(u) + 0.5 * abs(guess - solutions[-1])
        if converged and near and np.imag(u) > 0:
            depths.append(ahead)
            solutions.append(complex(u))
            depth, step = ahead, min(2 * step, LARGEST_STEP)
        elif step > SMALLEST_STEP:
            step /= 4
        else:  # the lower end of the spectrum
            break
    return np.array(depths), np.array(solutions)


def trace(branch: Branch, start: float, log_edge: float, grid: np.ndarray) -> np.ndarray:
    """Return the density -Im G / pi on a grid of x, G = (1 + z) / x, zero outside the spectrum."""
    distance = log_edge - np.log(grid)
    depths, solutions = _path(branch, start, log_edge, max(float(distance.max(initial=0.0)), 1e-6))
    inside = (distance > 0) & (distance <= depths[-1])
    roots = np.sqrt(distance[inside])
    real, imaginary = (np.interp(roots, np.sqrt(depths), part(solutions)) for part in (np.real, np.imag))
    u, converged = _solve(branch, np.log(grid[inside]), real + 1j * imaginary)
    if not converged.all():
        raise ValueError(f"the spectral density did not converge at x = {grid[inside][~converged][:3]}")
    density = np.zeros_like(grid)
    density[inside] = np.abs(np.imag(branch.one_plus_moment(u))) / (np.pi * grid[inside])
    return density
