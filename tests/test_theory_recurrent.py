"""Recurrent bounds, the wall of the one-unit network, and chaos: recorded values, simulation, limits."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from gradjax.theory.isometry import lyapunov_spectrum
from gradjax.theory.recurrent import (
    chaos,
    error_wall,
    fold_biases,
    gate_gain,
    log_gradient_bound,
    memory_sensitivity,
    recurrent_exponent,
    steepest_slope,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_steepest_slopes():
    """Closed forms, and GELU's at sqrt(2): Phi(sqrt 2) + sqrt 2 pdf(sqrt 2)."""
    gelu = float(mpmath.ncdf(mpmath.sqrt(2)) + mpmath.sqrt(2) * mpmath.npdf(mpmath.sqrt(2)))
    expected = {"tanh": 1, "sigmoid": 0.25, "erf": 2 / np.pi**0.5, "relu": 1, "gelu": gelu, "linear": 1}
    for name, slope in expected.items():
        np.testing.assert_allclose(steepest_slope(name), slope, rtol=1e-12, err_msg=name)


def test_the_steepest_slope_of_a_short_train_of_waves_far_out():
    """|d/dy e^(-256 y^2) sin(160 y)/160| <= e^(-256 y^2) sqrt(1 + (3.2 y)^2) <= 1, which it is at y = 0."""

    def waves(x):
        y = x - 9.515625
        return jnp.exp(-256 * y**2) * jnp.sin(160 * y) / 160

    np.testing.assert_allclose(steepest_slope(waves), 1, rtol=1e-12)


def test_the_bound_holds_for_a_simulated_network():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((30, 30)) / np.sqrt(30)
    x, jacobian = rng.standard_normal(30), np.eye(30)
    for step in range(1, 40):
        x = weights @ np.tanh(x)
        jacobian = weights @ ((1 / np.cosh(x) ** 2)[:, None] * jacobian)
        bound = log_gradient_bound("tanh", float(np.linalg.norm(weights, 2)), step)
        assert np.log(np.linalg.norm(jacobian, 2)) <= bound
    # singular values, not eigenvalues: this spectral radius is about half of the largest singular value
    assert np.log(np.linalg.norm(weights, 2)) > 0.5
    np.testing.assert_allclose(log_gradient_bound("sigmoid", 4.0, 50), 0, atol=1e-12)


def gradient_at(bias, weight=5.0, start=0.5, steps=50):
    """|gradient| by (w, b) of (sigmoid(x_steps) - 0.7)^2, forward mode by hand: Pascanu et al. (2013), figure 6."""
    x, dx = np.full_like(bias, start), np.zeros((2, len(bias)))
    for _ in range(steps):
        s = sigmoid(x)
        x, dx = weight * s + bias, weight * s * (1 - s) * dx + np.stack([s, np.ones_like(s)])
    s = sigmoid(x)
    return np.linalg.norm(2 * (s - 0.7) * s * (1 - s) * dx, axis=0)


def test_the_wall_stands_on_the_unstable_fixed_point():
    wall = error_wall("sigmoid", 5.0, 0.5)
    np.testing.assert_allclose(wall.bias, 0.5 - 5 * sigmoid(0.5), rtol=1e-13)
    np.testing.assert_allclose(wall.rate, 1.1750186, rtol=1e-7)
    peaks = []
    for steps in (50, 100):
        bias = wall.bias + np.linspace(-40, 40, 400_001) * wall.rate**-steps
        gradient = gradient_at(bias, steps=steps)
        peaks.append(gradient.max())
        assert abs(bias[gradient.argmax()] - wall.bias) < 40 * wall.rate**-steps
    np.testing.assert_allclose(peaks, [6773, 2.164e7], rtol=2e-3)
    np.testing.assert_allclose(peaks[1] / peaks[0], wall.rate**50, rtol=0.01)  # recorded: 3195 against 3178.6


def test_the_wall_is_not_the_fold():
    folds = fold_biases("sigmoid", 5.0)
    # w s (1 - s) = 1 in closed form
    s = (1 + np.array([1, -1]) * np.sqrt(1 - 4 / 5)) / 2
    np.testing.assert_allclose(folds, np.sort(np.log(s / (1 - s)) - 5 * s), atol=1e-10)
    assert np.abs(folds - error_wall("sigmoid", 5.0, 0.5).bias).min() > 0.04
    assert len(fold_biases("sigmoid", 3.99)) == 0  # the cusp is at w = 4, b = -2
    np.testing.assert_allclose(fold_biases("sigmoid", 4.0001), -2, atol=1e-3)
    with pytest.raises(ValueError, match="no wall"):
        error_wall("sigmoid", 4.25, 0.5)
    assert error_wall("sigmoid", 4.26, 0.5).rate > 1


