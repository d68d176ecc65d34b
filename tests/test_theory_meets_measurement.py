"""A row for every public function of `gradjax.theory`: each against at least two independent routes.

A check gives (what theory says, what the other route says, tolerance); the routes are a closed form, a second numerical
route in arbitrary precision, or a simulation with four standard errors. A function without a row fails the test.
"""

import functools
import importlib
import inspect
import itertools
import pkgutil

import mpmath
import numpy as np
import pytest

import gradjax.theory
from gradjax.theory import (
    finite_width,
    isometry,
    learning,
    meanfield,
    normalization,
    quadrature,
    recurrent,
    residual,
    shattering,
    special,
)
from gradjax.theory.isometry import branch, slopes, spectrum
from gradjax.theory.isometry.moments import check
from gradjax.theory.meanfield import correlation, length, moments, spread, transient

CLOSED, PRECISE, SIMULATED = "closed form", "arbitrary precision", "simulation"
T, SPLIT = ("tanh", 1.5, 0.3), [-9, -3, 0, 3, 9]
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((2, 400_000))


def gauss(f):
    """E f(z) in arbitrary precision."""
    return mpmath.quad(lambda z: f(z) * mpmath.npdf(z), SPLIT)


def sech2(x):
    return 1 / mpmath.cosh(x) ** 2


def sampled(values):
    """A mean and four standard errors."""
    return np.mean(values), 4 * np.std(values) / np.sqrt(len(values))


def against(ours, values):
    mean, error = sampled(values)
    return ours, mean, error


@functools.cache
def q_star():
    return mpmath.findroot(lambda q: 2.25 * gauss(lambda z: mpmath.tanh(mpmath.sqrt(q) * z) ** 2) + 0.09 - q, 1.0)


@functools.cache
def chi(power=2):
    root = mpmath.sqrt(q_star())
    return gauss(lambda z: sech2(root * z) ** power)


@functools.cache
def network(steps=300, width=400, weight_std=1.5, bias_std=0.3, keep=1.0, seeds=6, seed=1):
    """Mean square and correlation of two copies behind many tanh layers, and the gain of a tangent, by seed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(seeds):
        h, v = rng.standard_normal((2, width)), rng.standard_normal(width)
        h[1], gains = 0.5 * h[0] + 0.5 * h[1], []
        for _ in range(steps):
            w, b = weight_std * rng.standard_normal((width, width)) / width**0.5, bias_std * rng.standard_normal(width)
            mask = (rng.random((2, width)) < keep) / keep
            tangent = w @ (mask[0] * (1 - np.tanh(h[0]) ** 2) * v)
            gains.append(tangent @ tangent / (v @ v))
            v = tangent / np.linalg.norm(tangent)
            h = (mask * np.tanh(h)) @ w.T + b
        found.append((h[0] @ h[0] / width, h[0] @ h[1] / np.sqrt((h[0] @ h[0]) * (h[1] @ h[1])), np.mean(gains[10:])))
    return np.array(found).T


def of_network(ours, which, slack=0.02, **options):
    """Against simulated networks: four standard errors over seeds, and what width 400 leaves out."""
    values = network(**options)[which]
    mean, error = sampled(values)
    return ours, mean, error + slack * abs(mean)


def relu_kernel(c):
    return (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi


def products(slope, depth, width=120, draws=4, orthogonal=False, seed=2):
    """Eigenvalues of J J^T over their mean of products of slopes and weights."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        j = np.eye(width)
        for _ in range(depth):
            w = rng.standard_normal((width, width)) / width**0.5
            w = np.linalg.qr(w)[0] if orthogonal else w
            j = slope(rng.standard_normal(width))[:, None] * (w @ j)
        values = np.linalg.svd(j, compute_uv=False) ** 2
        found.append(values / values.mean())
    return np.array(found)


def gate(z):
    return np.sqrt(2) * (z > 0)


def one(z):
    return np.ones_like(z)


