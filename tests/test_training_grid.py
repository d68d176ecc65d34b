"""A grid of trainings under vmap gives, step by step, what a Python loop over jitted steps gives each member."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.clipping import CLIPPERS, one_of
from gradjax.networks import mlp
from gradjax.training import cross_entropy, over_grid, predict, train

STEPS, RUNS = 20, 6


@pytest.mark.slow
def test_vmapped_scan_and_loop_agree_over_twenty_steps(x64):
    """Seed, initializer, scale of the weights, clip, threshold and learning rate all differ; the losses agree to
    rounding at every step."""
    x = jax.random.normal(jax.random.key(1), (24, 8), jnp.float64)
    y = jax.random.randint(jax.random.key(2), (24,), 0, 4)
    seeds, kinds, scales = jnp.arange(RUNS), jnp.arange(RUNS) % 2, jnp.linspace(0.8, 1.5, RUNS)
    clips = jnp.arange(RUNS) % 3
    thresholds, rates = jnp.geomspace(0.1, 10, RUNS), jnp.geomspace(0.01, 0.1, RUNS)

    def start(seed, kind, scale):
        def drawn(name):
            return lambda: mlp(jax.random.key(seed), [8, *[16] * 19, 4], "relu", name, dtype=jnp.float64)

        return jax.tree.map(
            lambda leaf: scale * leaf, jax.lax.switch(kind, [drawn("he_normal"), drawn("mean_field_he")])
        )

    def made(clip, threshold, rate):
        clippers = [CLIPPERS[name](threshold) for name in ("global_norm", "value", "optax_global_norm")]
        return optax.chain(one_of(clippers, clip), optax.sgd(rate, momentum=0.9))

    def one(seed, kind, scale, clip, threshold, rate):
        layers = start(seed, kind, scale)
        return train(layers, cross_entropy, made(clip, threshold, rate), (x, y), steps=STEPS).trace.loss

    @jax.jit
    def step(layers, state, clip, threshold, rate):
        value, gradient = jax.value_and_grad(lambda layers: cross_entropy(predict(layers, x), y))(layers)
        update, state = made(clip, threshold, rate).update(gradient, state)
        return optax.apply_updates(layers, update), state, value

    points = (seeds, kinds, scales, clips, thresholds, rates)
    together = jax.jit(jax.vmap(one))(*points)
    in_chunks = jax.jit(lambda *points: over_grid(one, points, together=4))(*points)  # the last chunk is smaller
    np.testing.assert_allclose(in_chunks, together, rtol=1e-8)
    for run in range(RUNS):
        layers, losses = start(seeds[run], kinds[run], scales[run]), []
        state = made(int(clips[run]), thresholds[run], rates[run]).init(layers)
        for _ in range(STEPS):
            layers, state, value = step(layers, state, clips[run], thresholds[run], rates[run])
            losses.append(float(value))
        assert max(losses) > 1.001 * min(losses)  # it moved
        np.testing.assert_allclose(together[run], losses, rtol=1e-8)  # rounding, grown by twenty steps of training


def test_a_grid_of_unequal_axes_is_refused():
    with pytest.raises(ValueError, match=r"leading axes of \['2', '3'\]"):
        over_grid(lambda a, b: a, (jnp.zeros(2), jnp.zeros(3)))
    with pytest.raises(ValueError, match="together is 0"):
        over_grid(lambda a: a, (jnp.zeros(2),), together=0)
