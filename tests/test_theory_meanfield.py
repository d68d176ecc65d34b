"""Lengths and gradient gains against arbitrary precision, closed forms, and tables simulated independently."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mp

from gradjax.activations import ACTIVATIONS
from gradjax.theory.meanfield import (
    critical_weight_std,
    curvature_gain,
    gradient_gain,
    length_fixed_point,
    length_map,
)
from gradjax.theory.meanfield.moments import moments
from gradjax.theory.quadrature import evaluate

SELU_SCALE, SELU_ALPHA = mpmath.mpf("1.0507009873554805"), mpmath.mpf("1.6732632423543772")


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def piecewise(positive, negative):
    return lambda x: positive(x) if x > 0 else negative(x)


# name -> (phi, phi') in arbitrary precision, written down independently of JAX
EXACT = {
    "linear": (lambda x: x, lambda x: 1),
    "tanh": (mp.tanh, lambda x: mp.sech(x) ** 2),
    "erf": (mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-(x**2))),
    "scaled_erf": (lambda x: mp.erf(mp.sqrt(mp.pi) * x / 2), lambda x: mp.exp(-mp.pi * x**2 / 4)),
    "sigmoid": (logistic, lambda x: logistic(x) * logistic(-x)),
    "hard_tanh": (lambda x: max(-1, min(1, x)), lambda x: 1 if abs(x) < 1 else 0),
    "relu": (lambda x: max(x, 0), lambda x: 1 if x > 0 else 0),
    "leaky_relu": (piecewise(lambda x: x, lambda x: x * 0.01), piecewise(lambda x: 1, lambda x: 0.01)),
    "elu": (piecewise(lambda x: x, mp.expm1), piecewise(lambda x: 1, mp.exp)),
    "selu": (
        piecewise(lambda x: SELU_SCALE * x, lambda x: SELU_SCALE * SELU_ALPHA * mp.expm1(x)),
        piecewise(lambda x: SELU_SCALE, lambda x: SELU_SCALE * SELU_ALPHA * mp.exp(x)),
    ),
    "gelu": (lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x)),
    "silu": (lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x))),
    "softplus": (lambda x: mp.log1p(mp.exp(x)), logistic),
}


def exact_mean(function, q, kinks):
    with mp.workdps(20):
        std = mp.sqrt(q)
        cuts = sorted({-13, -6, -3, -1, 0, 1, 3, 6, 13} | {kink / std for kink in kinks if abs(kink) < 13 * std})
        return float(mp.quad(lambda z: function(std * z) * mp.npdf(z), cuts, maxdegree=7))


def test_every_activation_has_an_exact_reference():
    assert set(EXACT) == set(ACTIVATIONS)


BOUNDED = ("tanh", "erf", "scaled_erf", "sigmoid", "hard_tanh")


@pytest.mark.parametrize(
    ("name", "weight_std", "bias_std"),
    [(name, *point) for name in EXACT for point in [(0.9, 0.3), (0.5, 4.0)]] + [(name, 9.0, 0.1) for name in BOUNDED],
)
def test_fixed_point_and_gain_against_arbitrary_precision(name, weight_std, bias_std):
    phi, slope = EXACT[name]
    kinks = ACTIVATIONS[name].kinks
    q = length_fixed_point(name, weight_std, bias_std)
    image = weight_std**2 * exact_mean(lambda x: phi(x) ** 2, q, kinks) + bias_std**2
    gain = weight_std**2 * exact_mean(lambda x: slope(x) ** 2, q, kinks)
    # an error in q of 1e-11 moves the image apart by (1 - dq'/dq) of it, and the slope is below 0.9 in every case
    np.testing.assert_allclose(image, q, rtol=1e-12)
    np.testing.assert_allclose(np.log(gradient_gain(name, weight_std, bias_std)), np.log(gain), atol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_moments_against_sampling(name):
    """E phi^2, E phi'^2 and d E phi^2 / dq over 200 000 draws, within five standard errors."""
    activation, q, z = ACTIVATIONS[name], 1.9, np.random.default_rng(0).standard_normal(200_000)
    phi, slope = (evaluate(activation, np.sqrt(q) * z, order) for order in (0, 1))
    for exact, draws in zip(moments(activation, q), (phi**2, slope**2, z * phi * slope / np.sqrt(q)), strict=True):
        np.testing.assert_allclose(draws.mean(), exact, atol=5 * draws.std() / np.sqrt(draws.size) + 1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_wide_network_follows_mean_field(name):
    """Width 1500, depth 4: length and gradient of a network with its own forward pass."""
    activation, width, depth, weight_std, bias_std = ACTIVATIONS[name], 1500, 4, 1.1, 0.3
    rng = np.random.default_rng(1)
    h, q, layers, log_gain = rng.standard_normal(width), 1.0, [], 0.0
    for _ in range(depth):
        weights = weight_std * rng.standard_normal((width, width)) / np.sqrt(width)
        layers.append((weights, evaluate(activation, h, order=1)))
        h = weights @ evaluate(activation, h) + bias_std * rng.standard_normal(width)
        log_gain += np.log(gradient_gain(name, weight_std, bias_std, q=q))
        q = float(length_map(name, weight_std, bias_std, q))
    g = rng.standard_normal(width)
    start = g @ g
    for weights, slope in reversed(layers):
        g = slope * (weights.T @ g)
    # each layer adds a relative error of about sqrt(4 / width) to either, and passes on that of q
    tolerance = 4 * np.sqrt(4 * depth / width)
    np.testing.assert_allclose(np.log(np.mean(h**2)), np.log(q), atol=tolerance)
    np.testing.assert_allclose(np.log(g @ g / start), log_gain, atol=tolerance)


def test_the_same_numbers_in_both_precisions(precision):
    """Float64 inside whatever the flag: these digits are far below what float32 could give."""
    q = length_fixed_point("tanh", 2.5, 0.3)
    np.testing.assert_allclose(q, 6.25 * exact_mean(lambda x: mp.tanh(x) ** 2, q, ()) + 0.09, rtol=1e-13)
    np.testing.assert_allclose(gradient_gain("hard_tanh", critical_weight_std("hard_tanh", 1.0), 1.0), 1, rtol=1e-13)


@pytest.mark.parametrize("q", [1e-6, 0.02, 50.0, 1e4])
def test_relu_and_hard_tanh_at_any_length(q):
    np.testing.assert_allclose(length_map("relu", 1.5, 0.2, q), 1.125 * q + 0.04, rtol=1e-13)
    inside = mpmath.erf(1 / mp.sqrt(2 * q))
    np.testing.assert_allclose(gradient_gain("hard_tanh", 2.0, 0.1, q=q), float(4 * inside), rtol=1e-13)


@pytest.mark.parametrize("q", [1e-4, 0.5, 4.0, 300.0])
def test_erf_closed_form(q):
    """E erf(h)^2 = (2/pi) arcsin(2q / (1 + 2q)) (Williams 1997); E erf'^2 = (4/pi) / sqrt(1 + 4q)."""
    square = 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q))
    np.testing.assert_allclose(length_map("erf", 1.0, 0.0, q), square, rtol=1e-12)
    np.testing.assert_allclose(gradient_gain("erf", 1.0, 0.0, q=q), 4 / np.pi / np.sqrt(1 + 4 * q), rtol=1e-13)
    np.testing.assert_allclose(curvature_gain("erf", 1.0, 0.0, q=q), 16 / np.pi * q / (1 + 4 * q) ** 1.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("weight_std", "q", "chi_1", "chi_2"),
    [(1.3, 0.60705, 0.93981, 0.54347), (2.5, 4.07912, 1.58522, 1.19604), (4.0, 12.60415, 2.36726, 1.85718)],
)
def test_tanh_with_bias_std_0_3(weight_std, q, chi_1, chi_2):
    """Simulated with a 20 001-point rule for the setting of Poole et al. (2016)."""
    length = length_fixed_point("tanh", weight_std, 0.3)
    assert round(length, 5) == q
    assert round(gradient_gain("tanh", weight_std, 0.3), 5) == chi_1
    assert round(curvature_gain("tanh", weight_std, 0.3), 5) == chi_2


