"""Rates of gradient explosion through batch-norm: closed forms, Hermite series, and a simulated layer."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import ndtr

from gradjax.theory.normalization import batchnorm_gradient_rate
from gradjax.theory.quadrature import as_activation, evaluate


@pytest.mark.parametrize("batch", [4, 5, 6, 8, 16, 64, 256, 4096])
def test_relu_and_linear_in_closed_form(batch):
    """Yang et al. (2019): the arc-cosine kernel J at correlation -1 / (B - 1), and (B - 2) / (B - 3)."""
    c = -1 / (batch - 1)
    kernel = (np.sqrt(1 - c**2) + (np.pi - np.arccos(c)) * c) / np.pi
    slope = (np.pi - np.arccos(c)) / np.pi
    relu = (slope + batch - 1) / ((batch - 3) * (1 - kernel)) - 1 / (batch - 3)
    np.testing.assert_allclose(batchnorm_gradient_rate("relu", batch), relu, rtol=1e-9)
    np.testing.assert_allclose(batchnorm_gradient_rate("linear", batch), (batch - 2) / (batch - 3), rtol=1e-10)


def test_large_batches():
    """pi / (pi - 1) for ReLU: the norm itself grows by 1.2112 per layer, the quoted 1.21."""
    np.testing.assert_allclose(batchnorm_gradient_rate("relu", np.inf), np.pi / (np.pi - 1), rtol=1e-12)
    recorded = {"relu": 1.46694, "tanh": 1.17781, "gelu": 1.31884, "linear": 1.0}
    for name, rate in recorded.items():
        assert round(batchnorm_gradient_rate(name, np.inf), 5) == rate
        difference = batchnorm_gradient_rate(name, 10_000) - batchnorm_gradient_rate(name, np.inf)
        assert 0 < difference < 1e-3  # 1 / B from above


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid"])
def test_large_batch_rate_as_a_hermite_series(name):
    """sum k a_k^2 / sum_{k >= 1} a_k^2, the coefficients by Gauss-Hermite quadrature: a second route."""
    z, weights = np.polynomial.hermite_e.hermegauss(180)
    weights /= weights.sum()
    phi = evaluate(as_activation(name), z)
    before, current, squares = np.zeros_like(z), np.ones_like(z), []
    for k in range(90):
        squares.append((weights @ (phi * current)) ** 2)
        before, current = current, (z * current - np.sqrt(k) * before) / np.sqrt(k + 1)
    orders, squares = np.arange(90), np.array(squares)
    np.testing.assert_allclose(batchnorm_gradient_rate(name, np.inf), (orders @ squares) / squares[1:].sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "phi", "slope"),
    [
        ("relu", lambda y: np.maximum(y, 0), lambda y: (y > 0) * 1.0),
        ("tanh", np.tanh, lambda y: 1 / np.cosh(y) ** 2),
        ("gelu", lambda y: y * ndtr(y), lambda y: ndtr(y) + y * np.exp(-(y**2) / 2) / np.sqrt(2 * np.pi)),
    ],
)
@pytest.mark.parametrize("batch", [8, 12])
def test_one_simulated_layer(name, phi, slope, batch):
    """Isotropic centred pre-activations, gradients with covariance G: the mean of a vjp's squared norm."""
    rng = np.random.default_rng(batch)
    draws = 200_000
    # pre-activations of the next layer have variance (E phi1^2 - E phi1 phi2) in every direction but 1
    h = rng.standard_normal((draws, batch))
    h -= h.mean(axis=1, keepdims=True)
    r = np.linalg.norm(h, axis=1, keepdims=True)
    n = h / r
    y = np.sqrt(batch) * n
    spread = ((phi(y) - phi(y).mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (batch - 1)
    g = rng.standard_normal((draws, batch))
    g -= g.mean(axis=1, keepdims=True)
    back = slope(y) * g
    back -= back.mean(axis=1, keepdims=True)
    back -= n * (n * back).sum(axis=1, keepdims=True)
    squared = (back**2).sum(axis=1) * batch / r[:, 0] ** 2 / (batch - 1)
    estimate, error = squared.mean() / spread.mean(), squared.std() / np.sqrt(draws) / spread.mean()
    error += estimate * spread.std() / spread.mean() / np.sqrt(draws)
    np.testing.assert_allclose(batchnorm_gradient_rate(name, batch), estimate, atol=4 * error)


def test_every_batch_norm_network_explodes_and_the_identity_least():
    """Yang et al. (2019), theorem 9, for all activations here that are not the identity."""
    for name in (
        "tanh",
        "erf",
        "relu",
        "leaky_relu",
        "gelu",
        "silu",
        "selu",
        "elu",
        "softplus",
        "hard_tanh",
        "sigmoid",
    ):
        for batch in (6, np.inf):
            assert batchnorm_gradient_rate(name, batch) > batchnorm_gradient_rate("linear", batch)


def test_the_scale_of_the_activation_drops_out():
    rate = batchnorm_gradient_rate(lambda x: 7 * jnp.tanh(x) + 3, 9)
    np.testing.assert_allclose(rate, batchnorm_gradient_rate("tanh", 9), rtol=1e-9)


def test_bad_arguments_are_refused():
    for size in (3, 4.5, -1):
        with pytest.raises(ValueError, match=r"batch_size( is |=)"):
            batchnorm_gradient_rate("relu", size)
    for size in (8, np.inf):
        with pytest.raises(ValueError, match="constant"):
            batchnorm_gradient_rate(lambda x: jnp.ones_like(x), size)