@functools.cache
def relu_logs(widths, count=4000, seed=3, readout=False):
    """ln |J u|^2 of alive He-ReLU networks, and the share of dead ones; `readout`: of one output's input gradient."""
    rng = np.random.default_rng(seed)
    h, u = rng.standard_normal((2, count, widths[0]))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    masks, weights = [], []
    for fan_in, width in itertools.pairwise(widths):
        w = rng.standard_normal((count, width, fan_in)) * np.sqrt(2 / fan_in)
        h, u = np.einsum("nij,nj->ni", w, h), np.einsum("nij,nj->ni", w, u)
        masks.append(h > 0)
        weights.append(w)
        u, h = u * (h > 0), np.maximum(h, 0)
    if readout:
        u = rng.standard_normal((count, widths[-1])) / np.sqrt(widths[-1])
        for w, mask in zip(reversed(weights), reversed(masks), strict=True):
            u = np.einsum("nij,ni->nj", w, u * mask)
    squares = np.sum(u**2, axis=1)
    return np.log(squares[squares > 0]), np.mean(squares == 0)


def blocks(phi, slope, depth, scale, width=300, seeds=6, seed=4):
    """ln growth of the squared gradient of residual blocks x + a V phi(W x), by seed."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(seeds):
        x, kept = rng.standard_normal(width), []
        for _ in range(depth):
            w, v = rng.standard_normal((2, width, width)) / width**0.5
            kept.append((w, v, slope(w @ x)))
            x = x + scale * v @ phi(w @ x)
        g = rng.standard_normal(width)
        start = g @ g
        for w, v, d in reversed(kept):
            g = g + scale * w.T @ (d * (v.T @ g))
        found.append(np.log(g @ g / start))
    return np.array(found)


def grown(ours, *arguments):
    mean, error = sampled(blocks(*arguments))
    return ours, mean, error + 0.03 * abs(mean)


def he(x):
    return np.sqrt(2) * np.maximum(x, 0)


def he_slope(x):
    return np.sqrt(2) * (x > 0)


def fixup_steps(depth, rule):
    """The first step's effect of a residual network whose branches end in zeros: sum over blocks of |dL/dV_l|^2."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal(200)
    return sum(np.sum((rule * he(rng.standard_normal((200, 200)) @ x / 200**0.5)) ** 2) for _ in range(depth)) / 200


def deepnorm_step(depth, decoder=False):
    """The same for DeepNorm's two-matrix branches: 2 N sublayers, each of size (beta / alpha)^2, twice."""
    c = residual.deepnorm_constants(0, depth) if decoder else residual.deepnorm_constants(depth, 0)
    alpha, beta = (c.decoder_alpha, c.decoder_beta) if decoder else (c.encoder_alpha, c.encoder_beta)
    return 2 * depth * 2 * (beta / alpha) ** 2


def descent(weights, rate=2e-4):
    a, steps = 1e-3 ** (1 / weights), 0
    while a**weights < 0.5:
        a, steps = a + rate * a ** (weights - 1) * (1 - a**weights), steps + 1
    return steps * rate


def clipped_counts(start):
    x, steps = start, 0
    while abs(np.sinh(x)) >= 1e-3:
        x, steps = x - np.sinh(x) * min(0.5, 0.5 / abs(np.sinh(x))), steps + 1
    return steps


def shatter(layer, depth, width=400, seeds=24, seed=6):
    """Correlation of the gradients of one output at two unrelated inputs, over networks (ratio of sums)."""
    rng, both, alone = np.random.default_rng(seed), [], []
    for _ in range(seeds):
        x = np.linalg.qr(rng.standard_normal((width, 2)))[0].T * width**0.5
        weights = [rng.standard_normal((width, width)) / width**0.5 for _ in range(depth)]
        signals = [x]
        for w in weights:
            signals.append(layer(signals[-1], w))
        g = np.tile(rng.standard_normal(width), (2, 1))
        for x, w in zip(reversed(signals[:-1]), reversed(weights), strict=True):
            back = np.sqrt(2) * (x > 0) * (g @ w.T)
            g = g + back if layer is skip else back
        both.append(g[0] @ g[1])
        alone.append((g[0] @ g[0] + g[1] @ g[1]) / 2)
    ratios = np.array(both) / np.mean(alone)
    mean, error = sampled(ratios)
    return mean, error + 0.02


def plain(x, w):
    return he(x) @ w


def skip(x, w):
    return x + he(x) @ w