@pytest.mark.parametrize(
    ("variance", "q", "weight_variance"),
    [
        (1e-5, 0.02034, 1.03952),
        (2e-5, 0.02587, 1.04991),
        (1e-4, 0.04571, 1.08603),
        (1e-3, 0.10729, 1.18919),
        (0.01, 0.27330, 1.42421),
        (0.05, 0.57005, 1.76095),
        (0.1, 0.80580, 1.98607),
        (0.25, 1.31794, 2.40149),
        (0.5, 1.97103, 2.84317),
        (1, 3.03640, 3.44321),
    ],
)
def test_critical_line_of_tanh(variance, q, weight_variance):
    std = critical_weight_std("tanh", variance**0.5)
    np.testing.assert_allclose(std**2, weight_variance, atol=6e-6)
    np.testing.assert_allclose(length_fixed_point("tanh", std, variance**0.5), q, atol=6e-6)


@pytest.mark.parametrize("name", ["tanh", "erf", "scaled_erf", "sigmoid", "hard_tanh", "elu", "selu"])
@pytest.mark.parametrize("bias_std", [0.0, 0.05, 1.0])
def test_on_the_critical_line_the_gain_is_one(name, bias_std):
    np.testing.assert_allclose(gradient_gain(name, critical_weight_std(name, bias_std), bias_std), 1, rtol=1e-10)


