"""Exact finite-width laws against arbitrary precision, recorded simulations, and fresh ones with their error."""

import itertools

import mpmath
import numpy as np
import pytest

from gradjax.theory.finite_width import (
    fourth_moment_ratio,
    gaussian_product_exponents,
    leading_log_squared_norm_moments,
    log_squared_gradient_moments,
    log_squared_norm_moments,
)
from gradjax.theory.special import digamma, trigamma


def test_digamma_and_trigamma_against_arbitrary_precision():
    x = np.concatenate([np.arange(1, 60) / 2, [1e-3, 0.1, 1e3, 1e7]])
    np.testing.assert_allclose(digamma(x), [float(mpmath.psi(0, v)) for v in x], rtol=2e-14, atol=1e-15)
    np.testing.assert_allclose(trigamma(x), [float(mpmath.psi(1, v)) for v in x], rtol=2e-14)
    with pytest.raises(ValueError, match="x holds"):
        digamma([1.0, 0.0])


@pytest.mark.parametrize(
    ("width", "depth", "mean", "variance"),
    [(50, 10, -0.5174, 1.082), (100, 20, -0.508, 1.039), (20, 10, -1.3719, 3.118)],
)
def test_recorded_exact_moments(width, depth, mean, variance):
    moments = log_squared_norm_moments([width] * (depth + 1))
    np.testing.assert_allclose(moments.mean, mean, atol=6e-4)
    np.testing.assert_allclose(moments.variance, variance, atol=6e-4)


def test_exact_over_leading_variance():
    """Twice at width 8, 6 % at width 64: both moments of the log are leading order only."""
    for width, ratio in ((8, 2.0), (64, 1.06)):
        widths = [width] * 4
        exact, leading = log_squared_norm_moments(widths), leading_log_squared_norm_moments(widths)
        np.testing.assert_allclose(exact.variance / leading.variance, ratio, rtol=0.02)
    wide = [100_000] * 4
    np.testing.assert_allclose(
        log_squared_norm_moments(wide)[:2], leading_log_squared_norm_moments(wide)[:2], rtol=1e-3
    )


def test_layer_law_against_arbitrary_precision():
    """One gated layer of width 7 as a sum over open gates, with the chi-squared integrals done numerically."""
    n, fan_in = 7, 3
    with mpmath.workdps(20):
        total = mpmath.mpf(2) ** n - 1

        def density(x, k):
            return x ** (mpmath.mpf(k) / 2 - 1) * mpmath.exp(-x / 2) / (2 ** (mpmath.mpf(k) / 2) * mpmath.gamma(k / 2))

        def average(f):
            parts = [
                mpmath.binomial(n, k)
                / total
                * mpmath.quad(lambda t, k=k: f(t) * density(mpmath.exp(t), k) * mpmath.exp(t), [-60, -20, 0, 3, 8])
                for k in range(1, n + 1)
            ]
            return mpmath.fsum(parts)

        mean = average(lambda t: t)
        variance = average(lambda t: (t - mean) ** 2)
    moments = log_squared_norm_moments((fan_in, n))
    np.testing.assert_allclose(moments.mean, float(mean) + np.log(2 / fan_in), rtol=1e-9)
    np.testing.assert_allclose(moments.variance, float(variance), rtol=1e-9)
    np.testing.assert_allclose(moments.dead, 0.5**n, rtol=1e-12)


def simulate(widths, gated, draws, seed):
    rng = np.random.default_rng(seed)
    x = np.tile(rng.standard_normal(widths[0]), (draws, 1))
    u = np.tile(np.eye(widths[0])[0], (draws, 1))
    for fan_in, width, gate in zip(widths[:-1], widths[1:], gated, strict=True):
        weights = rng.standard_normal((draws, width, fan_in)) * np.sqrt((2 if gate else 1) / fan_in)
        x, u = np.einsum("dij,dj->di", weights, x), np.einsum("dij,dj->di", weights, u)
        if gate:
            u, x = u * (x > 0), np.maximum(x, 0)
    return (u**2).sum(axis=1)


@pytest.mark.parametrize(
    ("widths", "gated"),
    [((6, 9, 5, 12, 7), (True,) * 4), ((4, 6, 6, 3), (True, False, True)), ((5, 8, 1), (True, False))],
)
def test_simulated_networks(widths, gated):
    """A network's own forward masks, not independent ones: mean, variance and dead share within four errors."""
    draws = 20_000
    squared = simulate(widths, gated, draws, seed=5)
    moments = log_squared_norm_moments(widths, gated=gated)
    dead = (squared == 0).mean()
    np.testing.assert_allclose(dead, moments.dead, atol=4 * np.sqrt(moments.dead / draws))
    logs = np.log(squared[squared > 0])
    np.testing.assert_allclose(logs.mean(), moments.mean, atol=4 * np.sqrt(moments.variance / len(logs)))
    spread = np.sqrt(np.mean((logs - logs.mean()) ** 4) - logs.var() ** 2) / np.sqrt(len(logs))
    np.testing.assert_allclose(logs.var(), moments.variance, atol=4 * spread)
    np.testing.assert_allclose(squared.mean(), widths[-1] / widths[0], atol=4 * squared.std() / np.sqrt(draws))


