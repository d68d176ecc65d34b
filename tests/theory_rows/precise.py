"""Spectra by arbitrary precision: the implicit equations of free probability, solved by other means than in the theory.

With chi_1 = 1 the moment function z = M(x) of J J^T solves x = inverse(z); the density is -Im((1 + z) / x) / pi.
"""

import mpmath

from theory_rows.routes import gauss, sech2


def gaussian_relu(depth):
    return lambda z: (1 + z) / z * (2 * z + 1) ** depth


def orthogonal_relu(depth):
    return lambda z: (1 + z) / z * ((2 * z + 1) / (1 + z)) ** depth


def smooth_limit(variance):
    return lambda z: (1 + z) / z * mpmath.exp(variance * z)


def density_at(inverse, x):
    """Down on x from the far upper half plane, where z = 1 / x."""
    with mpmath.workdps(30):
        heights = [mpmath.mpf(10) ** (mpmath.mpf(3) - mpmath.mpf(k) / 10) for k in range(90)] + [0]
        z = 1 / mpmath.mpc(x, heights[0])
        for h in heights:
            place = mpmath.mpc(x, h)
            z = mpmath.findroot(lambda z, place=place: inverse(z) / place - 1, (z, z * 1.001), tol=1e-40)
        return -mpmath.im((1 + z) / x) / mpmath.pi


def edge_at(inverse):
    """The least of x(z) on z > 0, by golden section in ln z."""
    low, high, ratio = mpmath.mpf(-8), mpmath.mpf(6), (mpmath.sqrt(5) - 1) / 2
    for _ in range(80):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        falls = inverse(mpmath.exp(left)) > inverse(mpmath.exp(right))
        low, high = (left, high) if falls else (low, right)
    return inverse(mpmath.exp((low + high) / 2))


def tanh_variance(q):
    """mu_2 / mu_1^2 - 1 of tanh's squared slopes."""
    two, four = (gauss(lambda z, k=k: sech2(mpmath.sqrt(q) * z) ** k) for k in (2, 4))
    return four / two**2 - 1


def tanh_exponent(gain, fraction):
    """ln(gain^2 x u) / 2 with E d / (d + u) = x, d = sech^4, at the length where the map stands still."""
    q = mpmath.findroot(lambda q: gain**2 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(q) * z) ** 2) - q, 0.7 * gain**2)

    def share(u):
        return gauss(lambda z: 1 / (1 + u / sech2(mpmath.sqrt(q) * z) ** 2))

    u = mpmath.findroot(lambda u: share(u) - fraction, (0.05, 0.2), solver="anderson")
    return mpmath.log(gain**2 * fraction * u) / 2
