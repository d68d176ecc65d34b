"""What a clip does, counted, and many clips in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradjax.clipping import CLIPPERS, by_layer, clip_by_global_norm, cosine, observe, one_of


def gradient(scale=1.0, dtype=jnp.float32):
    return {"w": jnp.asarray([[3.0, 0.0], [0.0, 4.0]], dtype) * scale, "b": jnp.zeros(2, dtype)}


def test_the_cosine_is_exact_where_squares_over_and_underflow(precision):
    for a, b in ((1.0, 1.0), (1e30, 1e-30), (1e-30, 1e-30)):
        one = {"w": jnp.array([3.0 * a, 4.0 * a])}
        other = {"w": jnp.array([4.0 * b, 3.0 * b])}
        np.testing.assert_allclose(cosine(one, other), 0.96, rtol=8 * np.finfo(precision).eps)
    assert np.isnan(cosine(gradient(0.0), gradient()))
    assert np.isnan(cosine(gradient(jnp.inf), gradient()))


def test_a_watched_clip_gives_the_same_updates_and_counts_what_it_does():
    watched, plain = observe(clip_by_global_norm(10.0)), clip_by_global_norm(10.0)
    state, bare = watched.init(gradient()), plain.init(gradient())
    for scale in (1.0, 4.0, 1e20, 0.0):
        update, state = watched.update(gradient(scale), state, gradient())
        expected, bare = plain.update(gradient(scale), bare)
        assert all((a == b).all() for a, b in zip(jax.tree.leaves(update), jax.tree.leaves(expected), strict=True))
    assert (state.steps, state.changed, state.directions, state.zeroed) == (4, 2, 3, 0)
    assert state.first_zeroed == -1 and state.fraction_changed == 0.5
    np.testing.assert_allclose(state.mean_cosine, 1, rtol=1e-6)


def test_the_step_from_which_the_stock_clip_returns_zeros_is_named():
    """5e19 squared is beyond float32: zeros at steps 1 and 3; a zero or infinite gradient is none of its making."""
    watched = observe(optax.clip_by_global_norm(1.0))
    state = watched.init(gradient())
    for scale in (1.0, 1e19, 0.0, 1e19, jnp.inf):
        _, state = watched.update(gradient(scale), state, gradient())
    assert (state.zeroed, state.first_zeroed) == (2, 1)


def test_the_chosen_one_acts_and_the_others_wait():
    names = ("none", "global_norm", "value", "percentile")
    clips = [CLIPPERS[name](0.5) for name in names]

    @jax.jit
    def update(index, g):
        chosen = one_of(clips, index)
        return chosen.update(g, chosen.init(g), g)

    for index, clip in enumerate(clips):
        result, states = update(index, gradient())
        expected, state = clip.update(gradient(), clip.init(gradient()))
        for a, b in zip(jax.tree.leaves((result, states[index])), jax.tree.leaves((expected, state)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
        others = [s for i, s in enumerate(states) if i != index]
        starts = [c.init(gradient()) for i, c in enumerate(clips) if i != index]
        for a, b in zip(jax.tree.leaves(others), jax.tree.leaves(starts), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="transformations is empty"):
        one_of([], 0)


@pytest.mark.parametrize("name", ["block_rms", "unit_norm", "adaptive", "trust_ratio"])
def test_a_stacked_leaf_is_clipped_layer_by_layer(name):
    """Three layers in one leaf give what three leaves give."""
    g = jax.random.normal(jax.random.key(0), (3, 4, 5)) * jnp.array([1e-3, 1.0, 1e3])[:, None, None]
    p = jax.random.normal(jax.random.key(1), (3, 4, 5))
    clip = CLIPPERS[name](0.1)
    stacked = by_layer(clip, lambda leaf: leaf.ndim == 3)
    together, _ = stacked.update([g, g[0]], stacked.init([p, p[0]]), [p, p[0]])
    apart, _ = clip.update(list(g), clip.init(list(p)), list(p))
    np.testing.assert_allclose(together[0], jnp.stack(apart), rtol=1e-5)
    np.testing.assert_allclose(together[1], apart[0], rtol=1e-5)