def test_critical_weights_without_bias():
    expected = {"relu": 2**0.5, "linear": 1, "tanh": 1, "hard_tanh": 1, "erf": np.pi**0.5 / 2, "gelu": 2, "silu": 2}
    for name, std in expected.items():
        np.testing.assert_allclose(critical_weight_std(name, 0.0), std, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(critical_weight_std("leaky_relu", 0.0), (2 / (1 + 0.01**2)) ** 0.5, rtol=1e-12)


def test_selu_normalizes_the_length_but_not_the_gradient():
    np.testing.assert_allclose(length_fixed_point("selu", 1.0, 0.0), 1.0, rtol=1e-12)
    assert round(gradient_gain("selu", 1.0, 0.0), 4) == 1.0716


def test_second_derivatives_are_never_taken_across_a_kink():
    assert curvature_gain("hard_tanh", 1.0, 1.0) == curvature_gain("leaky_relu", 1.0, 1.0) == np.inf
    assert curvature_gain(lambda x: jnp.maximum(x - 0.3, 0.0), 1.0, 1.0, q=1.0) == np.inf
    # elu: phi' is continuous, phi'' = exp(x) for x < 0: E = exp(2q) Phi(-2 sqrt(q))
    exact = float(mp.exp(2) * mp.ncdf(-2))
    np.testing.assert_allclose(curvature_gain("elu", 1.0, 0.0, q=1.0), exact, rtol=1e-12)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"weight_std( is |=)-1"):
        length_fixed_point("tanh", -1, 0.0)
    with pytest.raises(ValueError, match=r"bias_std( is |=)nan"):
        gradient_gain("tanh", 1.0, float("nan"))
    with pytest.raises(ValueError, match=r"keep_probability( is |=)0"):
        gradient_gain("tanh", 1.0, 0.1, keep_probability=0.0)
    with pytest.raises(ValueError, match="q holds -1"):
        length_map("tanh", 1.0, 0.1, -1.0)
    with pytest.raises(ValueError, match=r"q( is |=)-2"):
        gradient_gain("tanh", 1.0, 0.1, q=-2)
    with pytest.raises(ValueError, match=r"activation( is |=)'swish'"):
        length_fixed_point("swish", 1.0, 0.1)
