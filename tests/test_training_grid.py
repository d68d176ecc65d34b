"""A grid of trainings under vmap gives, step by step, what a Python loop over jitted steps gives each member."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.clipping import clip_by_global_norm
from gradjax.networks import mlp
from gradjax.training import cross_entropy, over_grid, predict, train

STEPS, RUNS = 20, 6


def test_vmapped_scan_and_loop_agree_over_twenty_steps(x64):
    """Seed, scale of the weights, threshold and learning rate differ; the losses agree to rounding at every step."""
    x = jax.random.normal(jax.random.key(1), (24, 8), jnp.float64)
    y = jax.random.randint(jax.random.key(2), (24,), 0, 4)
    seeds, scales = jnp.arange(RUNS), jnp.linspace(0.8, 1.5, RUNS)
    thresholds, rates = jnp.geomspace(0.1, 10, RUNS), jnp.geomspace(0.01, 0.1, RUNS)

    def start(seed, scale):
        layers = mlp(jax.random.key(seed), [8, *[16] * 19, 4], "relu", "he_normal", dtype=jnp.float64)
        return jax.tree.map(lambda leaf: scale * leaf, layers)

    def made(threshold, rate):
        return optax.chain(clip_by_global_norm(threshold), optax.sgd(rate, momentum=0.9))

    def one(seed, scale, threshold, rate):
        layers = start(seed, scale)
        return train(layers, cross_entropy, made(threshold, rate), (x, y), steps=STEPS).trace.loss

    @jax.jit
    def step(layers, state, threshold, rate):
        value, gradient = jax.value_and_grad(lambda layers: cross_entropy(predict(layers, x), y))(layers)
        update, state = made(threshold, rate).update(gradient, state)
        return optax.apply_updates(layers, update), state, value

    points = (seeds, scales, thresholds, rates)
    together = jax.jit(jax.vmap(one))(*points)
    in_chunks = jax.jit(lambda *points: over_grid(one, points, together=4))(*points)  # the last chunk is smaller
    np.testing.assert_allclose(in_chunks, together, rtol=1e-8)
    for run in range(RUNS):
        layers, losses = start(seeds[run], scales[run]), []
        state = made(thresholds[run], rates[run]).init(layers)
        for _ in range(STEPS):
            layers, state, value = step(layers, state, thresholds[run], rates[run])
            losses.append(float(value))
        assert max(losses) > 1.001 * min(losses)  # it moved
        np.testing.assert_allclose(together[run], losses, rtol=1e-8)  # rounding, grown by twenty steps of training


def test_a_grid_of_unequal_axes_is_refused():
    with pytest.raises(ValueError, match=r"leading axes of \['2', '3'\]"):
        over_grid(lambda a, b: a, (jnp.zeros(2), jnp.zeros(3)))
    with pytest.raises(ValueError, match="together is 0"):
        over_grid(lambda a: a, (jnp.zeros(2),), together=0)
