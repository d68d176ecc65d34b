"""Gains layer by layer: closed forms, the settled gain at the end, and a wide network on the way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.gradients import log_signal_norms
from gradjax.initializers import mean_field
from gradjax.networks import mlp
from gradjax.theory.meanfield import gains_by_layer, gradient_gain, length_fixed_point, length_map


@pytest.mark.parametrize(("name", "factor", "variance"), [("linear", 1.0, 2.0), ("relu", 0.5, 5.0)])
def test_homogeneous_activations_have_one_gain_at_any_length(name, factor, variance):
    gains = gains_by_layer(name, 4.0, 0.0, 1e6, 300)
    np.testing.assert_allclose(gains.gain, 16 * factor, rtol=1e-12)
    np.testing.assert_allclose(gains.variance, variance, rtol=1e-12)


def test_gains_follow_the_lengths_and_settle():
    gains = gains_by_layer("tanh", 1.8, 0.3, 2.0, 200)
    first = 1.8**2 * 2.0 + 0.3**2
    second = float(length_map("tanh", 1.8, 0.3, first))
    np.testing.assert_allclose(gains.gain[:2], [gradient_gain("tanh", 1.8, 0.3, q=q) for q in (first, second)])
    np.testing.assert_allclose(gains.gain[-1], gradient_gain("tanh", 1.8, 0.3), rtol=1e-9)
    settled = gains_by_layer("tanh", 1.8, 0.3, (length_fixed_point("tanh", 1.8, 0.3) - 0.09) / 1.8**2, 3)
    np.testing.assert_allclose(settled.gain, gains.gain[-1], rtol=1e-9)


def test_a_wide_network_follows_the_gains_within_their_variance():
    n, depth, seeds = 300, 6, 4
    gains = gains_by_layer("sigmoid", 2.0, 0.0, 1.0, depth)
    logs = []
    for seed in range(seeds):
        layers = mlp(seed, [n] * (depth + 1), "sigmoid", mean_field(2.0), final_activation="sigmoid")
        readout = jax.random.normal(jax.random.key(100 + seed), (n,)) / n**0.5
        logs.append(log_signal_norms(lambda h, u=readout: jnp.dot(u, h), layers, jnp.ones(n))[0])
    expected = np.log(gains.gain).sum() / 2
    variance = (gains.variance.sum() + 2) / (4 * n)  # the readout's own length adds 2
    assert abs(np.mean(logs) - expected) < variance + 4 * (variance / seeds) ** 0.5


@pytest.mark.parametrize(("square", "depth", "word"), [(-1.0, 3, "square"), (np.inf, 3, "square"), (1.0, 0, "depth")])
def test_what_cannot_be_is_refused(square, depth, word):
    with pytest.raises(ValueError, match=word):
        gains_by_layer("tanh", 1.0, 0.0, square, depth)