def gate_pair(c, power):
    """(E phi' phi' / E phi'^2)^power of ReLU by samples of correlation c."""
    other = c * Z[0] + np.sqrt(1 - c**2) * Z[1]
    mean, error = sampled(2.0 * ((Z[0] > 0) & (other > 0)))
    return mean**power, power * mean ** (power - 1) * error


def density_of_products(weights, depth, slope, activation):
    """The share of eigenvalues below 1, by theory's density and by random products."""
    x = np.geomspace(1e-9, 1, 4001)
    law = isometry.squared_singular_value_density(activation, weights, depth, 1.0, x)
    below = np.trapezoid(law.values * x, np.log(x)) + sum(mass for place, mass in law.atoms if place <= 1)
    share = np.mean(products(slope, depth, orthogonal=weights == "orthogonal") <= 1)
    return below, share, 0.03


def lyapunov_by_qr(width=100, steps=400, seed=7):
    rng, q, logs = np.random.default_rng(seed), np.eye(width), 0
    for step in range(steps):
        q, r = np.linalg.qr(rng.standard_normal((width, width)) / width**0.5 @ q)
        logs = logs + np.log(np.abs(np.diag(r))) * (step >= 50)
    return logs / (steps - 50)


def recurrent_run(gain=3.0, width=300, steps=300, seed=8, top=1):
    """Growth of a tangent through a random tanh RNN, per step, over four networks."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(4):
        w, x = gain * rng.standard_normal((width, width)) / width**0.5, rng.standard_normal(width)
        v, logs = rng.standard_normal(width), []
        for _ in range(steps):
            v = w @ ((1 - np.tanh(x) ** 2) * v)
            x = w @ np.tanh(x)
            logs.append(np.log(np.linalg.norm(v)))
            v /= np.linalg.norm(v)
        found.append(np.mean(logs[50:]))
    return np.array(found)


def fraction_growing():
    x = (np.arange(4000) + 0.5) / 4000
    return np.mean(isometry.lyapunov_spectrum("tanh", 3.0, 0.0, x) > 0)


def law_of_slopes():
    law = slopes.slope_law("tanh", 0.8)
    return law.weights @ law.values**2


def linear_branch():
    """The branch of the Marchenko-Pastur law, one Gaussian linear layer."""
    return spectrum._branch(slopes.slope_law("linear", 1.0), True, 1)


MARCHENKO_PASTUR = np.sqrt(3) / (2 * np.pi)  # its density at 1; its edge is 4
TWO_GATES = 1 / (2 * np.pi * np.sqrt(3))  # two free projections of rank 1/2: density at 1; the edge is 4
LENGTHS = meanfield.length_fixed_point(*T)
B = 8
N8, N5 = (20, 20, 20), (6, 6, 6)

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
        (PRECISE, lambda: (quadrature.as_activation("tanh")(0.3), mpmath.tanh(0.3), 1e-6)),
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
        (PRECISE, lambda: (moments.check_stds(mpmath.mpf(1) / 4, 0.0)[0], 0.25, 0.0)),
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
        (CLOSED, lambda: (np.mean(length.scan(lambda q: 2 - q, 0.1, lambda q, _: q > 9)[0][0]), 2.0, 0.3)),
        (PRECISE, lambda: (length.scan(lambda q: 2 - q, 0.1, lambda q, _: q > 9)[1], mpmath.sign(2 - 0.1), 0)),
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
    ],
    "meanfield.spread.gradient_gain_spread": [
        (CLOSED, lambda: (spread.gradient_gain_spread("relu", 2**0.5, 0.0), 5.0, 1e-9)),
        (PRECISE, lambda: (spread.gradient_gain_spread(*T), 3 * chi(4) / chi() ** 2 - 1, 1e-8)),
    ],
    "meanfield.transient.gains_by_layer": [
        (CLOSED, lambda: (transient.gains_by_layer("linear", 3.0, 0.0, 1.0, 2).gain[1], 9.0, 1e-12)),
        (PRECISE, lambda: (transient.gains_by_layer("tanh", 1.5, 0.3, 1.0, 1).gain[0],
                           2.25 * gauss(lambda z: sech2(mpmath.sqrt(2.34) * z) ** 2), 1e-11)),
    ],
    "meanfield.correlation.pair_moments": [
        (CLOSED, lambda: (correlation.pair_moments(quadrature.as_activation("relu"), 2.0, 0.4).product,
                          relu_kernel(0.4), 1e-10)),
        (SIMULATED, lambda: against(correlation.pair_moments(quadrature.as_activation("tanh"), 1.0, 0.6).product,
                                    np.tanh(Z[0]) * np.tanh(0.6 * Z[0] + 0.8 * Z[1]))),
    ],
    "meanfield.correlation.correlation_map": [
        (CLOSED, lambda: (meanfield.correlation_map("relu", 2**0.5, 0.0, 0.4)[0], relu_kernel(0.4), 1e-10)),
        (SIMULATED, lambda: against(
            meanfield.correlation_map(*T, 0.6, q=1.0)[0],
            (2.25 * np.tanh(Z[0]) * np.tanh(0.6 * Z[0] + 0.8 * Z[1]) + 0.09) / float(meanfield.length_map(*T, 1.0)))),
    ],
    "meanfield.correlation.correlation_fixed_point": [
        (CLOSED, lambda: (meanfield.correlation_fixed_point("tanh", 1.0, 0.5), 1.0, 0.0)),
        (SIMULATED, lambda: of_network(meanfield.correlation_fixed_point("tanh", 3.0, 0.3), 1, steps=60, weight_std=3.0,
                                       slack=0.2)),
        (SIMULATED + ", dropout", lambda: of_network(
            meanfield.correlation_fixed_point("tanh", 1.2, 0.3, keep_probability=0.8),
            1, steps=60, weight_std=1.2, keep=0.8)),
    ],
    "meanfield.correlation.depth_scales": [
        (CLOSED, lambda: (meanfield.depth_scales("linear", 0.5, 1.0).gradient, 1 / np.log(4), 1e-12)),
        (PRECISE, lambda: (meanfield.depth_scales(*T).gradient, -1 / mpmath.log(2.25 * chi()), 1e-6)),
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
    ],
    "finite_width.log_squared_norm_moments": [
        (CLOSED, lambda: (finite_width.log_squared_norm_moments((1, 1)).dead, 0.5, 1e-15)),
        (SIMULATED, lambda: against(finite_width.log_squared_norm_moments(N8).mean, relu_logs(N8)[0])),
    ],
    "finite_width.log_squared_gradient_moments": [
        (CLOSED, lambda: (finite_width.log_squared_gradient_moments((1, 1)).dead, 0.5, 1e-15)),
        (SIMULATED, lambda:
            against(finite_width.log_squared_gradient_moments(N8).mean, relu_logs(N8, readout=True)[0])),
    ],
    "finite_width.leading_log_squared_norm_moments": [
        (CLOSED, lambda: (finite_width.leading_log_squared_norm_moments((100, 100, 100)).variance, 0.1, 1e-12)),
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
        (CLOSED, lambda: (np.exp(branch.edge_of(linear_branch(), 1 + np.exp(spectrum.SCAN[::-1]))[1]), 4.0, 1e-9)),
        (SIMULATED, lambda: (np.exp(branch.edge_of(linear_branch(), 1 + np.exp(spectrum.SCAN[::-1]))[1]),
                             products(one, 1).max(), 0.3)),
    ],
    "isometry.branch.trace": [
        (CLOSED, lambda: (branch.trace(linear_branch(), 2.0, np.log(4), np.ones(1))[0], MARCHENKO_PASTUR, 1e-8)),
        (SIMULATED, lambda: density_of_products("gaussian", 1, one, "linear")),
    ],
    "isometry.branch.trace_above": [
        (CLOSED, lambda: (branch.trace_above(linear_branch(), np.ones(1))[0], MARCHENKO_PASTUR, 1e-6)),
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
    ],
    "isometry.limits.limit_largest_squared_singular_value": [
        (CLOSED, lambda: (isometry.limit_largest_squared_singular_value("bernoulli", 2.0), 2 * np.e, 1e-12)),
        (PRECISE, lambda: (isometry.limit_largest_squared_singular_value("smooth", 2.0),
                           min((1 + 1 / z) * mpmath.exp(2 * z) for z in np.linspace(0.2, 0.6, 40_001)), 1e-7)),
    ],
    "isometry.limits.limit_squared_singular_value_density": [
        (CLOSED, lambda:
            (isometry.limit_squared_singular_value_density("bernoulli", 0.25, [1.0]).atoms[0][1], 0.75, 0)),
        (SIMULATED, lambda: (np.trapezoid(isometry.limit_squared_singular_value_density(
            "smooth", 0.25, x := np.linspace(1, 2.42, 500)).values, x), np.mean(near_isometry() > 1), 0.04)),
    ],
    "isometry.limits.isometric_point": [
        (CLOSED, lambda: (isometry.squared_singular_value_variance(
            "tanh", "orthogonal", 64, isometry.isometric_point("tanh", 64, 0.25).q), 0.25, 1e-9)),
        (SIMULATED, lambda: (0.25, np.var(near_isometry()), 0.03)),
    ],
    "isometry.lyapunov.lyapunov_spectrum": [
        (CLOSED, lambda: (isometry.lyapunov_spectrum("linear", 1.0, 0.0, 0.75), np.log(0.25) / 2, 1e-9)),
        (SIMULATED, lambda: (isometry.lyapunov_spectrum("linear", 1.0, 0.0, 0.505), lyapunov_by_qr()[50], 0.03)),
    ],
    "isometry.moments.check": [
        (CLOSED, lambda: (check("gaussian", 3) == (True, 3), True, 0)),
        (CLOSED + ", the other kind", lambda: (check("orthogonal", 2.0) == (False, 2), True, 0)),
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
        (SIMULATED, lambda: density_of_products("gaussian", 2, one, "linear")),
    ],
    "learning.mode_time": [
        (PRECISE, lambda: (learning.mode_time(1.0, 1e-3, 0.5, 2), mpmath.log(999) / 2, 1e-12)),
        (SIMULATED, lambda: (learning.mode_time(1.0, 1e-3, 0.5, 4), descent(4), 0.01)),
    ],
    "learning.mode_strength": [
        (CLOSED, lambda: (learning.mode_strength(2.0, 0.5, 0.0), 0.5, 1e-15)),
        (SIMULATED, lambda: (learning.mode_strength(1.0, 1e-3, descent(2)), 0.5, 1e-3)),
    ],
    "learning.largest_stable_step": [
        (CLOSED, lambda: (learning.largest_stable_step(1.0, 4), 0.5, 0.0)),
        (PRECISE, lambda: (learning.largest_stable_step(1.5, 3),
                           2 / mpmath.diff(lambda a: (a**3 - 1.5) * a**2, mpmath.mpf(1.5) ** (mpmath.mpf(1) / 3)),
                           1e-9)),
    ],
    "learning.clipped_step": [
        (CLOSED, lambda: (learning.clipped_step(4.0, 1.0, 1.0), 0.125, 0.0)),
        (PRECISE, lambda: (learning.clipped_step(0.5, 1.0, 1.0), mpmath.mpf(1) / 2, 0.0)),
    ],
    "learning.cosh_steps": [
        (CLOSED, lambda: (learning.cosh_steps(12.0, 1e-3, clipped=True), 2 * 12 + 8, 0)),
        (SIMULATED, lambda: (learning.cosh_steps(7.5, 1e-3, clipped=True), clipped_counts(7.5), 0)),
    ],
    "learning.cosh_constant_steps": [
        (SIMULATED, lambda: (learning.cosh_constant_steps(6.0, 1e-3) / learning.cosh_steps(6.0, 1e-3, clipped=False),
                             1.0, 0.01)),
        (PRECISE, lambda: (learning.cosh_constant_steps(2.0, 1e-2), mpmath.cosh(2) * mpmath.quad(
            lambda x: 1 / mpmath.sinh(x), [mpmath.asinh(0.01), 0.1, 2]), 1e-9)),
    ],
    "learning.clipped_complexity": [
        (CLOSED, lambda: (learning.clipped_complexity(1.0, 1.0, 1.0, 1.0), 40.0, 0.0)),
        (SIMULATED + ", a bound", lambda: (max(clipped_counts(4.0) - learning.clipped_complexity(
            1.0, 1.0, np.cosh(4.0) - 1, 1e-3), 0.0), 0.0, 0.0)),
    ],
    "normalization.batchnorm_gradient_rate": [
        (CLOSED, lambda: (normalization.batchnorm_gradient_rate("linear", B), 6 / 5, 1e-9)),
        (SIMULATED, lambda: against(normalization.batchnorm_gradient_rate("relu", np.inf),
                                    (Z[0] > 0) / np.var(np.maximum(Z[0], 0)))),
    ],
    "recurrent.steepest_slope": [
        (CLOSED, lambda: (recurrent.steepest_slope("sigmoid"), 0.25, 1e-12)),
        (PRECISE, lambda: (recurrent.steepest_slope("gelu"),
                           mpmath.ncdf(mpmath.sqrt(2)) + mpmath.sqrt(2) * mpmath.npdf(mpmath.sqrt(2)), 1e-10)),
    ],
    "recurrent.log_gradient_bound": [
        (CLOSED, lambda: (recurrent.log_gradient_bound("sigmoid", 4.0, 9), 0.0, 1e-12)),
        (SIMULATED + ", a bound", lambda:
            (max(recurrent_run(0.9).max() - recurrent.log_gradient_bound("tanh", 1.8, 1), 0),
                                           0.0, 0.0)),
    ],
    "recurrent.error_wall": [
        (CLOSED, lambda: (recurrent.error_wall("sigmoid", 5.0, 0.5).bias, 0.5 - 5 / (1 + np.exp(-0.5)), 1e-12)),
        (PRECISE, lambda: (recurrent.error_wall("sigmoid", 5.0, 0.5).rate,
                           5 * mpmath.diff(lambda x: 1 / (1 + mpmath.exp(-x)), 0.5), 1e-10)),
    ],
    "recurrent.fold_biases": [
        (CLOSED, lambda: (recurrent.fold_biases("sigmoid", 5.0).sum(), -5.0, 1e-9)),
        (PRECISE, lambda: (recurrent.fold_biases("tanh", 2.0)[1],
                           2 * mpmath.tanh(mpmath.acosh(mpmath.sqrt(2))) - mpmath.acosh(mpmath.sqrt(2)), 1e-9)),
    ],
    "recurrent.recurrent_exponent": [
        (CLOSED, lambda: (recurrent.recurrent_exponent("linear", 0.5, 1.0), np.log(0.5), 1e-12)),
        (SIMULATED, lambda: (recurrent.recurrent_exponent("tanh", 3.0, 0.0), sampled(recurrent_run())[0],
                             sampled(recurrent_run())[1] + 6 / 300)),
    ],
    "recurrent.chaos": [
        (CLOSED, lambda: (recurrent.chaos("tanh", 0.8, 0.1).entropy_rate, 0.0, 0.0)),
        (PRECISE + ", by its spectrum", lambda:
            (recurrent.chaos("tanh", 3.0, 0.0).positive_fraction, fraction_growing(),
                                                 3e-4)),
    ],
    "residual.residual_growth": [
        (CLOSED, lambda:
            (residual.residual_growth("relu", 2**0.5, 10, 1.0).log_squared_gradient[0], 10 * np.log(2), 1e-9)),
        (SIMULATED, lambda: grown(residual.residual_growth("tanh", 1.0, 12, 0.8).log_squared_gradient[0], np.tanh,
                                  lambda h: 1 / np.cosh(h) ** 2, 12, 0.8)),
    ],
    "residual.stable_branch_scale": [
        (CLOSED, lambda: (residual.stable_branch_scale(16), 0.25, 0.0)),
        (SIMULATED + " of SkipInit's alternative: growth below e", lambda: grown(
            12 * np.log1p(1 / 12), he, he_slope, 12, residual.stable_branch_scale(12))),
        (CLOSED + ", ReZero and SkipInit start at the identity", lambda:
            (blocks(he, he_slope, 8, 0.0).max(), 0.0, 1e-12)),
    ],
    "residual.fixup_branch_scale": [
        (CLOSED, lambda: (residual.fixup_branch_scale(16, 3), 0.5, 1e-12)),
        (SIMULATED, lambda: (fixup_steps(64, residual.fixup_branch_scale(64, 2)),
                             fixup_steps(4, residual.fixup_branch_scale(4, 2)), 0.25)),
    ],
    "residual.deepnorm_constants": [
        (CLOSED + ", encoder", lambda: (deepnorm_step(37), 1.0, 1e-12)),
        (CLOSED + ", decoder", lambda: (deepnorm_step(500, decoder=True), 1.0, 1e-12)),
        (SIMULATED, lambda: (*deepnorm_network(32), 0.25)),
    ],
    "shattering.gradient_correlation": [
        (CLOSED, lambda: (shattering.gradient_correlation("relu", 2**0.5, 0.0, 1)[1], 0.5, 1e-9)),
        (SIMULATED, lambda: (shattering.gradient_correlation("relu", 2**0.5, 0.0, 3)[3], *shatter(plain, 3))),
    ],
    "shattering.residual_gradient_correlation": [
        (CLOSED, lambda: (shattering.residual_gradient_correlation("relu", 2**0.5, 1)[1], 0.75, 1e-9)),
        (SIMULATED, lambda: (shattering.residual_gradient_correlation("relu", 2**0.5, 3)[3], *shatter(skip, 3))),
    ],
    "shattering.batchnorm_gradient_correlation": [
        (CLOSED, lambda: (shattering.batchnorm_gradient_correlation("relu", 5)[5], 2.0**-5, 1e-12)),
        (SIMULATED, lambda: (shattering.batchnorm_gradient_correlation("relu", 3, batch_size=B)[3],
                             *gate_pair(-1 / (B - 1), 3))),
    ],
    "shattering.batchnorm_residual_gradient_correlation": [
        (CLOSED, lambda: (shattering.batchnorm_residual_gradient_correlation("relu", 2**0.5, 1)[1], 0.75, 1e-12)),
        (PRECISE, lambda: (shattering.batchnorm_residual_gradient_correlation("relu", 2**0.5, 40)[40], mpmath.nprod(
            lambda k: (1.5 + (1 - 1 / mpmath.pi) * k) / (2 + (1 - 1 / mpmath.pi) * k), [0, 39]), 1e-10)),
    ],
}  # fmt: skip


def near_isometry(depth=64, width=100):
    point = isometry.isometric_point("tanh", depth, 0.25)
    return products(lambda z: point.weight_std / np.cosh(point.q**0.5 * z) ** 2, depth, width, orthogonal=True)


def deepnorm_network(depth):
    """Squared gradient of the second matrices, summed over DeepNorm's blocks: deep over shallow."""

    def total(depth, seeds=6, width=64):
        c, found = residual.deepnorm_constants(depth, 0), []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            x, kept = rng.standard_normal(width), []
            for _ in range(depth):
                w, v = c.encoder_beta * rng.standard_normal((2, width, width)) / width**0.5
                hidden = np.maximum(w @ x, 0)
                y = c.encoder_alpha * x + v @ hidden
                kept.append((w, v, hidden, y))
                x = (y - y.mean()) / y.std()
            g, squares = rng.standard_normal(width), 0.0
            for w, v, hidden, y in reversed(kept):
                n = (y - y.mean()) / y.std()
                g = (g - g.mean() - n * np.mean(n * g)) / y.std()
                squares += (g @ g) * (hidden @ hidden)
                g = c.encoder_alpha * g + w.T @ ((hidden > 0) * (v.T @ g))
            found.append(squares / width**2)
        return np.mean(found)

    return total(depth) / total(4), 1.0


def public_functions():
    """Every function of gradjax.theory without a leading underscore, by its module."""
    names = {}
    for _, name, _ in pkgutil.walk_packages(gradjax.theory.__path__, "gradjax.theory."):
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            own = callable(value) and not key.startswith("_") and getattr(value, "__module__", "") == name
            if own and inspect.isfunction(inspect.unwrap(value)):
                names[f"{name.removeprefix('gradjax.theory.')}.{key}"] = value
    return names


def test_every_public_function_of_theory_has_a_row_and_every_row_a_function():
    assert set(ROWS) == set(public_functions())
    assert all(len(checks) >= 2 and len({kind for kind, _ in checks}) == len(checks) for checks in ROWS.values())


@pytest.mark.parametrize(
    ("name", "kind", "route"),
    [pytest.param(name, kind, route, id=f"{name}: {kind}") for name, checks in ROWS.items() for kind, route in checks],
)
def test_theory_meets_an_independent_route(name, kind, route):
    ours, theirs, tolerance = (float(value) for value in route())
    assert abs(ours - theirs) <= tolerance + 1e-300, (ours, theirs, tolerance)
