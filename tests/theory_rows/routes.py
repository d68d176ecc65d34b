"""The other routes: averages in arbitrary precision, and samples with four standard errors.

A check gives (what theory says, what the other route says, tolerance).
"""

import mpmath
import numpy as np

CLOSED, PRECISE, SIMULATED = "closed form", "arbitrary precision", "simulation"
SPLIT = [-9, -3, 0, 3, 9]
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((2, 400_000))


def gauss(f):
    """E f(z) in arbitrary precision."""
    return mpmath.quad(lambda z: f(z) * mpmath.npdf(z), SPLIT)


def gauss_pair(f, c):
    """E f(z1) f(c z1 + sqrt(1 - c^2) z2) by Mehler's series, its coefficients by the trapezoid rule, 30 digits."""
    with mpmath.workdps(30):
        step = mpmath.mpf(1) / 16
        z = [step * i for i in range(-192, 193)]
        values = [f(x) * mpmath.npdf(x) * step for x in z]
        before, current, total, k = [mpmath.mpf(0)] * len(z), [mpmath.mpf(1)] * len(z), mpmath.mpf(0), 0
        while abs(c) ** k > 1e-16:
            total += mpmath.fdot(values, current) ** 2 * mpmath.mpf(c) ** k
            rows = zip(z, before, current, strict=True)
            following = [(x * h - mpmath.sqrt(k) * g) / mpmath.sqrt(k + 1) for x, g, h in rows]
            before, current, k = current, following, k + 1
        return total


def sech2(x):
    return 1 / mpmath.cosh(x) ** 2


def sampled(values):
    """A mean and four standard errors."""
    return np.mean(values), 4 * np.std(values) / np.sqrt(len(values))


def against(ours, values):
    mean, error = sampled(values)
    return ours, mean, error


def refused(check, valid):
    """How many of random arguments, some of them out of range, a validator lets through, and how many it should."""

    def passes(value):
        try:
            check(value)
        except ValueError:
            return False
        return True

    values = [*np.round(RNG.normal(0, 3, 40), 1).tolist(), *range(-3, 8)]
    return sum(map(passes, values)), sum(map(valid, values)), 0
