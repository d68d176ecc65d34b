"""Rows of the singular values: free probability, and the laws of finite width."""

import mpmath
import numpy as np

from gradjax.theory import finite_width, isometry, special
from gradjax.theory.isometry import branch, slopes, spectrum
from gradjax.theory.isometry.moments import check
from theory_rows.networks import gate, lyapunov_by_qr, one, products, relu_logs
from theory_rows.precise import (
    density_at,
    edge_at,
    gaussian_relu,
    orthogonal_relu,
    smooth_limit,
    tanh_exponent,
    tanh_variance,
)
from theory_rows.routes import CLOSED, PRECISE, SIMULATED, Z, against, gauss, refused, sech2

MARCHENKO_PASTUR = np.sqrt(3) / (2 * np.pi)  # its density at 1; its edge is 4
TWO_GATES = 1 / (2 * np.pi * np.sqrt(3))  # two free projections of rank 1/2: density at 1; the edge is 4
N8 = 20, 20, 20


def layer_of_relu(width, order):
    """Mean (order 1) or variance (2) of ln |J u|^2 of one alive layer: a mixture of chi-squared laws, exactly."""
    shares = [mpmath.binomial(width, k) / (mpmath.mpf(2) ** width - 1) for k in range(1, width + 1)]
    means = [mpmath.digamma(mpmath.mpf(k) / 2) + mpmath.log(mpmath.mpf(4) / width) for k in range(1, width + 1)]
    mean = mpmath.fsum(s * m for s, m in zip(shares, means, strict=True))
    if order == 1:
        return mean
    spreads = [mpmath.psi(1, mpmath.mpf(k) / 2) + m**2 for k, m in enumerate(means, 1)]
    return mpmath.fsum(s * v for s, v in zip(shares, spreads, strict=True)) - mean**2


def density_of_products(weights, depth, slope, activation):
    """The share of eigenvalues below 1, by theory's density and by random products."""
    x = np.geomspace(1e-9, 1, 4001)
    law = isometry.squared_singular_value_density(activation, weights, depth, 1.0, x)
    below = np.trapezoid(law.values * x, np.log(x)) + sum(mass for place, mass in law.atoms if place <= 1)
    share = np.mean(products(slope, depth, orthogonal=weights == "orthogonal") <= 1)
    return below, share, 0.03


def law_of_slopes():
    law = slopes.slope_law("tanh", 0.8)
    return law.weights @ law.values**2


def linear_branch():
    """The branch of the Marchenko-Pastur law, one Gaussian linear layer."""
    return spectrum._branch(slopes.slope_law("linear", 1.0), True, 1)


def relu_branch(depth=3):
    return spectrum._branch(slopes.slope_law("relu", 1.0), True, depth)


def edge(of):
    return np.exp(branch.edge_of(of, 1 + np.exp(spectrum.SCAN[::-1]))[1])


def traced(of, x):
    start, log_edge = branch.edge_of(of, 1 + np.exp(spectrum.SCAN[::-1]))
    return branch.trace(of, start, log_edge, np.array([x]))[0]


def near_isometry(depth=64, width=100):
    point = isometry.isometric_point("tanh", depth, 0.25)
    return products(lambda z: point.weight_std / np.cosh(point.q**0.5 * z) ** 2, depth, width, orthogonal=True)


