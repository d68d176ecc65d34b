"""Follow the solution of x(u) = x into the complex plane: from the edge of a spectrum down through its density."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FIRST_STEP = 1e-5
SMALLEST_STEP = 1e-7
LINE = 0.05  # height above the real line of ln x
HEIGHTS = (*(LINE * 0.25 ** np.arange(18)), 0.0)
LARGEST_STEP, FARTHEST_STEP = 0.02, 0.2  # in ln x; far below the edge everything is close to a power


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


def _solve(branch: Branch, log_x: np.ndarray, log_u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton in ln u; returns ln u and whether it converged."""
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
            if not (np.abs(step) > 1e-12).any():
                break
    return log_u, np.abs(step) < 1e-8


def _path(branch: Branch, start: float, log_edge: float, lowest: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances below the edge in ln x, and ln u at each, as far down as there is a density."""
    nudge = 1e-4 * abs(start)
    above, below = (branch.log_map(np.array(start + side * nudge))[1] for side in (1, -1))
    curvature = abs(float((above - below) / (2 * nudge)))
    leaving = np.log(start + 1j * np.sqrt(2 * FIRST_STEP / curvature))  # the branch has a square root at the edge
    depths, solutions, depth, step = [0.0], [np.log(complex(start))], 0.0, FIRST_STEP
    while depth < lowest:
        ahead = min(depth + step, lowest)
        if len(depths) == 1:
            guess = leaving
        else:  # in the square root of the distance the branch is smooth at the edge
            before, last, root = np.sqrt(depths[-2]), np.sqrt(depths[-1]), np.sqrt(ahead)
            guess = solutions[-1] + (solutions[-1] - solutions[-2]) * (root - last) / (last - before)
        log_u, converged = _solve(branch, np.array(log_edge - ahead), np.array(guess))
        near = abs(log_u - guess) <= 0.02 + 0.5 * abs(guess - solutions[-1])
        if converged and near and 0 < np.imag(log_u) < np.pi:
            depths.append(ahead)
            solutions.append(complex(log_u))
            depth, step = ahead, min(2 * step, max(LARGEST_STEP, min(0.05 * ahead, FARTHEST_STEP)))
        elif step > SMALLEST_STEP:
            step /= 4
        else:  # the lower end of the spectrum
            break
    return np.array(depths), np.array(solutions)


def _between(wanted: np.ndarray, depths: np.ndarray, solutions: np.ndarray) -> np.ndarray:
    order = np.argsort(depths)
    roots, solutions = np.sqrt(depths[order]), solutions[order]
    real, imaginary = (np.interp(np.sqrt(wanted), roots, part(solutions)) for part in (np.real, np.imag))
    return real + 1j * imaginary


def trace(branch: Branch, start: float, log_edge: float, grid: np.ndarray) -> np.ndarray:
    """Return the density -Im G / pi on a grid of x, G = (1 + z) / x, zero outside the spectrum."""
    distance = log_edge - np.log(grid)
    depths, solutions = _path(branch, start, log_edge, max(float(distance.max(initial=0.0)), FIRST_STEP))
    inside = (distance > 0) & (distance <= depths[-1])
    wanted = distance[inside]
    log_u, converged = _solve(branch, log_edge - wanted, _between(wanted, depths, solutions))
    if not converged.all():  # once more, from the neighbours that were found
        known = np.concatenate([depths, wanted[converged]]), np.concatenate([solutions, log_u[converged]])
        retried, arrived = _descend(branch, log_edge - wanted[~converged], _between(wanted[~converged], *known))
        log_u[~converged] = retried
        if not arrived.all():
            raise ValueError(f"the spectral density did not converge at x = {grid[inside][~converged][~arrived][:3]}")
    density = np.zeros_like(grid)
    density[inside] = np.abs(np.imag(branch.one_plus_moment(np.exp(log_u)))) / (np.pi * grid[inside])
    return density


def _descend(branch: Branch, log_x: np.ndarray, log_u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solve from the upper half plane down: beside a lower end, a square root, Newton leaps from the real line."""
    converged = np.zeros(log_x.shape, bool)
    for height in HEIGHTS:
        log_u, converged = _solve(branch, log_x + 1j * height, log_u)
    return log_u, converged


def _walk(branch: Branch, points: np.ndarray, log_u: complex) -> np.ndarray:
    """Ln u along a line of complex ln x, each point's solution the next one's guess."""
    found = []
    for point in points:
        guess = 2 * found[-1] - found[-2] if len(found) > 1 else log_u
        solution, converged = _solve(branch, np.array(point), np.array(guess))
        if not converged and found:
            solution, _ = _solve(branch, np.array(point), np.array(found[-1]))
        found.append(complex(solution))
    return np.array(found)


def trace_above(branch: Branch, grid: np.ndarray) -> np.ndarray:
    """Return the same density by coming down on every point from the upper half plane, where nothing is singular.

    Slower than `trace`, for laws without a clean edge: the steepest slopes far out in the Gaussian tail, or an atom
    that is just about to appear, where the density diverges.
    """
    targets = np.log(grid)
    # far out u = x: down the imaginary axis to |x| = 1, round to a line just above the reals, along it both ways
    inward = _walk(branch, np.linspace(14, 0, 281) + 0.5j * np.pi, 14 + 0.5j * np.pi)
    turned = _walk(branch, 1j * np.linspace(np.pi / 2, LINE, 101), inward[-1])
    ends = (min(float(targets.min()), 0.0) - 0.1, max(float(targets.max()), 0.0) + 0.1)
    ways = [np.arange(0.0, end, np.sign(end) * LINE) for end in ends]
    line = np.concatenate([ways[0][::-1], ways[1][1:]])
    below, above = (_walk(branch, way + 1j * LINE, turned[-1]) for way in ways)
    solutions = np.concatenate([below[::-1], above[1:]])
    log_u = np.interp(targets, line, np.real(solutions)) + 1j * np.interp(targets, line, np.imag(solutions))
    log_u, _ = _descend(branch, targets, log_u)
    return np.abs(np.imag(branch.one_plus_moment(np.exp(log_u)))) / (np.pi * grid)
