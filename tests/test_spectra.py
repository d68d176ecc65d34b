"""The spectrum with depth, and its leading values by products with J alone."""

from dataclasses import FrozenInstanceError

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Stack
from gradjax.jacobians import input_output_jacobian, layer_jacobians
from gradjax.networks import mlp
from gradjax.products import naive_log_singular_values
from gradjax.spectra import _default_depths, jacobian_spectrum, leading_log_singular_values


@pytest.mark.slow
def test_it_is_that_of_the_whole_jacobian_at_every_depth(x64):
    layers = mlp(0, [3, 5, 5, 5, 2], "tanh", "mean_field", dtype=jnp.float64)
    x = jnp.array([0.3, -1.0, 0.5])
    spectrum = jacobian_spectrum(layers, x)
    np.testing.assert_array_equal(spectrum.depths, [1, 2, 3, 4])
    np.testing.assert_array_equal(spectrum.count, [3, 3, 3, 2])
    [first, middle, last] = layer_jacobians(layers, x)
    product = np.eye(3)
    for row, factor in enumerate([first, *middle, last]):
        product = np.asarray(factor) @ product
        expected = np.log(np.linalg.svd(product, compute_uv=False))
        np.testing.assert_allclose(spectrum.log_singular_values[row, : len(expected)], expected, rtol=0, atol=1e-9)
        assert np.isnan(spectrum.log_singular_values[row, len(expected) :]).all()
    assert spectrum.dtype == "float64" and np.nanmax(spectrum.error) < 1e-9


def test_prescribed_values_far_below_rounding_are_seen(x64):
    """A rotation and a diagonal, again and again in the same directions: ln σ_i = 200 ln d_i, spread 1400 nats."""
    d = jnp.array([2.0, 1.0, 2.0**-9])
    q = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (3, 3)))[0]
    layers = [Stack(Partial(lambda a, h: a @ h, jnp.tile((q * d[None, :]) @ q.T, (200, 1, 1))))]
    spectrum = jacobian_spectrum(layers, jnp.ones(3), depths=[200])
    expected = 200 * np.log(np.asarray(d))
    truth_moves = 200 * 2.0**9 * 1e-15  # the factors are rounded, which moves the smallest of them most
    np.testing.assert_allclose(spectrum.log_singular_values[0], expected, rtol=0, atol=10 * truth_moves)
    naive = naive_log_singular_values(layer_jacobians(layers, jnp.ones(3))[0])
    assert abs(naive[-1] - expected[-1]) > 100


def test_rank_lost_through_dead_units_is_minus_infinity(x64):
    layers = [*mlp(0, [4, 4, 4], "relu", "mean_field", dtype=jnp.float64), lambda h: h * jnp.array([1.0, 0, 1, 1])]
    x = jnp.ones(4)
    dead = int(np.sum(~np.any(np.asarray(layer_jacobians(layers, x)[0]), axis=1))) + 0
    rank = np.linalg.matrix_rank(np.asarray(input_output_jacobian(layers, x)))
    [values] = jacobian_spectrum(layers, x, depths=[3]).log_singular_values
    assert isinstance(values, np.ndarray)  # outside of a trace NumPy's doubles, whatever the flag
    assert rank <= 4 - max(dead, 1)
    np.testing.assert_array_equal(np.isneginf(values), np.arange(4) >= rank)


@pytest.mark.slow
def test_a_batch_a_trace_and_a_default_choice_of_depths(x64):
    layers = mlp(0, [3] * 31, "tanh", "mean_field", dtype=jnp.float64, final_activation="tanh")
    x = jax.random.normal(jax.random.key(1), (2, 3))
    together = jacobian_spectrum(layers, x, batch_axis=0)
    assert together.log_singular_values.shape == (2, len(together.depths), 3)
    assert together.depths[0] == 1 and together.depths[-1] == 30 and len(together.depths) <= 16
    alone = jacobian_spectrum(layers, x[1])
    np.testing.assert_allclose(together.log_singular_values[1], alone.log_singular_values, rtol=0, atol=1e-9)
    traced = jax.jit(lambda x: jacobian_spectrum(layers, x, depths=[30]).log_singular_values)(x[1])
    np.testing.assert_allclose(traced[0], alone.log_singular_values[-1], rtol=0, atol=1e-9)


