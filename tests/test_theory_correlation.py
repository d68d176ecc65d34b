"""Correlations, depth scales, curvature and whole phase diagrams: kernels in closed form, tables, and each other."""

import time

import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.activations import ACTIVATIONS
from gradjax.theory.meanfield import (
    correlation_fixed_point,
    correlation_map,
    curvature_gain,
    curvature_map,
    depth_scales,
    gradient_gain,
    length_fixed_point,
    length_map,
    phase_diagram,
)
from gradjax.theory.meanfield.correlation import pair_moments
from gradjax.theory.quadrature import as_activation

CORRELATIONS = [-1.0, -0.5, 0.0, 0.03, 0.3, 0.9, 0.9999, 1 - 1e-9, 1.0]


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("c", CORRELATIONS)
def test_arc_cosine_kernel_of_relu(c):
    """Cho and Saul (2009): E relu relu = q (sin t + (pi - t) cos t) / (2 pi), E relu' relu' = (pi - t) / (2 pi)."""
    angle = np.arccos(c)
    pair = pair_moments(as_activation("relu"), 2.3, c)
    kernel = 2.3 * (np.sin(angle) + (np.pi - angle) * c) / (2 * np.pi)
    np.testing.assert_allclose(pair.product, kernel, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(pair.slope_product, (np.pi - angle) / (2 * np.pi), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize("q", [0.01, 3.0, 400.0])
def test_arc_sine_kernel_of_erf(c, q):
    """Williams (1997): E erf erf = (2/pi) arcsin(2 q c / (1 + 2q))."""
    pair = pair_moments(as_activation("erf"), q, c)
    np.testing.assert_allclose(pair.product, 2 / np.pi * np.arcsin(2 * q * c / (1 + 2 * q)), rtol=1e-11, atol=1e-14)
    slope = 4 / np.pi / np.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
    np.testing.assert_allclose(pair.slope_product, slope, rtol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_is_the_derivative_of_the_product(name):
    """d/dc E phi phi = q E phi' phi' (Price 1958), by central differences."""
    activation, q, c, step = ACTIVATIONS[name], 1.7, 0.6, 1e-4
    above, below = (pair_moments(activation, q, c + side * step).product for side in (1, -1))
    slope = (above - below) / (2 * step)
    # truncation: step^2 / 6 times the third derivative, which kinks make no larger than about 10
    np.testing.assert_allclose(q * pair_moments(activation, q, c).slope_product, slope, atol=2e-8)


@pytest.mark.parametrize(("q", "c"), [(12.6, 0.03), (0.5, 0.95), (4.0, -0.4)])
def test_tanh_against_the_trapezoid_rule(q, c):
    """A second route, exact to rounding for an analytic function: the plane by equal steps."""
    z = np.linspace(-9, 9, 1201)
    weights = np.exp(-(z**2) / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    u1, u2 = np.sqrt(q) * z[:, None], np.sqrt(q) * (c * z[:, None] + np.sqrt(1 - c**2) * z)
    pair = pair_moments(as_activation("tanh"), q, c)
    np.testing.assert_allclose(pair.product, weights @ (np.tanh(u1) * np.tanh(u2)) @ weights, rtol=1e-12)
    slopes = (1 - np.tanh(u1) ** 2) * (1 - np.tanh(u2) ** 2)
    np.testing.assert_allclose(pair.slope_product, weights @ slopes @ weights, rtol=1e-12)


@pytest.mark.parametrize(
    ("weight_std", "c", "slope"), [(1.3, 1, 0.93981), (2.5, 0.12210, 0.82223), (4.0, 0.02970, 0.75974)]
)
def test_tanh_at_bias_std_0_3(weight_std, c, slope):
    """The setting of Poole et al. (2016); the last row by the trapezoid rule on 6001 x 6001 points."""
    np.testing.assert_allclose(correlation_fixed_point("tanh", weight_std, 0.3), c, atol=6e-6)
    np.testing.assert_allclose(np.exp(-1 / depth_scales("tanh", weight_std, 0.3).correlation), slope, atol=6e-6)


@pytest.mark.parametrize(
    ("weight_variance", "q", "chi_1", "c", "xi_q", "xi_c"),
    [
        (1.0, 0.1936, 0.7590, 1, 1.75, 3.63),
        (1.3, 0.3153, 0.8802, 1, 1.79, 7.83),
        (1.5, 0.4180, 0.9386, 1, 1.68, 15.8),
        (1.7, 0.5331, 0.9867, 1, 1.56, 74.9),
        (1.8, 0.5941, 1.0082, 0.9504, 1.50, 125.8),
        (2.0, 0.7218, 1.0477, 0.7441, 1.39, 25.2),
        (2.5, 1.0640, 1.1335, 0.4468, 1.18, 11.8),
        (3.0, 1.4280, 1.2089, 0.2993, 1.04, 9.05),
        (4.0, 2.1955, 1.3424, 0.1651, 0.87, 6.98),
    ],
)
def test_tanh_at_bias_variance_0_05(weight_variance, q, chi_1, c, xi_q, xi_c):
    """Simulated independently for the setting of Schoenholz et al. (2017); rounded to the digits given."""
    point = "tanh", weight_variance**0.5, 0.05**0.5
    assert round(length_fixed_point(*point), 4) == q
    assert round(gradient_gain(*point), 4) == chi_1
    np.testing.assert_allclose(correlation_fixed_point(*point), c, atol=6e-5)
    scales = depth_scales(*point)
    assert round(scales.length, 2) == xi_q
    np.testing.assert_allclose(scales.correlation, xi_c, rtol=2e-3)
    np.testing.assert_allclose(scales.gradient, -1 / np.log(gradient_gain(*point)), rtol=1e-12)


def test_hard_tanh_length_scale_sees_the_kinks():
    """E[phi'^2 + phi phi''] by automatic differentiation gives xi_q = -7.66 here."""
    scales = depth_scales("hard_tanh", 1.5**0.5, 0.05**0.5)
    assert round(scales.length, 3) == 1.198
    q, step = length_fixed_point("hard_tanh", 1.5**0.5, 0.05**0.5), 1e-5
    above, below = (length_map("hard_tanh", 1.5**0.5, 0.05**0.5, q + side * step) for side in (1, -1))
    np.testing.assert_allclose(np.exp(-1 / scales.length), (above - below) / (2 * step), rtol=1e-8)


@pytest.mark.parametrize("name", ["tanh", "elu", *slow("hard_tanh", "erf", "selu")])
def test_iteration_arrives_at_the_fixed_point_at_the_predicted_rate(name):
    point = name, {"selu": 1.15, "elu": 1.4}.get(name, 1.9), 0.4
    q = length_fixed_point(*point)
    limit, scale = correlation_fixed_point(*point), depth_scales(*point).correlation
    errors, c = [], limit - 1e-3
    for _ in range(12):
        c = correlation_map(*point, c, q=q)[0]
        errors.append(limit - c)
    # convexity: the factor is below the slope at c*, by no more than c'' times the distance
    np.testing.assert_allclose(np.divide(errors[1:], errors[:-1]), np.exp(-1 / scale), rtol=2e-3)


@pytest.mark.parametrize("keep", [0.8, 0.99])
def test_dropout_makes_equal_inputs_drift_apart(keep):
    for weight_std in (0.9, 1.327):
        c = correlation_fixed_point("tanh", weight_std, 0.05**0.5, keep_probability=keep)
        assert c < 0.999
        value, slope = correlation_map("tanh", weight_std, 0.05**0.5, c, keep_probability=keep)
        np.testing.assert_allclose(value, c, atol=1e-12)
        assert 0 < slope < 1  # no critical point: the scale stays finite for every weight_std
        at_one = correlation_map("tanh", weight_std, 0.05**0.5, 1.0, keep_probability=keep)[0]
        q = length_fixed_point("tanh", weight_std, 0.05**0.5, keep_probability=keep)
        share = (q - 0.05) / q
        np.testing.assert_allclose(at_one, 1 - (1 - keep) * share, rtol=1e-12)


def test_maps_that_keep_every_correlation():
    with pytest.raises(ValueError, match="keeps every correlation"):
        correlation_fixed_point("linear", 0.7, 0.0)
    with pytest.raises(ValueError, match="keeps every correlation"):
        correlation_fixed_point("tanh", 0.7, 0.0)
    assert depth_scales("tanh", 0.7, 0.0).correlation == np.inf
    with pytest.raises(ValueError, match="no signal"):
        correlation_map("tanh", 0.0, 0.0, 0.5, q=1.0)
    with pytest.raises(ValueError, match=r"correlation( is |=)2"):
        correlation_map("tanh", 1.0, 0.1, 2)
    with pytest.raises(ValueError, match=r"q( is |=)-1"):
        correlation_map("tanh", 1.0, 0.1, 0.5, q=-1)


def test_relu_angles_follow_the_closed_recursion():
    """cos t' = (sin t + (pi - t) cos t) / pi at criticality: correlations converge to 1 without a finite scale."""
    point = "relu", 2**0.5, 0.0
    c, angle = 0.0, np.pi / 2
    for _ in range(30):
        c = correlation_map(*point, c)[0]
        angle = np.arccos((np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi)
    np.testing.assert_allclose(np.arccos(c), angle, rtol=1e-12)
    assert correlation_fixed_point(*point) == 1
    assert depth_scales(*point).correlation > 1e12


def test_curvature_recursion_and_its_fixed_point():
    point = "tanh", 2.5, 0.3
    chi_1, chi_2 = gradient_gain(*point), curvature_gain(*point)
    curvature = 1.0
    for _ in range(200):
        following, limit = curvature_map(*point, curvature)
        np.testing.assert_allclose(following, 3 * chi_2 / chi_1**2 + curvature / chi_1, rtol=1e-13)
        curvature = following
    np.testing.assert_allclose(curvature, limit, rtol=1e-12)
    assert curvature_map("tanh", 0.9, 0.3, 1.0)[1] == np.inf
    with pytest.raises(ValueError, match=r"curvature( is |=)-1"):
        curvature_map(*point, -1)


def test_curvature_of_a_simulated_circle():
    """Width 2000: velocity and acceleration of a great circle pushed through three tanh layers, averaged over it."""
    width, weight_std, bias_std = 2000, 2.5, 0.3
    q = length_fixed_point("tanh", weight_std, bias_std)
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    axes = np.linalg.qr(rng.standard_normal((width, 2)))[0] * np.sqrt(width * q)
    h = axes @ np.stack([np.cos(angles), np.sin(angles)])
    velocity, acceleration, predicted = axes @ np.stack([-np.sin(angles), np.cos(angles)]), -h, 1 / q
    for _ in range(3):
        phi = np.tanh(h)
        slope, bend = 1 - phi**2, -2 * phi * (1 - phi**2)
        weights = weight_std * rng.standard_normal((width, width)) / np.sqrt(width)
        acceleration = weights @ (bend * velocity**2 + slope * acceleration)
        velocity = weights @ (slope * velocity)
        h = weights @ phi + bias_std * rng.standard_normal((width, 1))
        predicted, _ = curvature_map("tanh", weight_std, bias_std, predicted)
        speed, pull = (velocity**2).sum(axis=0), (acceleration**2).sum(axis=0)
        curvature = (speed * pull - (velocity * acceleration).sum(axis=0) ** 2) / speed**3
        np.testing.assert_allclose(width * curvature.mean(), predicted, rtol=0.1)


OTHERS = slow("hard_tanh", "erf", "elu", "gelu", "sigmoid", "softplus")


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", *OTHERS])
def test_the_phase_diagram_is_the_single_points(name):
    weights, biases = np.array([0.3, 0.68, 1.1, 1.45, 2.6]), np.array([0.0, 0.1, 0.9])
    diagram = phase_diagram(name, weights, biases)
    seen = 0
    for i, weight_std in enumerate(weights):
        for j, bias_std in enumerate(biases):
            try:
                q = length_fixed_point(name, weight_std, bias_std)
            except ValueError:
                assert np.isnan(diagram.length[i, j])
                continue
            seen += 1
            np.testing.assert_allclose(diagram.length[i, j], q, rtol=1e-10, atol=1e-300)
            chi = gradient_gain(name, weight_std, bias_std)
            np.testing.assert_allclose(diagram.gain[i, j], chi, rtol=1e-10)
            if q:
                scales = depth_scales(name, weight_std, bias_std)
                np.testing.assert_allclose(diagram.length_scale[i, j], scales.length, rtol=1e-8)
                c = correlation_fixed_point(name, weight_std, bias_std)
                np.testing.assert_allclose(diagram.correlation[i, j], c, atol=2e-5)
                np.testing.assert_allclose(diagram.correlation_scale[i, j], scales.correlation, rtol=5e-3)
    assert seen >= 5


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "erf"])
def test_a_phase_diagram_of_ten_thousand_points_takes_seconds(name):
    weights, biases = np.linspace(0.2, 4, 100), np.linspace(0, 2, 100)
    phase_diagram(name, weights[:2], biases[:2])
    start = time.process_time()  # of all threads: on a machine that is shared the wall clock tells about the others
    diagram = phase_diagram(name, weights, biases)
    assert time.process_time() - start < 5
    assert np.isfinite(diagram.gain).all()
    # the phase boundary: chi_1 passes 1 exactly where c* leaves 1
    assert ((diagram.correlation == 1) == (diagram.gain <= 1)).all()


def test_phase_diagram_of_a_bounded_wave_and_bad_grids():
    diagram = phase_diagram(jnp.sin, [1.5], [0.1])
    np.testing.assert_allclose(diagram.length, length_fixed_point(jnp.sin, 1.5, 0.1), rtol=1e-10)
    assert np.isnan(phase_diagram("relu", [2**0.5], [0.5]).length).all()
    np.testing.assert_allclose(phase_diagram("relu", [2**0.5], [0.5]).gain, 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="weight_stds must be above 0"):
        phase_diagram("tanh", [0.0], [0.1])
    with pytest.raises(ValueError, match="bias_stds"):
        phase_diagram("tanh", [1.0], [])
