"""Gaussian averages: normalization, closed forms, kinks found where nobody declared them."""

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradjax.activations import ACTIVATIONS, Activation
from gradjax.theory.quadrature import as_activation, evaluate, gaussian_rule, partition, partition_for


def mean_of(activation, mean, std, order=0, power=1):
    activation = as_activation(activation)
    rule = gaussian_rule(partition_for(activation, 13 * std + abs(mean)).edges, mean, std)
    return float((evaluate(activation, rule.x, order) ** power) @ rule.weights)


@pytest.mark.parametrize("std", [1e-8, 1e-3, 1.0, 7.3, 1e4])
def test_moments_of_the_normal_law(std):
    rule = gaussian_rule(np.array([-0.3, 0.0, 2.0]), 0.0, std)
    for power, moment in ((0, 1), (2, 1), (4, 3), (6, 15), (8, 105)):
        np.testing.assert_allclose(rule.weights @ rule.z**power, moment, rtol=1e-13)
    np.testing.assert_allclose(rule.x, std * rule.z, rtol=1e-15)


def test_many_gaussians_at_once_are_those_one_by_one():
    means, stds = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 3.0])
    edges = np.array([-1.0, 0.0, 1.0])
    together = gaussian_rule(edges, means, stds)
    for index in range(3):
        alone = gaussian_rule(edges, means[index], stds[index])
        np.testing.assert_array_equal(together.x[index], alone.x)
        np.testing.assert_array_equal(together.weights[index], alone.weights)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(kink=st.floats(-40, 40), jump=st.floats(0.01, 3), std=st.floats(0.05, 20))
def test_an_undeclared_kink_anywhere_is_found(kink, jump, std):
    """E max(0, X - k) = std pdf(k/std) - k cdf(-k/std), and its slope's average is the probability beyond the kink."""
    activation = Activation(lambda x: jump * jnp.maximum(x - kink, 0.0))
    found = partition(activation, 64.0).kinks
    np.testing.assert_allclose(found, [kink], atol=1e-12 * max(1, abs(kink)))
    pdf, beyond = float(mpmath.npdf(kink / std)), float(mpmath.ncdf(-kink / std))
    # the location is known to 4e-13, which the density turns into that much of the slope's average
    np.testing.assert_allclose(mean_of(activation, 0.0, std), jump * (std * pdf - kink * beyond), atol=1e-12)
    np.testing.assert_allclose(mean_of(activation, 0.0, std, order=1), jump * beyond, atol=1e-12 * jump / min(1, std))


@pytest.mark.parametrize(
    ("activation", "kinks"),
    [
        (lambda x: jnp.clip(x, -1.7, 0.123), [-1.7, 0.123]),
        (lambda x: jnp.where(jnp.abs(x) < 2.5, x**2, 6.25), [-2.5, 2.5]),
        (lambda x: jnp.maximum(x, 0.5) ** 2, [0.5]),
        (lambda x: jnp.where(x > 1.002, (x - 1.002) ** 2, 0.0), [1.002]),  # a jump of phi'' alone, beside a root panel
        (jnp.sin, []),
        (lambda x: jnp.tanh(1e4 * x), []),
        (lambda x: jnp.exp(-(x**2)), []),
        (lambda x: x * (1 + jnp.tanh(x)), []),
    ],
)
def test_kinks_found(activation, kinks):
    np.testing.assert_allclose(partition(Activation(activation), 64.0).kinks, kinks, atol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_finder_agrees_with_the_declaration(name):
    undeclared = Activation(ACTIVATIONS[name].fn)
    np.testing.assert_allclose(partition(undeclared, 16.0).kinks, ACTIVATIONS[name].kinks, atol=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1e-3), (0.0, 1.0), (1.3, 0.7), (-2.0, 30.0)])
def test_closed_forms(mean, std):
    variance = std**2
    sine = np.sin(mean) * np.exp(-variance / 2)
    np.testing.assert_allclose(mean_of(jnp.sin, mean, std), sine, atol=1e-14)
    # E Phi-like: E erf(X) = erf(mean / sqrt(1 + 2 variance))
    np.testing.assert_allclose(
        mean_of("erf", mean, std), float(mpmath.erf(mean / np.sqrt(1 + 2 * variance))), atol=1e-14
    )
    bell = np.exp(-(mean**2) / (1 + 2 * variance)) / np.sqrt(1 + 2 * variance)
    np.testing.assert_allclose(mean_of(lambda x: jnp.exp(-(x**2)), mean, std), bell, atol=1e-14)


def test_a_sharp_smooth_function_keeps_its_digits():
    """tanh(1000 x) under a unit Gaussian against arbitrary precision: a fixed rule of 20 000 points loses these."""
    with mpmath.workdps(25):
        exact = mpmath.quad(lambda z: mpmath.sech(1000 * z) ** 4 * mpmath.npdf(z), [-0.1, -0.01, 0, 0.01, 0.1])
    ours = mean_of(lambda x: jnp.tanh(1000 * x), 0.0, 1.0, order=1, power=2) / 1e6
    np.testing.assert_allclose(ours, float(exact), rtol=1e-12)


def test_float64_inside_whatever_the_flag(precision):
    values = evaluate(as_activation("tanh"), np.array([1e-9, 0.5]))
    assert isinstance(values, np.ndarray)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, np.tanh([1e-9, 0.5]), rtol=1e-15)
    assert evaluate(as_activation("tanh"), np.zeros((0,))).shape == (0,)


def test_bad_activations_are_refused():
    with pytest.raises(ValueError, match="keeps shape and dtype"):
        evaluate(Activation(lambda x: jnp.stack([x, x])), np.zeros(3))
    with pytest.raises(ValueError, match="keeps shape and dtype"):
        evaluate(Activation(lambda x: x.astype("float32")), np.zeros(3))
    with pytest.raises(ValueError, match="not finite near x"):
        partition(Activation(jnp.log), 16.0)
    with pytest.raises(ValueError, match="too much structure"):
        partition(Activation(lambda x: jnp.sin(1e4 * x)), 16.0)
    with pytest.raises(ValueError, match="not known"):
        as_activation("swish")
    with pytest.raises(ValueError, match="hashable"):
        as_activation(type("Unhashable", (), {"__call__": lambda self, x: x, "__eq__": lambda self, other: True})())
