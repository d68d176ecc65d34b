"""How long learning takes: deep linear networks mode by mode, and clipped against constant steps.

The dynamics of a deep linear network decouple into modes of strength u towards a singular value s of the task
(Saxe, McClelland, Ganguli 2014, arXiv:1312.6120). Where the curvature grows with the gradient, |H| <= L0 + L1 |g|,
a clipped step does in a number of steps linear in the distance what a constant safe step does in exponentially many
(Zhang, He, Sra, Jadbabaie 2020, arXiv:1905.11881).
"""

import numpy as np

from gradjax.arguments import flag, is_number, real, reals, whole
from gradjax.theory.quadrature import GAUSS_NODES, GAUSS_WEIGHTS


def _check_mode(singular_value: float, start: float, end: float, weights: float) -> None:
    real("singular_value", singular_value, "(0, inf)")
    start, end = real("start", start), real("end", end)
    if not (0 < start < singular_value and 0 < end < singular_value):
        raise ValueError(f"start={start!r} and end={end!r} must lie strictly between 0 and {singular_value}")
    if not (is_number(weights) and weights == np.inf):
        whole("weights", weights)


def mode_time(singular_value: float, start: float, end: float, weights: float, *, time_constant: float = 1.0) -> float:
    """Return the time in which a mode of a deep linear network grows from start to end.

    time_constant du/dt = D u^(2 - 2/D) (s - u) for D balanced weight matrices, integrated: closed forms for D = 1, 2
    and infinity (there times D: the time falls as 1 / D), quadrature in ln u between.

    Args:
        singular_value: s, of the input-output correlation, above 0.
        start: strength at the start, in (0, s).
        end: strength at the end, in (0, s).
        weights: D, number of weight matrices (N_l - 1 in the paper), at least 1; infinity gives D times the time.
        time_constant: 1 / learning rate, in the unit of the result.

    Raises:
        ValueError: an argument out of range.

    Reference: Saxe, McClelland, Ganguli (2014, arXiv:1312.6120).

    >>> round(mode_time(1.0, 1e-3, 0.5, 2), 4)  # ln(999) / 2
    3.4534
    """
    _check_mode(singular_value, start, end, weights)
    s, u0, uf = float(singular_value), float(start), float(end)
    time_constant = real("time_constant", time_constant, "(0, inf)")
    if weights == np.inf:
        logs = np.log(uf / u0) - np.log((s - uf) / (s - u0))
        return float(time_constant * (logs / s**2 + 1 / (s * u0) - 1 / (s * uf)))
    if weights == 1:
        return float(time_constant * np.log((s - u0) / (s - uf)))
    if weights == 2:
        return float(time_constant / (2 * s) * np.log(uf * (s - u0) / (u0 * (s - uf))))
    # in w = ln(u / (s - u)) the integrand is smooth and of one size: du = u (s - u) / s dw
    low, high = (np.log(u / (s - u)) for u in (u0, uf))
    edges = np.linspace(low, high, 2 + int(abs(high - low)))
    w = (edges[:-1, None] + edges[1:, None]) / 2 + np.diff(edges)[:, None] / 2 * GAUSS_NODES
    u = s / (1 + np.exp(-w))
    total = np.sum(np.diff(edges)[:, None] / 2 * GAUSS_WEIGHTS * u ** (2 / weights - 1))
    return float(time_constant * total / (weights * s))


def mode_strength(singular_value: float, start: float, times, *, time_constant: float = 1.0) -> np.ndarray:
    """Return the strength u(t) of a mode of a network of two weight matrices: a sigmoid in time.

    u(t) = s e^(2st/tau) / (e^(2st/tau) - 1 + s / u0).

    Args:
        singular_value: s, above 0.
        start: u0, in (0, s).
        times: t >= 0, any shape.
        time_constant: tau.

    Reference: Saxe, McClelland, Ganguli (2014, arXiv:1312.6120).

    >>> mode_strength(2.0, 0.5, 0.0).item()
    0.5
    """
    _check_mode(singular_value, start, start, 2)
    times, time_constant = reals("times", times, "[0, inf)"), real("time_constant", time_constant, "(0, inf)")
    decay = np.exp(-2 * singular_value * times / time_constant)  # e^(+...) would overflow
    return singular_value / (1 + (singular_value / start - 1) * decay)


