"""Dropout under its key, the linear recurrent unit and complex activations against closed forms."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradjax.chain import Coupled, Stack, layer_of, run, unroll
from gradjax.chain.stack import as_layers
from gradjax.jacobians import input_output_jacobian, layer_jacobians
from gradjax.layers import dropout, initial_state, over_time, redraw, state_space
from gradjax.layers.state_space import eigenvalues
from gradjax.spectra import jacobian_spectrum
from gradjax.training import predict

KEY = jax.random.key(4)


def test_dropout_is_zero_or_scaled_and_its_mean_is_what_came_in():
    """Share kept 1 − rate within five standard errors of a Bernoulli mean."""
    x, n, rate = jnp.full(20_000, 3.0), 20_000, 0.3
    y = np.asarray(dropout(KEY, rate)(x))
    assert set(np.round(np.unique(y), 5)) == {0.0, np.float32(round(3 / 0.7, 5))}
    assert abs((y > 0).mean() - 0.7) < 5 * (0.3 * 0.7 / n) ** 0.5
    assert (dropout(KEY, rate)(x) == y).all() and (dropout(5, rate)(x) != y).any()
    assert (dropout(KEY, 0.0)(x) == x).all()


def test_the_key_is_no_parameter_and_can_be_drawn_anew():
    stack = Stack(jax.vmap(lambda key: dropout(key, 0.5))(jax.random.split(KEY, 3)))
    assert layer_of(as_layers([stack])[0]).parameters == ()
    anew, x = redraw([stack, jnp.tanh, dropout(1, 0.5)], 9), jnp.ones(64)
    masks = [np.asarray(layer(x)) for layer in (stack, anew[0], dropout(1, 0.5), anew[2])]
    assert all((a != b).any() for i, a in enumerate(masks) for b in masks[:i])
    keys = jax.random.key_data(anew[0].layer.args[0].value)
    assert len(np.unique(keys, axis=0)) == 3
    assert run(anew, x).shape == x.shape


def test_examples_share_a_mask_or_have_their_own():
    x = jnp.ones((8, 32))
    shared, own = (predict([dropout(KEY, 0.5, each=each)], x) for each in (False, True))
    assert isinstance(dropout(KEY, 0.5, each=True), Coupled)
    assert (shared == shared[0][None]).all() and not (own == own[0][None]).all()


def by_hand(cell, inputs):
    """z_T = Σ λ^(T−t) γ B u_t, in complex NumPy."""
    p = {name: np.asarray(leaf, np.float64) for name, leaf in cell.args[0].items()}
    turn = np.exp(-np.exp(p["log_rate"]) + 1j * np.exp(p["log_frequency"]))
    into = np.exp(p["log_gain"]) * (p["input_kernel"][0] + 1j * p["input_kernel"][1])
    steps = len(inputs)
    return sum(turn ** (steps - 1 - t) * (np.asarray(u, np.float64) @ into) for t, u in enumerate(inputs))


def test_the_linear_recurrent_unit_is_its_sum(precision):
    dtype = jnp.dtype(precision)
    cell, inputs = state_space(3, 5, 2, dtype=dtype), jax.random.normal(KEY, (7, 2), dtype)
    expected, tolerance = by_hand(cell, inputs), 200 * float(jnp.finfo(dtype).eps)
    real, imaginary = np.asarray(over_time(cell)(inputs))
    np.testing.assert_allclose(real + 1j * imaginary, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(run([unroll(cell, inputs)], initial_state(cell)), [real, imaginary], atol=tolerance)


@pytest.mark.slow
def test_its_singular_values_through_time_are_the_powers_of_its_modes(x64):
    """The modes do not mix: ln σ after T steps is T ln |λ|, each twice, at any T."""
    cell, steps = state_space(1, 6, 2, radius=(0.5, 0.99), dtype=jnp.float64), 400
    spectrum = jacobian_spectrum([unroll(cell, jnp.zeros((steps, 2)))], initial_state(cell))
    sizes = np.log(np.hypot(*map(np.asarray, eigenvalues(cell.args[0]))))
    expected = steps * np.repeat(np.sort(sizes)[::-1], 2)
    np.testing.assert_allclose(np.asarray(spectrum.log_singular_values)[-1], expected, rtol=0, atol=1e-9)
    assert np.log(0.5) <= sizes.min() and sizes.max() <= np.log(0.99)


def test_the_gain_keeps_the_state_as_large_as_its_drive():
    """Under white inputs E |z|² = Σ |λ|^2t (1 − |λ|²) = 1 a mode; 4 modes times 400 runs, five standard errors."""

    def one(key):
        inside, outside = jax.random.split(key)
        cell = state_space(inside, 4, 8, radius=(0.8, 0.95))
        return jnp.sum(over_time(cell)(jax.random.normal(outside, (200, 8))) ** 2, axis=0)

    squares = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 400)))
    per_run = squares.mean(axis=1)
    assert abs(per_run.mean() - 1) < 5 * per_run.std(ddof=1) / 20


def test_a_holomorphic_layer_has_its_complex_singular_values_twice(x64):
    z = jnp.array([1 + 2j, -0.5 + 0.1j, 3j])
    w = jax.random.normal(KEY, (2, 3, 3), jnp.float64)
    w = jax.lax.complex(w[0], w[1])
    measured = np.linalg.svd(input_output_jacobian([lambda z: (z @ w) ** 2], z), compute_uv=False)
    expected = np.linalg.svd(jax.jacfwd(lambda z: (z @ w) ** 2, holomorphic=True)(z), compute_uv=False)
    np.testing.assert_allclose(measured, np.repeat(expected, 2), rtol=1e-12)


def test_a_layer_that_is_not_holomorphic_has_its_real_jacobian():
    """conj(x + iy) = x − iy; Re(x + iy) = x."""
    z = jnp.array([1 + 2j])
    conj, real = layer_jacobians([jnp.conj, jnp.real], z)
    assert conj.tolist() == [[1, 0], [0, -1]] and real.tolist() == [[1, 0]]


REFUSED = {
    "rate is 1.0, expected a number in [0, 1)": lambda: dropout(0, 1.0),
    "radius holds 1.0": lambda: state_space(0, 2, 2, radius=(0.5, 1.0)),
    "expected 0 < least <= greatest < 1": lambda: state_space(0, 2, 2, radius=(0.5, 0.4)),
    "size is 0": lambda: state_space(0, 0, 2),
    "largest_angle is 0.0": lambda: state_space(0, 1, 1, largest_angle=0.0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_bad_input_is_refused(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        REFUSED[words]()