@pytest.mark.parametrize(("gain", "exponent"), [(1.5, 0.0652), (2, 0.1547), (3, 0.3102), (5, 0.5324)])
def test_recorded_exponents_of_tanh(gain, exponent):
    assert round(recurrent_exponent("tanh", gain, 0.0), 4) == exponent


def test_a_simulated_recurrent_network():
    """N = 400, g = 3, 600 steps after 100: the measured exponent lies 0.008 below theory (recorded: .3020)."""
    rng = np.random.default_rng(0)
    n, g = 400, 3.0
    weights = g * rng.standard_normal((n, n)) / np.sqrt(n)
    x, u, logs = rng.standard_normal(n), rng.standard_normal(n), []
    for step in range(700):
        u = weights @ (u / np.cosh(x) ** 2)
        x = weights @ np.tanh(x)
        size = np.linalg.norm(u)
        u /= size
        if step >= 100:
            logs.append(np.log(size))
    assert -0.025 < np.mean(logs) - recurrent_exponent("tanh", g, 0.0) < 0.005


@pytest.mark.parametrize(
    ("gain", "positive", "entropy", "dimension"), [(3, 0.153, 0.0252, 0.288), (5, 0.133, 0.0391, 0.247)]
)
def test_recorded_chaos_of_tanh(gain, positive, entropy, dimension):
    found = chaos("tanh", gain, 0.0)
    # recorded to three digits from a discretized spectrum
    np.testing.assert_allclose(found, [positive, entropy, dimension], atol=0.0012)


def test_chaos_is_consistent_with_the_spectrum():
    """The spectrum vanishes at the positive fraction, its integrals are the entropy and zero."""
    found = chaos("erf", 2.5, 0.3)
    x = (np.arange(4000) + 0.5) / 4000
    spectrum = lyapunov_spectrum("erf", 2.5, 0.3, x)
    assert abs((spectrum > 0).mean() - found.positive_fraction) < 1e-3
    np.testing.assert_allclose(np.maximum(spectrum, 0).mean(), found.entropy_rate, rtol=1e-3)
    inside = x < found.attractor_dimension
    np.testing.assert_allclose(spectrum[inside].sum() / 4000, 0, atol=1e-3)


def test_chaos_of_a_gate_in_closed_form():
    """hard tanh: lambda = ln(g^2 (p - x)) / 2, so x+ = p - 1/g^2 and h = (p ln p g^2 ... ) by the integral of a log."""
    from gradjax.theory.meanfield import length_fixed_point

    gain = 1.5
    p = float(mpmath.erf(1 / mpmath.sqrt(2 * length_fixed_point("hard_tanh", gain, 0.0))))
    found = chaos("hard_tanh", gain, 0.0)
    np.testing.assert_allclose(found.positive_fraction, p - gain**-2, rtol=1e-9)
    ratio = p * gain**2
    np.testing.assert_allclose(found.entropy_rate, (ratio * np.log(ratio) - ratio + 1) / (2 * gain**2), rtol=1e-9)


def test_no_chaos_below_the_transition_and_bad_arguments():
    assert chaos("tanh", 0.9, 0.1) == (0, 0, 0)
    assert recurrent_exponent("tanh", 0.9, 0.1) < 0
    with pytest.raises(ValueError, match="largest_singular_value"):
        log_gradient_bound("tanh", 0.0, 3)
    with pytest.raises(ValueError, match=r"steps( is |=)-1"):
        log_gradient_bound("tanh", 1.0, -1)


def test_an_open_gate_keeps_the_gradient_and_a_closed_one_loses_it():
    gains = [gate_gain(1.0, bias, 0.5) for bias in (-4.0, 0.0, 2.0, 4.0, 8.0)]
    assert gains == sorted(gains) and gains[0] < 0.01 and 0.998 < gains[-1] < 1
    assert gate_gain(2.0, 1.0, 0.0) == pytest.approx(1 / (1 + np.exp(-1)) ** 2)  # no inputs: h = 0


def test_gates_and_memories_that_cannot_be():
    with pytest.raises(ValueError, match=r"weight_std( is |=)-1"):
        gate_gain(-1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"input_square( is |=)nan"):
        gate_gain(1.0, 0.0, float("nan"))
    with pytest.raises(ValueError, match=r"factor( is |=)1"):
        memory_sensitivity(1.0)
