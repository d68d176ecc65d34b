"""The smallest singular values, through the inverses of the layers, against closed forms and the whole spectrum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Stack
from gradjax.networks import mlp
from gradjax.products import log_singular_values
from gradjax.spectra import leading_log_singular_values, trailing_log_singular_values

DEPTH, WIDTH = 30, 12  # one size for all, since each is compiled anew
BOTH_ROUTES = pytest.mark.parametrize("formed", [True, False], ids=["formed", "by products"])


def linear(matrices):
    return [Stack(Partial(jnp.matmul, jnp.asarray(matrices)))]


def trailing(matrices, formed=True):
    return trailing_log_singular_values(linear(matrices), jnp.zeros(WIDTH, matrices.dtype), 2, formed=formed)


@pytest.mark.slow
@BOTH_ROUTES
def test_orthogonal_layers_times_scales_have_one_value(x64, formed):
    """The flattest spectrum there is, and scales whose product no float holds: ln σ_i = Σ ln c_l for all i."""
    scales = np.geomspace(1e-30, 1e3, DEPTH)
    frames = np.linalg.qr(np.random.default_rng(0).normal(size=(DEPTH, WIDTH, WIDTH)))[0]
    values = trailing(frames * scales[:, None, None], formed)
    np.testing.assert_allclose(values, np.log(scales).sum(), rtol=1e-14, atol=DEPTH * WIDTH * 2e-16)


def test_the_end_of_the_whole_spectrum(x64):
    """Gaussian layers, in whose product the smallest values have no digit."""
    factors = np.random.default_rng(1).normal(size=(DEPTH, WIDTH, WIDTH))
    whole = log_singular_values(factors)
    assert np.exp(-np.ptp(whole)) < 0.1 * np.finfo(float).eps
    np.testing.assert_allclose(trailing(factors), whole[-2:], rtol=0, atol=1e-8)


def test_conjugate_gradients_on_residual_layers(x64):
    """x + 0.1 W x, singular values within about 1 ± 0.2: a few dozen steps a layer, each accurate to the tolerance."""
    factors = np.eye(WIDTH) + 0.1 * np.random.default_rng(2).normal(size=(DEPTH, WIDTH, WIDTH)) / WIDTH**0.5
    np.testing.assert_allclose(trailing(factors, formed=False), log_singular_values(factors)[-2:], rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_saturated_unit_is_small_and_no_zero(x64):
    """A row of 1e-30, far below rounding beside the others of its layer, drowns them and is itself exact."""
    factors = np.random.default_rng(3).normal(size=(DEPTH, WIDTH, WIDTH))
    factors[9, 2] *= 1e-30
    values = trailing(factors)
    np.testing.assert_allclose(values[1], log_singular_values(factors)[-1], rtol=0, atol=1e-8)
    assert np.isnan(values[0])


@BOTH_ROUTES
def test_a_layer_without_inverse_is_named_and_is_nan_in_a_trace(x64, formed):
    regular = np.tile(2 * np.eye(WIDTH), (DEPTH, 1, 1))
    dead, rounded = regular.copy(), regular.copy()
    dead[7, 3] = 0.0
    rounded[7] = np.outer(*np.random.default_rng(4).normal(size=(2, WIDTH)))
    for factors in (dead, rounded):
        with pytest.raises(ValueError, match=r"layers\[7\]"):
            trailing(factors, formed)

    @jax.vmap
    def traced(factors):
        return trailing_log_singular_values(linear(factors), jnp.zeros(WIDTH), 2, passes=2, formed=formed)

    values = traced(jnp.stack([regular, dead]))
    np.testing.assert_allclose(values[0], DEPTH * np.log(2.0), rtol=1e-14)
    assert np.isnan(values[1]).all()


@pytest.mark.slow
def test_plain_layers_and_stacks_from_both_ends(x64):
    layers = [lambda h: h + 0.2 * jnp.sin(h), *mlp(0, [5] * 7, "tanh", "orthogonal", dtype=jnp.float64)]
    x = jnp.linspace(-1.0, 1.0, 5)
    ends = leading_log_singular_values(layers, x, 5), trailing_log_singular_values(layers, x, 5)
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_depth_10000_where_a_jvp_underflows(precision):
    gains = jnp.array([1.5, 0.5, 1.2, 1.0, 0.6])
    layers = [Stack(Partial(lambda w, h: w * (h - 1) + 1, jnp.tile(gains, (10_000, 1))))]
    assert jax.jvp(layers[0], (jnp.ones(5),), (jnp.ones(5),))[1][1] == 0
    values = trailing_log_singular_values(layers, jnp.ones(5), 2)
    expected = 10_000 * np.log(np.array(gains[np.array([4, 1])], np.float64))
    np.testing.assert_allclose(values, expected, rtol=10_000**0.5 * np.finfo(precision).eps)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"layers\[1\] maps 4 numbers to 2"):
        trailing_log_singular_values([jnp.tanh, lambda h: h[:2]], jnp.ones(4), 1)
    with pytest.raises(ValueError, match="expected 1 <= k <= 3"):
        trailing_log_singular_values([jnp.tanh], jnp.ones(3), 4)
    with pytest.raises(ValueError, match="layers is empty"):
        trailing_log_singular_values([], jnp.ones(3), 1)