ROWS = {
    "finite_width.log_squared_norm_moments": [
        (CLOSED, lambda: (finite_width.log_squared_norm_moments((1, 1)).dead, 0.5, 1e-15)),
        (SIMULATED, lambda: against(finite_width.log_squared_norm_moments(N8).mean, relu_logs(N8)[0])),
        (PRECISE, lambda: (finite_width.log_squared_norm_moments((7, 7)).mean, layer_of_relu(7, 1), 1e-11)),
        (PRECISE + ", the variance", lambda: (
            finite_width.log_squared_norm_moments((7, 7, 7)).variance, 2 * layer_of_relu(7, 2), 1e-10)),
        (SIMULATED + ", the variance", lambda: against(
            finite_width.log_squared_norm_moments(N8).variance, (relu_logs(N8)[0] - relu_logs(N8)[0].mean()) ** 2)),
    ],
    "finite_width.log_squared_gradient_moments": [
        (CLOSED, lambda: (finite_width.log_squared_gradient_moments((1, 1)).dead, 0.5, 1e-15)),
        (SIMULATED, lambda:
            against(finite_width.log_squared_gradient_moments(N8).mean, relu_logs(N8, readout=True)[0])),
        (SIMULATED + ", the variance", lambda: against(
            finite_width.log_squared_gradient_moments(N8).variance,
            (relu_logs(N8, readout=True)[0] - relu_logs(N8, readout=True)[0].mean()) ** 2)),
    ],
    "finite_width.leading_log_squared_norm_moments": [
        (CLOSED, lambda: (finite_width.leading_log_squared_norm_moments((100, 100, 100)).variance, 0.1, 1e-12)),
        (PRECISE + ", to second order in 1/width", lambda: (
            finite_width.leading_log_squared_norm_moments((400, 400)).variance, layer_of_relu(400, 2), (5 / 400) ** 2)),
        (SIMULATED, lambda: (finite_width.leading_log_squared_norm_moments((60, 60)).variance,
                             np.var(relu_logs((60, 60))[0]), 0.02)),
    ],
    "finite_width.fourth_moment_ratio": [
        (CLOSED, lambda: (finite_width.fourth_moment_ratio((3, 5, 5)), 4.0, 1e-12)),
        (SIMULATED, lambda: against(finite_width.fourth_moment_ratio((60, 60)), np.exp(2 * relu_logs((60, 60))[0]))),
    ],
    "finite_width.gaussian_product_exponents": [
        (PRECISE, lambda: (finite_width.gaussian_product_exponents(1, 1.0)[0],
                           2 * mpmath.quad(lambda z: mpmath.log(z) * mpmath.npdf(z), [0, 1, 9]), 1e-9)),
        (SIMULATED, lambda: (finite_width.gaussian_product_exponents(4, 1.0)[0], lyapunov_by_qr(4, 8000)[0],
                             4 * np.sqrt(special.trigamma(2.0) / 4 / 8000))),
    ],
    "isometry.branch.edge_of": [
        (CLOSED, lambda: (edge(linear_branch()), 4.0, 1e-9)),
        (PRECISE, lambda: (np.log(edge(relu_branch())), mpmath.log(edge_at(gaussian_relu(3))), 1e-9)),
        (SIMULATED, lambda: (edge(linear_branch()), products(one, 1).max(), 0.3)),
    ],
    "isometry.branch.trace": [
        (CLOSED, lambda: (branch.trace(linear_branch(), 2.0, np.log(4), np.ones(1))[0], MARCHENKO_PASTUR, 1e-8)),
        (PRECISE, lambda: (traced(relu_branch(), 2.5),
                           density_at(gaussian_relu(3), 2.5), 1e-8)),
        (SIMULATED, lambda: density_of_products("gaussian", 1, one, "linear")),
    ],
    "isometry.branch.trace_above": [
        (CLOSED, lambda: (branch.trace_above(linear_branch(), np.ones(1))[0], MARCHENKO_PASTUR, 1e-6)),
        (PRECISE, lambda: (branch.trace_above(relu_branch(), np.array([2.5]))[0], density_at(gaussian_relu(3), 2.5),
                           1e-8)),
        (SIMULATED, lambda: (np.trapezoid(branch.trace_above(linear_branch(), x := np.linspace(1, 3.999, 900)), x),
                             np.mean(products(one, 1) > 1), 0.03)),
    ],
    "isometry.fuss_catalan.fuss_catalan_moment": [
        (CLOSED, lambda: (isometry.fuss_catalan_moment(1, 5), 42, 0)),
        (SIMULATED, lambda:
            against(isometry.fuss_catalan_moment(2, 2), (products(one, 2, draws=12) ** 2).mean(axis=1))),
    ],
    "isometry.fuss_catalan.fuss_catalan_density": [
        (CLOSED, lambda: (isometry.fuss_catalan_density(1, [np.pi / 3])[1][0], MARCHENKO_PASTUR, 1e-12)),
        (PRECISE, lambda: (isometry.fuss_catalan_density(3, [0.3])[1][0],
                           mpmath.sin(0.3) ** 2 * mpmath.sin(0.9) ** 2 / mpmath.pi / mpmath.sin(1.2) ** 3, 1e-12)),
    ],
    "isometry.limits.universality_class": [
        (CLOSED, lambda: (isometry.universality_class("hard_tanh") == "bernoulli", True, 0)),
        (CLOSED + ", the other class", lambda: (isometry.universality_class("tanh") == "smooth", True, 0)),
        (SIMULATED + ": whether most slopes are the largest one", lambda: (
            isometry.universality_class("hard_tanh") == "bernoulli", np.mean(abs(Z[0]) * 0.2 < 1) > 0.5, 0)),
        (SIMULATED + ": or none is", lambda: (
            isometry.universality_class("erf") == "smooth", np.mean(np.exp(-(Z[0] ** 2) / 25) == 1) < 0.5, 0)),
    ],
    "isometry.limits.limit_largest_squared_singular_value": [
        (CLOSED, lambda: (isometry.limit_largest_squared_singular_value("bernoulli", 2.0), 2 * np.e, 1e-12)),
        (PRECISE, lambda: (isometry.limit_largest_squared_singular_value("smooth", 2.0),
                           min((1 + 1 / z) * mpmath.exp(2 * z) for z in np.linspace(0.2, 0.6, 40_001)), 1e-7)),
    ],
    "isometry.limits.limit_squared_singular_value_density": [
        (CLOSED, lambda:
            (isometry.limit_squared_singular_value_density("bernoulli", 0.25, [1.0]).atoms[0][1], 0.75, 0)),
        (PRECISE, lambda: (isometry.limit_squared_singular_value_density("smooth", 2.0, [1.5]).values[0],
                           density_at(smooth_limit(2.0), 1.5), 1e-8)),
        (SIMULATED, lambda: (np.trapezoid(isometry.limit_squared_singular_value_density(
            "smooth", 0.25, x := np.linspace(1, 2.42, 500)).values, x), np.mean(near_isometry() > 1), 0.04)),
    ],
    "isometry.limits.isometric_point": [
        (CLOSED, lambda: (isometry.squared_singular_value_variance(
            "tanh", "orthogonal", 64, isometry.isometric_point("tanh", 64, 0.25).q), 0.25, 1e-9)),
        (PRECISE, lambda: (0.25, 64 * tanh_variance(isometry.isometric_point("tanh", 64, 0.25).q), 1e-9)),
        (SIMULATED, lambda: (0.25, np.var(near_isometry()), 0.03)),
    ],
    "isometry.lyapunov.lyapunov_spectrum": [
        (CLOSED, lambda: (isometry.lyapunov_spectrum("linear", 1.0, 0.0, 0.75), np.log(0.25) / 2, 1e-9)),
        (PRECISE, lambda: (isometry.lyapunov_spectrum("tanh", 3.0, 0.0, 0.4), tanh_exponent(3.0, 0.4), 1e-9)),
        (SIMULATED, lambda: (isometry.lyapunov_spectrum("linear", 1.0, 0.0, 0.505), lyapunov_by_qr()[50], 0.03)),
    ],
    "isometry.moments.check": [
        (CLOSED, lambda: (check("gaussian", 3) == (True, 3), True, 0)),
        (CLOSED + ", the other kind", lambda: (check("orthogonal", 2.0) == (False, 2), True, 0)),
        (SIMULATED + " arguments, refused where out of range", lambda: refused(
            lambda depth: check("gaussian", depth), lambda depth: depth >= 1 and depth == int(depth))),
    ],
    "isometry.moments.squared_singular_value_variance": [
        (CLOSED, lambda: (isometry.squared_singular_value_variance("relu", "gaussian", 3, 1.0), 6.0, 1e-9)),
        (SIMULATED, lambda: against(isometry.squared_singular_value_variance("relu", "orthogonal", 2, 1.0),
                                    products(gate, 2, draws=16, orthogonal=True).var(axis=1))),
    ],
    "isometry.moments.squared_singular_value_moments": [
        (CLOSED, lambda: (isometry.squared_singular_value_moments("linear", "gaussian", 2, 1.0, 4)[3], 55.0, 1e-9)),
        (SIMULATED, lambda: against(isometry.squared_singular_value_moments("relu", "orthogonal", 2, 1.0, 3)[2],
                                    (products(gate, 2, draws=16, orthogonal=True) ** 3).mean(axis=1))),
    ],
    "isometry.slopes.slope_law": [
        (CLOSED, lambda: (slopes.slope_law("relu", 1.0).atoms[1][1], 0.5, 1e-14)),
        (PRECISE, lambda: (law_of_slopes(), gauss(lambda z: sech2(mpmath.sqrt(0.8) * z) ** 4)
                           / gauss(lambda z: sech2(mpmath.sqrt(0.8) * z) ** 2) ** 2, 1e-9)),
    ],
    "isometry.spectrum.largest_squared_singular_value": [
        (CLOSED, lambda: (isometry.largest_squared_singular_value("relu", "orthogonal", 2, 1.0), 4.0, 1e-9)),
        (PRECISE, lambda: (isometry.largest_squared_singular_value("relu", "gaussian", 16, 1.0),
                           edge_at(gaussian_relu(16)), 1e-7)),
        (PRECISE + ", orthogonal", lambda: (isometry.largest_squared_singular_value("relu", "orthogonal", 16, 1.0),
                                            edge_at(orthogonal_relu(16)), 1e-7)),
        (SIMULATED, lambda: (isometry.largest_squared_singular_value("linear", "gaussian", 1, 1.0),
                             products(one, 1).max(), 0.3)),
    ],
    "isometry.spectrum.linear_gaussian_edge": [
        (CLOSED, lambda: (isometry.linear_gaussian_edge(1), 4.0, 1e-12)),
        (PRECISE, lambda: (isometry.linear_gaussian_edge(30), mpmath.mpf(31) ** 31 / mpmath.mpf(30) ** 30, 1e-10)),
    ],
    "isometry.spectrum.squared_singular_value_density": [
        (CLOSED, lambda: (isometry.squared_singular_value_density("relu", "orthogonal", 2, 1.0, [1.0]).values[0],
                          TWO_GATES, 1e-7)),
        (PRECISE, lambda: (isometry.squared_singular_value_density("relu", "orthogonal", 5, 1.0, [1.5]).values[0],
                           density_at(orthogonal_relu(5), 1.5), 1e-8)),
        (SIMULATED, lambda: density_of_products("gaussian", 2, one, "linear")),
    ],
}  # fmt: skip
