"""Deep limits: double scaling near isometry, universality classes, and the whole Lyapunov spectrum."""

import mpmath
import numpy as np
import pytest
from random_products import random_product

from gradjax.theory.finite_width import gaussian_product_exponents
from gradjax.theory.isometry import (
    isometric_point,
    largest_squared_singular_value,
    limit_largest_squared_singular_value,
    limit_squared_singular_value_density,
    lyapunov_spectrum,
    squared_singular_value_density,
    squared_singular_value_moments,
    squared_singular_value_variance,
    universality_class,
)


@pytest.mark.parametrize(("name", "variance"), [("hard_tanh", 0.25), ("hard_tanh", 2.0), ("tanh", 0.25), ("erf", 2.0)])
def test_the_double_scaling_limit_is_approached(name, variance):
    """With the point retuned to the same variance, sixteen times the depth is at least three times as close."""
    universality = universality_class(name)
    limit = limit_largest_squared_singular_value(universality, variance)
    errors = []
    for depth in (256, 4096):
        point = isometric_point(name, depth, variance)
        np.testing.assert_allclose(
            squared_singular_value_variance(name, "orthogonal", depth, point.q), variance, rtol=1e-9
        )
        errors.append(abs(largest_squared_singular_value(name, "orthogonal", depth, point.q) / limit - 1))
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.02


def test_random_product_near_isometry():
    """tanh, variance 0.25 at depth 32, N = 100: second and third moment."""
    point = isometric_point("tanh", 32, 0.25)
    values = random_product(lambda z: point.weight_std / np.cosh(np.sqrt(point.q) * z) ** 2, "orthogonal", 32, 100, 0)
    ratios = [np.mean(values**k) / np.mean(values) ** k for k in (2, 3)]
    np.testing.assert_allclose(
        ratios, squared_singular_value_moments("tanh", "orthogonal", 32, point.q, 3)[1:], rtol=0.03
    )


@pytest.mark.parametrize(
    ("universality", "variance"), [("smooth", 0.25), ("smooth", 2.0), ("bernoulli", 0.25), ("bernoulli", 2.0)]
)
def test_limit_densities(universality, variance):
    """Mass 1 and variance as asked; third moment from the S-transform: exp(-v z) gives 1 + 3v + 1.5 v^2."""
    edge = limit_largest_squared_singular_value(universality, variance)
    root = np.linspace(0, np.sqrt(np.log(edge) + 400), 6001)[1:]
    x = edge * np.exp(-(root**2))
    density = limit_squared_singular_value_density(universality, variance, x)
    measure = density.values * 2 * root * x * (root[1] - root[0])
    moments = [measure @ x**k + sum(mass * place**k for place, mass in density.atoms) for k in range(4)]
    third = 1 + 3 * variance + 1.5 * variance**2 + (0 if universality == "smooth" else -variance)
    np.testing.assert_allclose(moments[1:], [1, 1 + variance, third], rtol=3e-3)
    # in the Bernoulli class ln x ~ -variance / (1 + z) towards zero: so much mass lies below the grid's e^-400
    below = variance / 400 if universality == "bernoulli" else 0.0
    np.testing.assert_allclose(moments[0] + below, 1, rtol=3e-3)


def test_universality_classes():
    for name in ("tanh", "erf", "scaled_erf"):
        assert universality_class(name) == "smooth"
    assert universality_class("hard_tanh") == "bernoulli"
    for name in ("relu", "leaky_relu", "selu"):
        with pytest.raises(ValueError, match="reaches no isometry"):
            universality_class(name)


def test_lyapunov_spectrum_closed_forms():
    x = np.array([0.0, 0.2, 0.4, 0.499])
    exact = np.log(1.5**2 * (0.5 - x)) / 2
    np.testing.assert_allclose(lyapunov_spectrum("relu", 1.5, 0.1, x), exact, atol=1e-12)
    assert (lyapunov_spectrum("relu", 1.5, 0.1, [0.5, 0.9]) == -np.inf).all()
    np.testing.assert_allclose(lyapunov_spectrum("linear", 1.3, 0.0, x), np.log(1.69 * (1 - x)) / 2, atol=1e-12)
    np.testing.assert_allclose(lyapunov_spectrum("linear", 1.3, 0.0, x, weights="orthogonal"), np.log(1.3), atol=1e-10)
    # the hard tanh is a gate that is open with probability p: (p - x) again
    q = 1.7
    p = float(mpmath.erf(1 / mpmath.sqrt(2 * q)))
    np.testing.assert_allclose(lyapunov_spectrum("hard_tanh", 1.1, 0.1, x, q=q), np.log(1.21 * (p - x)) / 2, atol=1e-12)


def test_lyapunov_spectrum_against_exact_finite_width_and_simulation():
    width = 100
    x = (np.arange(width) + 0.5) / width
    difference = lyapunov_spectrum("linear", 2.0, 0.0, x) - gaussian_product_exponents(width, 2.0)
    # psi(m/2) = ln(m/2) - 1/m + ..., taken at the middle of the rank: a quarter of 1/m
    np.testing.assert_allclose(difference[:90], 0.25 / np.arange(width, 10, -1), rtol=0.15)
    # tanh at g = 3: feed-forward Jacobians with independent Gaussian pre-activations
    from gradjax.theory.meanfield import length_fixed_point

    std, depth = 3.0, 300
    q = length_fixed_point("tanh", std, 0.0)
    rng = np.random.default_rng(0)
    frame, logs = np.eye(width), np.zeros(width)
    for _ in range(depth):
        weights = rng.standard_normal((width, width)) * std / np.sqrt(width)
        slopes = 1 / np.cosh(np.sqrt(q) * rng.standard_normal(width)) ** 2
        frame, r = np.linalg.qr(slopes[:, None] * (weights @ frame))
        logs += np.log(np.abs(np.diag(r)))
    difference = logs / depth - lyapunov_spectrum("tanh", std, 0.0, x)
    # rms over the top 90 %; one direction fluctuates by about 0.5 / sqrt(depth) = 0.03, times the spread of ln phi'
    assert np.sqrt(np.mean(difference[:90] ** 2)) < 0.06


def test_the_first_exponent_is_half_the_log_gain():
    from gradjax.theory.meanfield import gradient_gain

    for name in ("tanh", "erf", "hard_tanh", "elu"):
        top = lyapunov_spectrum(name, 1.3, 0.2, [0.0, 1e-9])
        np.testing.assert_allclose(top, np.log(gradient_gain(name, 1.3, 0.2)) / 2, atol=1e-7)


@pytest.mark.parametrize("depth", [64, 1024])
def test_a_density_is_found_on_any_grid(depth):
    """An even grid, whose neighbours beside the lower end lead Newton astray, has mass 1 too."""
    q = isometric_point("tanh", depth, 0.25).q
    edge = largest_squared_singular_value("tanh", "orthogonal", depth, q)
    x = np.linspace(0.02, 1.02 * edge, 300)
    density = squared_singular_value_density("tanh", "orthogonal", depth, q, x)
    np.testing.assert_allclose(np.trapezoid(density.values, x), 1, rtol=2e-3)