def test_simulated_gradients_of_a_scalar_readout():
    """By hand-written reverse mode through the network's own masks, within four errors."""
    widths, draws = (6, 10, 7, 9), 20_000
    rng = np.random.default_rng(2)
    x, layers = np.tile(rng.standard_normal(widths[0]), (draws, 1)), []
    for fan_in, width in itertools.pairwise(widths):
        weights = rng.standard_normal((draws, width, fan_in)) * np.sqrt(2 / fan_in)
        h = np.einsum("dij,dj->di", weights, x)
        layers.append((weights, h > 0))
        x = np.maximum(h, 0)
    g = rng.standard_normal((draws, widths[-1])) / np.sqrt(widths[-1])
    for weights, gate in reversed(layers):
        g = np.einsum("dij,di->dj", weights, g * gate)
    squared = (g**2).sum(axis=1)
    moments = log_squared_gradient_moments(widths)
    logs = np.log(squared[squared > 0])
    np.testing.assert_allclose((squared == 0).mean(), moments.dead, atol=4 * np.sqrt(moments.dead / draws))
    np.testing.assert_allclose(logs.mean(), moments.mean, atol=4 * np.sqrt(moments.variance / draws))
    spread = np.sqrt(np.mean((logs - logs.mean()) ** 4) - logs.var() ** 2) / np.sqrt(draws)
    np.testing.assert_allclose(logs.var(), moments.variance, atol=4 * spread)
    wide = log_squared_gradient_moments((3000, 4000, 5000))
    np.testing.assert_allclose(wide.variance, 5 / 4000 + 5 / 5000 + 2 / 3000, rtol=2e-3)


def test_fourth_moment_ratio():
    for (width, depth), ratio in {(50, 10): 2.594, (100, 20): 2.653, (20, 10): 9.31}.items():
        np.testing.assert_allclose(fourth_moment_ratio([width] * (depth + 1)), ratio, rtol=6e-4)
    # one layer, by sampling where it is safe: beta = 0.1
    squared = simulate((4, 50), (True,), 20_000, seed=1)
    error = 4 * np.std(squared**2) / np.mean(squared) ** 2 / np.sqrt(20_000)
    np.testing.assert_allclose(np.mean(squared**2) / np.mean(squared) ** 2, fourth_moment_ratio((4, 50)), atol=error)


def test_exponents_of_gaussian_products():
    """Against QR of 4000 matrices of width 5: the i-th exponent has variance psi'((N - i + 1)/2) / (4 depth)."""
    width, depth, std = 5, 4000, 1.3
    rng = np.random.default_rng(0)
    frame, logs = np.eye(width), np.zeros(width)
    for _ in range(depth):
        frame, r = np.linalg.qr(rng.standard_normal((width, width)) * std / np.sqrt(width) @ frame)
        logs += np.log(np.abs(np.diag(r)))
    exponents = gaussian_product_exponents(width, std)
    errors = np.sqrt(trigamma(np.arange(width, 0, -1) / 2) / 4 / depth)
    assert (np.abs(logs / depth - exponents) < 4 * errors).all()
    # the sum is E ln |det| per layer, exactly
    sums = np.array([mpmath.psi(0, k / mpmath.mpf(2)) for k in range(1, width + 1)]).sum()
    np.testing.assert_allclose(exponents.sum(), float(width * np.log(2 * std**2 / width) + sums) / 2, rtol=1e-13)


def test_exponents_become_the_triangular_law():
    width = 20_000
    exponents = gaussian_product_exponents(width, 2.0)
    x = (np.arange(width) + 0.5) / width
    kept = x < 0.9
    np.testing.assert_allclose(exponents[kept], np.log(4 * (1 - x[kept])) / 2, atol=1e-3)
    np.testing.assert_allclose((exponents[0] - exponents[1]) * 2 * width, 1, rtol=1e-3)


def test_bad_arguments_are_refused():
    for widths in ([], [3], [3, 0], [3, 2.5]):
        with pytest.raises(ValueError, match="widths"):
            log_squared_norm_moments(widths)
    with pytest.raises(ValueError, match="gated has 1"):
        log_squared_norm_moments([3, 3, 3], gated=[True])
    with pytest.raises(ValueError, match=r"width( is |=)0"):
        gaussian_product_exponents(0, 1.0)
    with pytest.raises(ValueError, match=r"weight_std( is |=)0"):
        gaussian_product_exponents(3, 0)
