"""Rows of the quadrature and of mean field theory."""

import functools

import mpmath
import numpy as np

from gradjax.activations import ACTIVATIONS
from gradjax.theory import meanfield, quadrature, special
from gradjax.theory.meanfield import correlation, length, moments, spread, transient
from theory_rows.networks import of_network
from theory_rows.routes import CLOSED, PRECISE, RNG, SIMULATED, Z, against, gauss, gauss_pair, refused, sech2

T = "tanh", 1.5, 0.3


@functools.cache
def q_star():
    return mpmath.findroot(lambda q: 2.25 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(q) * z) ** 2) + 0.09 - q, 1.0)


@functools.cache
def chi(power=2):
    root = mpmath.sqrt(q_star())
    return gauss(lambda z: sech2(root * z) ** power)


def relu_kernel(c):
    return (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi


def tanh_map(weight_std, bias_std, c, keep=1.0):
    """c' and its slope at c by Mehler's series, at the length of theory, which has a row of its own."""
    q = meanfield.length_fixed_point("tanh", weight_std, bias_std, keep_probability=keep)
    root = mpmath.sqrt(q)
    pairs = [gauss_pair(f, c) for f in (lambda z: mpmath.tanh(root * z), lambda z: sech2(root * z))]
    return (weight_std**2 * pairs[0] + bias_std**2) / q, weight_std**2 * pairs[1]


def critical_tanh():
    """The weights at which chi_1 = 1 for sigma_b = 0.3: the two equations at once."""

    def equations(variance, q):
        root = mpmath.sqrt(q)
        return (variance * gauss(lambda z: sech2(root * z) ** 2) - 1,
                variance * gauss(lambda z: mpmath.tanh(root * z) ** 2) + 0.09 - q)  # fmt: skip

    return mpmath.sqrt(mpmath.findroot(equations, (1.9, 0.7))[0])


def scales(name):
    """Whether phi(2 x) = 2 phi(x) at random x."""
    x = RNG.standard_normal(200)
    phi = [quadrature.evaluate(quadrature.as_activation(name), part) for part in (2 * x, x)]
    return np.allclose(phi[0], 2 * phi[1], rtol=1e-12)


def bracketed(function, root):
    """The root, and the same kept within the bracket that the scan found for it."""
    (low, high), *_ = length.scan(function, 0.1, lambda q, _: q > 9)[0]
    return np.clip(float(root), low, high), root, 1e-15


LENGTHS = meanfield.length_fixed_point(*T)

ROWS = {
    "special.digamma": [
        (CLOSED, lambda: (special.digamma(1.0), -np.euler_gamma, 1e-13)),
        (PRECISE, lambda: (special.digamma(7.3), mpmath.digamma(7.3), 1e-13)),
    ],
    "special.trigamma": [
        (CLOSED, lambda: (special.trigamma(1.0), np.pi**2 / 6, 1e-13)),
        (PRECISE, lambda: (special.trigamma(0.4), mpmath.psi(1, 0.4), 1e-12)),
    ],
    "quadrature.as_activation": [
        (CLOSED, lambda: (quadrature.evaluate(quadrature.as_activation("relu"), np.array([2.5]))[0], 2.5, 0.0)),
(PRECISE, lambda: (quadrature.evaluate(quadrature.as_activation("tanh"), np.array([0.3]))[0], mpmath.tanh(0.3), 1e-15)),
    ],
    "quadrature.evaluate": [
        (CLOSED, lambda: (quadrature.evaluate(quadrature.as_activation("tanh"), np.zeros(1), 1)[0], 1.0, 1e-15)),
        (PRECISE, lambda: (quadrature.evaluate(quadrature.as_activation("tanh"), np.array([0.7]), 2)[0],
                           mpmath.diff(mpmath.tanh, 0.7, 2), 1e-12)),
    ],
    "quadrature.partition": [
        (CLOSED, lambda: (quadrature.partition(quadrature.as_activation("relu"), 16.0).kinks[0], 0.0, 1e-12)),
        (PRECISE, lambda: (quadrature.partition(quadrature.Activation(lambda x: abs(x**3 - 2)), 16.0).kinks[0],
                           mpmath.cbrt(2), 1e-9)),
    ],
    "quadrature.partition_for": [
        (CLOSED, lambda: (quadrature.partition_for(quadrature.as_activation("hard_tanh"), 9.0).kinks[1], 1.0, 1e-12)),
        (PRECISE, lambda: (quadrature.partition_for(quadrature.Activation(lambda x: abs(x**2 - 2)), 9.0).kinks[1],
                           mpmath.sqrt(2), 1e-9)),
    ],
    "quadrature.gaussian_rule": [
        (CLOSED, lambda: ((r := quadrature.gaussian_rule(np.zeros(1), 0.0, 2.0)).weights @ r.x**4, 48.0, 1e-10)),
        (PRECISE, lambda: ((r := quadrature.gaussian_rule(np.zeros(1), 0.0, 1.0)).weights @ np.cos(r.x),
                           gauss(mpmath.cos), 1e-13)),
    ],
    "meanfield.moments.check_stds": [
        (CLOSED, lambda: (sum(moments.check_stds(1, 2, 0.5)), 3.5, 0.0)),
        (SIMULATED + " arguments, refused where out of range", lambda: refused(
            lambda std: moments.check_stds(std, 0.0), lambda std: std >= 0)),
        (SIMULATED + " arguments, of dropout", lambda: refused(
            lambda keep: moments.check_stds(1.0, 0.0, keep), lambda keep: 0 < keep <= 1)),
    ],
    "meanfield.moments.mean_over_gaussian": [
        (CLOSED, lambda: (moments.mean_over_gaussian(quadrature.as_activation("linear"), 3.0, lambda z, x: x**2), 3.0,
                          1e-12)),
        (SIMULATED, lambda: against(moments.mean_over_gaussian(quadrature.as_activation("tanh"), 2.0,
                                                               lambda z, x: np.tanh(x) ** 4),
                                    np.tanh(2**0.5 * Z[0]) ** 4)),
    ],
    "meanfield.moments.moments": [
        (PRECISE, lambda: (moments.moments(quadrature.as_activation("tanh"), 2.0).square,
                           gauss(lambda z: mpmath.tanh(mpmath.sqrt(2) * z) ** 2), 1e-12)),
        (SIMULATED, lambda: against(moments.moments(quadrature.as_activation("tanh"), 2.0).slope_square,
                                    np.cosh(2**0.5 * Z[0]) ** -4.0)),
    ],
    "meanfield.moments.is_homogeneous": [
        (CLOSED, lambda: (moments.is_homogeneous(quadrature.as_activation("relu")), True, 0)),
        (CLOSED + ", a counterexample", lambda: (moments.is_homogeneous(quadrature.as_activation("gelu")), False, 0)),
        (SIMULATED + ", of every activation, by its definition", lambda: (
            sum(moments.is_homogeneous(quadrature.as_activation(name)) for name in ACTIVATIONS),
            sum(scales(name) for name in ACTIVATIONS), 0)),
    ],
    "meanfield.length.length_map": [
        (PRECISE, lambda: (meanfield.length_map(*T, 2.0),
                           2.25 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(2) * z) ** 2) + 0.09, 1e-12)),
        (SIMULATED, lambda: against(meanfield.length_map(*T, 2.0), 2.25 * np.tanh(2**0.5 * Z[0]) ** 2 + 0.09)),
        (SIMULATED + ", dropout", lambda: against(
            meanfield.length_map(*T, 2.0, keep_probability=0.7),
            2.25 * (np.tanh(2**0.5 * Z[0]) * (RNG.random(Z.shape[1]) < 0.7) / 0.7) ** 2 + 0.09)),
    ],
    "meanfield.length.scan": [
        (CLOSED, lambda: bracketed(lambda q: 2 - q, 2.0)),
        (PRECISE, lambda: bracketed(np.cos, mpmath.pi / 2)),
        (PRECISE + ", the sign before it", lambda: (
            length.scan(lambda q: 2 - q, 0.1, lambda q, _: q > 9)[1], mpmath.sign(2 - 0.1), 0)),
    ],
    "meanfield.length.bracketed_root": [
        (CLOSED, lambda: (length.bracketed_root(lambda q: (q - 2.0, q), 1.0, 9.0), 2.0, 1e-14)),
        (PRECISE, lambda:
            (length.bracketed_root(lambda q: (np.cos(q), -q * np.sin(q)), 1.0, 2.0), mpmath.pi / 2, 1e-14)),
    ],
    "meanfield.length.largest": [
        (CLOSED, lambda: (length.largest(quadrature.as_activation("linear"), 1.0), quadrature.CUTOFF, 1e-12)),
        (PRECISE, lambda: (length.largest(quadrature.as_activation("tanh"), 1.0), mpmath.tanh(13), 1e-12)),
    ],
    "meanfield.length.length_fixed_points": [
        (CLOSED, lambda: (meanfield.length_fixed_points("linear", 0.5, 3**0.5).values[0], 4.0, 1e-12)),
        (PRECISE, lambda: (meanfield.length_fixed_points(*T).values[0], q_star(), 1e-10)),
    ],
    "meanfield.length.length_fixed_point": [
        (PRECISE, lambda: (LENGTHS, q_star(), 1e-10)),
        (SIMULATED, lambda: of_network(LENGTHS, 0, steps=40)),
        (SIMULATED + ", dropout", lambda: of_network(
            meanfield.length_fixed_point(*T, keep_probability=0.8), 0, steps=40, keep=0.8)),
    ],
    "meanfield.gain.gradient_gain": [
        (PRECISE, lambda: (meanfield.gradient_gain(*T), 2.25 * chi(), 1e-10)),
        (SIMULATED, lambda: of_network(meanfield.gradient_gain(*T), 2, steps=40)),
        (SIMULATED + ", dropout", lambda: of_network(
            meanfield.gradient_gain(*T, keep_probability=0.8), 2, steps=40, keep=0.8)),
    ],
    "meanfield.gain.critical_weight_std": [
        (CLOSED, lambda: (meanfield.critical_weight_std("relu", 0.0), 2**0.5, 1e-12)),
        (SIMULATED, lambda: of_network(1.0, 2, steps=60, weight_std=meanfield.critical_weight_std("tanh", 0.3))),
        (PRECISE, lambda: (meanfield.critical_weight_std("tanh", 0.3), critical_tanh(), 1e-10)),
    ],
    "meanfield.spread.gradient_gain_spread": [
        (CLOSED, lambda: (spread.gradient_gain_spread("relu", 2**0.5, 0.0), 5.0, 1e-9)),
        (PRECISE, lambda: (spread.gradient_gain_spread(*T), 3 * chi(4) / chi() ** 2 - 1, 1e-8)),
    ],
    "meanfield.transient.gains_by_layer": [
        (CLOSED, lambda: (transient.gains_by_layer("linear", 3.0, 0.0, 1.0, 2).gain[1], 9.0, 1e-12)),
        (PRECISE, lambda: (transient.gains_by_layer("tanh", 1.5, 0.3, 1.0, 1).gain[0],
                           2.25 * gauss(lambda z: sech2(mpmath.sqrt(2.34) * z) ** 2), 1e-11)),
        (SIMULATED, lambda: against(transient.gains_by_layer("tanh", 1.5, 0.3, 1.0, 1).gain[0],
                                    2.25 * np.cosh(2.34**0.5 * Z[0]) ** -4.0)),
    ],
    "meanfield.correlation.pair_moments": [
        (CLOSED, lambda: (correlation.pair_moments(quadrature.as_activation("relu"), 2.0, 0.4).product,
                          relu_kernel(0.4), 1e-10)),
        (SIMULATED, lambda: against(correlation.pair_moments(quadrature.as_activation("tanh"), 1.0, 0.6).product,
                                    np.tanh(Z[0]) * np.tanh(0.6 * Z[0] + 0.8 * Z[1]))),
        (PRECISE, lambda: (correlation.pair_moments(quadrature.as_activation("tanh"), 1.0, 0.6).slope_product,
                           gauss_pair(sech2, 0.6), 1e-10)),
    ],
    "meanfield.correlation.correlation_map": [
        (CLOSED, lambda: (meanfield.correlation_map("relu", 2**0.5, 0.0, 0.4)[0], relu_kernel(0.4), 1e-10)),
        (SIMULATED, lambda: against(
            meanfield.correlation_map(*T, 0.6, q=1.0)[0],
            (2.25 * np.tanh(Z[0]) * np.tanh(0.6 * Z[0] + 0.8 * Z[1]) + 0.09) / float(meanfield.length_map(*T, 1.0)))),
        (PRECISE, lambda: (meanfield.correlation_map("tanh", 3.0, 0.3, 0.25)[0], tanh_map(3.0, 0.3, 0.25)[0], 1e-9)),
    ],
    "meanfield.correlation.correlation_fixed_point": [
        (CLOSED, lambda: (meanfield.correlation_fixed_point("tanh", 1.0, 0.5), 1.0, 0.0)),
        (SIMULATED, lambda: of_network(meanfield.correlation_fixed_point("tanh", 3.0, 0.3), 1, steps=60, weight_std=3.0,
                                       slack=0.2)),
        (SIMULATED + ", dropout", lambda: of_network(
            meanfield.correlation_fixed_point("tanh", 1.2, 0.3, keep_probability=0.8),
            1, steps=60, weight_std=1.2, keep=0.8)),
        (PRECISE, lambda: (c := meanfield.correlation_fixed_point("tanh", 3.0, 0.3), tanh_map(3.0, 0.3, c)[0], 1e-9)),
        (PRECISE + ", dropout", lambda: (
            c := meanfield.correlation_fixed_point("tanh", 1.2, 0.3, keep_probability=0.8),
            tanh_map(1.2, 0.3, c, 0.8)[0], 1e-9)),
    ],
    "meanfield.correlation.depth_scales": [
        (CLOSED, lambda: (meanfield.depth_scales("linear", 0.5, 1.0).gradient, 1 / np.log(4), 1e-12)),
        (PRECISE, lambda: (meanfield.depth_scales(*T).gradient, -1 / mpmath.log(2.25 * chi()), 1e-6)),
        (PRECISE + ", of the correlation", lambda: (
            np.exp(-1 / meanfield.depth_scales("tanh", 3.0, 0.3).correlation),
            tanh_map(3.0, 0.3, meanfield.correlation_fixed_point("tanh", 3.0, 0.3))[1], 1e-9)),
        (PRECISE + ", of the length", lambda: (
            np.exp(-1 / meanfield.depth_scales(*T).length),
            mpmath.diff(lambda q: 2.25 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(q) * z) ** 2), LENGTHS), 1e-9)),
    ],
    "meanfield.curvature.curvature_gain": [
        (PRECISE, lambda: (meanfield.curvature_gain(*T, q=1.0),
                           2.25 * gauss(lambda z: (2 * mpmath.tanh(z) * sech2(z)) ** 2), 1e-10)),
        (SIMULATED, lambda: against(meanfield.curvature_gain(*T, q=1.0),
                                    2.25 * (2 * np.tanh(Z[0]) / np.cosh(Z[0]) ** 2) ** 2)),
    ],
    "meanfield.curvature.curvature_map": [
        (CLOSED, lambda: (meanfield.curvature_map("linear", 2.0, 0.0, 1.0)[0], 0.25, 1e-12)),
        (PRECISE, lambda: (meanfield.curvature_map(*T, 1.0, q=1.0)[0],
                           3 * 2.25 * gauss(lambda z: (2 * mpmath.tanh(z) * sech2(z)) ** 2)
                           / (2.25 * gauss(lambda z: sech2(z) ** 2)) ** 2
                           + 1 / (2.25 * gauss(lambda z: sech2(z) ** 2)), 1e-9)),
    ],
    "meanfield.phase.phase_diagram": [
        (PRECISE, lambda: (meanfield.phase_diagram("tanh", [1.5], [0.3]).length[0, 0], q_star(), 1e-8)),
        (SIMULATED, lambda: of_network(meanfield.phase_diagram("tanh", [1.5], [0.3]).gain[0, 0], 2, steps=40)),
        (PRECISE + ", of the correlation", lambda: (
            c := meanfield.phase_diagram("tanh", [3.0], [0.3]).correlation[0, 0], tanh_map(3.0, 0.3, c)[0], 1e-4)),
        (PRECISE + ", of the gain", lambda: (
            np.log(meanfield.phase_diagram("tanh", [1.5], [0.3]).gain[0, 0]), mpmath.log(2.25 * chi()), 1e-8)),
    ],
}  # fmt: skip