def largest_stable_step(singular_value: float, weights: int) -> float:
    """Return the largest learning rate at which gradient descent on (s - u)^2 / 2 is stable at the solution.

    2 / curvature, curvature = D s^(2 - 2/D) for D balanced weight matrices: of order 1 / (D s^2) for many. It is for
    the loss with the half in front.

    Reference: Saxe, McClelland, Ganguli (2014, arXiv:1312.6120).

    >>> largest_stable_step(1.0, 4)
    0.5
    """
    singular_value, weights = real("singular_value", singular_value, "[1e-150, 1e150]"), whole("weights", weights)
    return 2 / (weights * singular_value ** (2 - 2 / weights))


def clipped_step(gradient_norm: float, curvature: float, curvature_growth: float) -> float:
    """Return the step size of clipped gradient descent, min(1 / (2 L0), 1 / (2 L1 |g|)), which is safe everywhere.

    Args:
        gradient_norm: |g|, at least 0.
        curvature: L0, above 0.
        curvature_growth: L1, at least 0: |H| <= L0 + L1 |g|.

    Reference: Zhang, He, Sra, Jadbabaie (2020, arXiv:1905.11881).

    >>> clipped_step(4.0, 1.0, 1.0)
    0.125
    """
    gradient_norm = real("gradient_norm", gradient_norm, "[0, inf)")
    curvature_growth = real("curvature_growth", curvature_growth, "[0, inf)")
    curvature = real("curvature", curvature, "(0, inf)")
    steep = 2 * curvature_growth * gradient_norm
    return min(1 / (2 * curvature), 1 / steep if steep else np.inf)


def cosh_steps(start: float, tolerance: float, *, clipped: bool) -> int:
    """Return how many steps gradient descent takes on cosh(x) - 1 until |gradient| < tolerance.

    The function has f'' = cosh x <= 1 + |f'|, so L0 = L1 = 1. Clipped: step min(1/2, 1 / (2 |f'|)), about 2 start + 8
    steps. Not clipped: the largest constant step that is safe from the start, 1 / cosh(start), exponentially many.

    Args:
        start: x_0, in (0, 16].
        tolerance: on |f'|, in [1e-12, 1).
        clipped: which of the two.

    Reference: Zhang, He, Sra, Jadbabaie (2020, arXiv:1905.11881); this example derived here.

    >>> cosh_steps(12.0, 1e-3, clipped=True)
    32
    """
    clipped = flag("clipped", clipped)
    start = real("start", start, "(0, 16]")  # further out a constant step takes forever
    tolerance = real("tolerance", tolerance, "[1e-12, 1)")  # nor is there an end below the rounding
    x, steps, constant = start, 0, 1 / np.cosh(start)
    gradient = np.sinh(x)
    while abs(gradient) >= tolerance:
        x -= gradient * (clipped_step(abs(gradient), 1.0, 1.0) if clipped else constant)
        gradient = np.sinh(x)
        steps += 1
    return steps


def cosh_constant_steps(start: float, tolerance: float) -> float:
    """Return the number of constant steps on cosh(x) - 1 in the limit of small ones.

    cosh(x0) ln(tanh(x0 / 2) / tanh(xf / 2)), xf = arcsinh(tolerance). It is what a count costs that cannot be run: the
    ratio to the clipped count grows as cosh(start) / start.

    >>> round(cosh_constant_steps(12.0, 1e-3) / cosh_steps(6.0, 1e-3, clipped=False))
    405
    """
    start, tolerance = real("start", start, "(0, inf)"), real("tolerance", tolerance)
    if not 0 < tolerance < np.sinh(start):
        raise ValueError(f"tolerance={tolerance!r} must lie between 0 and sinh(start)")
    end = np.arcsinh(tolerance)
    return float(np.cosh(start) * np.log(np.tanh(start / 2) / np.tanh(end / 2)))


def clipped_complexity(curvature: float, curvature_growth: float, gap: float, tolerance: float) -> float:
    """Return the published bound on the steps of clipped descent to |gradient| <= tolerance.

    20 L0 gap / tolerance^2 + 20 max(1, L1^2) gap / L0, gap = f(x0) - min f.

    Reference: Zhang, He, Sra, Jadbabaie (2020, arXiv:1905.11881), theorem 3; the constants as quoted, not derived here.

    >>> clipped_complexity(1.0, 1.0, 1.0, 1.0)
    40.0
    """
    curvature, gap = real("curvature", curvature, "(0, inf)"), real("gap", gap, "(0, inf)")
    tolerance = real("tolerance", tolerance, "[1e-150, 1e150]")
    curvature_growth = real("curvature_growth", curvature_growth, "[0, 1e150]")
    return 20 * curvature * gap / tolerance**2 + 20 * max(1.0, curvature_growth**2) * gap / curvature