WIDENING = [lambda h: jnp.concatenate([2 * h, 0 * h]), lambda h: 8 * h, lambda h: h[:1]]  # of widths 2, 4, 4 and 1


def test_each_depth_has_as_many_values_as_its_narrower_end_in_the_network_s_own_dtype(precision):
    """Seen in a trace alone, which compiles nothing."""
    seen = []
    jax.eval_shape(lambda x: seen.append(jacobian_spectrum(WIDENING, x)), jnp.ones(2))
    [spectrum] = seen
    np.testing.assert_array_equal(spectrum.depths, [1, 2, 3])
    np.testing.assert_array_equal(spectrum.count, [2, 2, 1])
    assert spectrum.log_singular_values.shape == spectrum.error.shape == (3, 2)
    assert spectrum.dtype == spectrum.log_singular_values.dtype == precision
    assert len(jax.tree.leaves(spectrum)) == 4  # the dtype is none of them
    with pytest.raises(FrozenInstanceError):
        spectrum.dtype = "float16"


def test_every_depth_up_to_16_and_16_of_them_beyond():
    for total in (1, 5, 16):
        np.testing.assert_array_equal(_default_depths(total), range(1, total + 1))
    assert len(_default_depths(17)) < 16  # the first of them round to the same depth
    depths = _default_depths(10**15)
    np.testing.assert_array_equal(depths, [10**power for power in range(16)])


@pytest.mark.parametrize(
    ("activation", "kernel", "sizes"),
    [
        ("tanh", "mean_field", [6] * 10),
        pytest.param("linear", "orthogonal", [9] * 4, marks=pytest.mark.slow),
        pytest.param("relu", "he_normal", [12, 12, 2, 12], marks=pytest.mark.slow),
    ],
)
def test_the_leading_values_are_those_of_the_whole(activation, kernel, sizes, x64):
    layers, x = mlp(0, sizes, activation, kernel, dtype=jnp.float64), jnp.ones(sizes[0]) / 2
    expected = np.linalg.svd(np.asarray(input_output_jacobian(layers, x)), compute_uv=False)[:3]
    values = np.asarray(leading_log_singular_values(layers, x, 3))
    rank = min(3, *sizes)
    np.testing.assert_allclose(values[:rank], np.log(expected[:rank]), rtol=0, atol=1e-6)
    assert np.isneginf(values[rank:]).all()


@pytest.mark.slow
def test_the_leading_values_at_depth_10000_where_a_jvp_overflows(precision):
    gains = jnp.array([1.5, 0.5, 1.2, 1.0, 1.4])
    layers = [Stack(Partial(lambda w, h: w * (h - 1) + 1, jnp.tile(gains, (10_000, 1))))]
    assert not np.isfinite(jax.jvp(layers[0], (jnp.ones(5),), (jnp.ones(5),))[1]).all()
    values = leading_log_singular_values(layers, jnp.ones(5), 2)
    expected = 10_000 * np.log(np.array(gains[np.array([0, 4])], np.float64))
    np.testing.assert_allclose(values, expected, rtol=10_000**0.5 * np.finfo(precision).eps)


def test_what_is_refused():
    layers, x = [jnp.tanh], jnp.ones(3)
    for k, words in ((0, "a whole number >= 1"), (4, "1 <= k <= 3"), (1.5, "a whole number")):
        with pytest.raises(ValueError, match=f"k is {k}, expected {words}"):
            leading_log_singular_values(layers, x, k)
    with pytest.raises(ValueError, match="seed is -1"):
        leading_log_singular_values(layers, x, 1, key=-1)
    with pytest.raises(ValueError, match="depths"):
        jacobian_spectrum(layers, x, depths=[2])
    for function in (lambda *a: leading_log_singular_values(*a, 1), jacobian_spectrum):
        with pytest.raises(ValueError, match="layers is empty"):
            function([], x)
        with pytest.raises(ValueError, match="x holds"):
            function(layers, x * jnp.nan)
