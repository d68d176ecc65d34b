"""Recurrent cells against Flax, closed forms, and their unrolled chain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import run, unroll
from gradjax.layers import at_each_step, dense, initial_state, over_time, recurrent

SIZE, FEATURES, TIME = 4, 3, 6


def inputs():
    return jax.random.normal(jax.random.key(7), (TIME, FEATURES))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(cell, name):
    """The last h by NumPy in float64, gate by gate, as the papers write it."""
    p = {k: np.asarray(v, np.float64) for k, v in cell.args[0].items()}
    h = c = np.zeros(SIZE)
    for u in np.asarray(inputs(), np.float64):
        pre = [h @ w + u @ v + b for w, v, b in zip(p["kernel"], p["input_kernel"], p["bias"], strict=True)]
        if name == "lstm":
            f, i, g, o = pre
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif name == "gru":
            z, r = sigmoid(pre[0]), sigmoid(pre[1])
            candidate = (r * h) @ p["kernel"][2] + u @ p["input_kernel"][2] + p["bias"][2]
            h = z * h + (1 - z) * np.tanh(candidate)
        else:
            h = pre[0] if name == "linear" else np.tanh(pre[0])
    return h


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "linear"])
def test_a_sequence_is_what_the_papers_write(name):
    cell = recurrent(1, name, SIZE, FEATURES, bias_init="normal")
    expected = by_hand(cell, name)
    np.testing.assert_allclose(over_time(cell)(inputs()), expected, rtol=0, atol=1e-6)
    every = over_time(cell, every=True)(inputs())
    assert every.shape == (TIME, SIZE)
    np.testing.assert_allclose(every[-1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_unrolled_it_is_the_same_network(name):
    cell = recurrent(2, name, SIZE, FEATURES)
    state = run([unroll(cell, inputs())], initial_state(cell))
    h = state[0] if name == "lstm" else state
    np.testing.assert_allclose(h, over_time(cell)(inputs()), rtol=0, atol=1e-6)


def test_the_lstm_is_that_of_flax(x64):
    """Flax keeps one kernel a gate too, named i, f, g, o by input ('i') and state ('h')."""
    nnx = pytest.importorskip("flax.nnx")
    theirs = nnx.OptimizedLSTMCell(FEATURES, SIZE, rngs=nnx.Rngs(0), param_dtype=jnp.float64, dtype=jnp.float64)
    wx, wh = np.asarray(theirs.dense_i.kernel[...]), np.asarray(theirs.dense_h.kernel[...])
    bias = np.asarray(theirs.dense_h.bias[...])
    order = (1, 0, 2, 3)  # theirs: i, f, g, o
    parameters = {
        "kernel": jnp.stack([wh[:, k * SIZE : (k + 1) * SIZE] for k in order]),
        "input_kernel": jnp.stack([wx[:, k * SIZE : (k + 1) * SIZE] for k in order]),
        "bias": jnp.stack([bias[k * SIZE : (k + 1) * SIZE] for k in order]),
    }
    ours = Partial(recurrent(0, "lstm", SIZE, FEATURES).func, parameters)
    carry, u = (jnp.zeros(SIZE), jnp.zeros(SIZE)), inputs().astype(jnp.float64)
    for step in u:
        carry, _ = theirs((carry[0], carry[1]), step)
    np.testing.assert_allclose(over_time(ours)(u), carry[1], rtol=0, atol=1e-12)


def test_every_gate_has_a_matrix_of_its_own(precision):
    cell = recurrent(3, "lstm", SIZE, FEATURES, kernel_init="orthogonal", dtype=jnp.dtype(precision))
    kernel, bias = (np.asarray(cell.args[0][name]) for name in ("kernel", "bias"))
    for gate in kernel:
        np.testing.assert_allclose(gate @ gate.T, np.eye(SIZE), atol=10 * np.finfo(precision).eps)
    assert np.abs(kernel[0] - kernel[1]).max() > 0.1
    assert bias[0].tolist() == [1.0] * SIZE and not bias[1:].any()
    assert not np.asarray(recurrent(3, "lstm", 4, 3, forget_bias=0.0).args[0]["bias"]).any()


def test_a_readout_acts_at_each_step():
    readout = dense(jax.random.key(0), SIZE, 2)
    states = jax.random.normal(jax.random.key(1), (TIME, SIZE))
    np.testing.assert_allclose(at_each_step(readout)(states), jnp.stack([readout(h) for h in states]), atol=1e-6)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="cell is 'elman', expected one of rnn, lstm, gru, linear"):
        recurrent(0, "elman", 2, 2)
    with pytest.raises(ValueError, match="size is 0"):
        recurrent(0, "rnn", 0, 2)
    with pytest.raises(ValueError, match=r"input_size is 1\.5"):
        recurrent(0, "rnn", 2, 1.5)
