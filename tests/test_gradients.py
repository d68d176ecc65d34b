"""Gradients by layer: closed forms at depth 10 000, what a broken forward pass says, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Constant, Coupled, Stack, unroll
from gradjax.gradients import layer_gradients, log_gradient_norms, log_signal_norms
from gradjax.networks import mlp

DEPTH = 10_000


def around_one(gain, depth=DEPTH):
    """Layers h ↦ w (h − 1) + 1 + b: 1 stays 1, so the forward pass is exact whatever the gain."""

    def apply(p, h):
        return p["w"] * (h - 1) + 1 + p["b"]

    parameters = {"w": jnp.full((depth, 2), gain), "b": jnp.zeros((depth, 2))}
    return [Stack(Partial(apply, parameters))], jnp.ones(2)


def ulps(values, dtype, count=2):
    """A few units in the last place of the largest log: all that is left to lose."""
    return count * np.finfo(dtype).eps * np.max(np.abs(values))


@pytest.mark.parametrize("gain", [1.5, 0.5, 1.0])
def test_norms_far_outside_the_floats_agree_with_the_closed_form(gain, precision):
    layers, x = around_one(gain)
    loss = Partial(lambda c, y: jnp.sum(c * y), jnp.array([3.0, 4.0]))
    expected = np.log(5) + np.arange(DEPTH, -1, -1) * np.log(gain)  # |d loss / d h_l| = 5 gain^(L − l)
    signals = np.asarray(log_signal_norms(loss, layers, x), np.float64)
    np.testing.assert_allclose(signals, expected, rtol=0, atol=ulps(expected, precision))
    norms = np.asarray(log_gradient_norms(loss, layers, x), np.float64)  # d/dw = signal · (h − 1) = 0, d/db = signal
    np.testing.assert_allclose(norms, expected[1:], rtol=0, atol=ulps(expected, precision))


def test_they_are_the_logs_of_jax_grad_where_that_has_numbers(x64):
    layers, x = around_one(1.25, depth=100)
    plain = layer_gradients(jnp.sum, layers, x)[0].layer.args[0]
    rows = np.concatenate([plain["w"], plain["b"]], axis=1)
    np.testing.assert_allclose(log_gradient_norms(jnp.sum, layers, x), np.log(np.linalg.norm(rows, axis=1)), rtol=1e-13)


def test_a_dead_network_gives_minus_infinity(precision):
    layers = [Partial(lambda w, h: jax.nn.relu(h - w), jnp.full(3, 9.0)), Partial(jnp.multiply, jnp.ones(3))]
    np.testing.assert_array_equal(log_gradient_norms(jnp.sum, layers, jnp.ones(3)), [-np.inf, -np.inf])
    signals = np.asarray(log_signal_norms(jnp.sum, layers, jnp.ones(3)))
    assert np.isneginf(signals[0]) and np.isfinite(signals[1:]).all()


def test_a_layer_that_cancels_its_input_is_not_called_an_underflow(precision):
    layers = [lambda h: h - 2.0, Partial(lambda b, h: h + b, jnp.ones(2))]
    np.testing.assert_allclose(log_gradient_norms(jnp.sum, layers, jnp.full(2, 2.0))[1], np.log(2) / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("gain", "bits"), [(0.5, {"float32": 126, "float64": 1022}), (2.0, {"float32": 128, "float64": 1024})]
)
def test_a_forward_pass_that_leaves_the_floats_names_the_layer(gain, bits, precision):
    layers = [Stack(Partial(jnp.multiply, jnp.full((2000, 2), gain)))]
    first = bits[precision] if gain < 1 else bits[precision] - 1  # 1 · gain^(l + 1) leaves the normal floats at layer l
    with pytest.raises(ValueError, match=rf"layers\[{first}\] over- or underflows in the forward pass"):
        log_gradient_norms(jnp.sum, layers, jnp.ones(2))


def test_inside_a_trace_it_is_a_nan_never_a_number():
    layers = [Stack(Partial(jnp.multiply, jnp.full((200, 2), 0.5)))]
    assert np.isnan(jax.jit(lambda x: log_gradient_norms(jnp.sum, layers, x))(jnp.ones(2))).all()


def test_a_nan_layer_is_named_by_its_index():
    kernels = jnp.ones((9, 2, 2)).at[6].set(jnp.nan)
    layers = [jnp.tanh, Stack(Partial(lambda w, h: jnp.tanh(h @ w), kernels))]
    for function in (log_gradient_norms, log_signal_norms, layer_gradients):
        with pytest.raises(ValueError, match=r"layers\[7\].*its parameters hold a NaN"):
            function(jnp.sum, layers, jnp.ones(2))


def test_an_infinite_derivative_at_a_finite_activation_is_named():
    with pytest.raises(ValueError, match=r"layers\[1\] has a NaN or infinite derivative"):
        log_signal_norms(jnp.sum, [lambda h: h * 0, jnp.sqrt], jnp.ones(2))


def test_a_plain_gradient_that_overflows_points_to_the_log_route():
    layers, x = around_one(2.0, depth=300)
    with pytest.raises(ValueError, match=r"layers\[\d+\] gets a gradient that overflows.*log_gradient_norms"):
        layer_gradients(jnp.sum, layers, x)


def test_the_sum_over_steps_is_the_tied_gradient(x64):
    w, inputs = jax.random.normal(jax.random.key(0), (3, 3)), jax.random.normal(jax.random.key(1), (7, 3))

    def cell(w, h, u):
        return jnp.tanh(w @ h + u)

    def by_hand(w):
        h = jnp.ones(3)
        for u in inputs:
            h = cell(w, h, u)
        return jnp.sum(h**2)

    [steps] = layer_gradients(lambda h: jnp.sum(h**2), [unroll(Partial(cell, w), inputs)], jnp.ones(3))
    assert steps.layer.args[0].args[0].shape == (7, 3, 3)
    np.testing.assert_allclose(steps.layer.args[0].args[0].sum(axis=0), jax.grad(by_hand)(w), rtol=1e-12)
    assert jax.tree.leaves(steps.layer.args[1]) == []  # the inputs are constants


def test_of_a_batch_it_is_the_batch_gradient(precision):
    layers = mlp(0, [4, 5, 5, 2], "tanh", dtype=jnp.dtype(precision))
    x = jax.random.normal(jax.random.key(1), (6, 4), jnp.dtype(precision))
    together = layer_gradients(lambda y: jnp.mean(y**2), layers, x, batch_axis=0)
    one_by_one = [layer_gradients(lambda y: jnp.mean(y**2), layers, row) for row in x]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *one_by_one)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=20 * np.finfo(precision).eps), together, mean)
    norms = log_gradient_norms(lambda y: jnp.mean(y**2), layers, x, batch_axis=0)
    np.testing.assert_allclose(
        norms[0], np.log(np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(mean[0])))), rtol=1e-4
    )


def test_a_layer_that_couples_the_batch_is_not_mapped(x64):
    centre = Coupled(lambda h: h - h.mean(axis=0, keepdims=True))
    x = jax.random.normal(jax.random.key(1), (6, 4))
    signals = log_signal_norms(lambda y: jnp.sum(y[0]), [centre], x, batch_axis=0)
    # one output row of I − 1/6: norm² per column (5/6)² + 5/36 = 5/6
    np.testing.assert_allclose(signals[0] - signals[1], np.log(5 / 6) / 2, rtol=1e-12)


def test_token_ids_may_enter_the_first_layer(precision):
    table = jax.random.normal(jax.random.key(0), (10, 3), jnp.dtype(precision))
    layers = [Partial(lambda table, ids: table[ids], table), jnp.tanh]
    assert log_gradient_norms(jnp.sum, layers, jnp.array([1, 2])).shape == (2,)
    assert log_signal_norms(jnp.sum, layers, jnp.array([1, 2])).shape == (2,)
    [gradient, _] = layer_gradients(jnp.sum, layers, jnp.array([1, 1]))
    np.testing.assert_allclose(gradient.args[0][1], 2 * (1 - jnp.tanh(table[1]) ** 2), rtol=1e-5)


def test_the_log_norm_is_differentiable(x64):
    def signal(s):
        return log_signal_norms(jnp.sum, [Partial(jnp.multiply, s * jnp.ones(2))], jnp.ones(2))[0]

    np.testing.assert_allclose(jax.grad(signal)(3.0), 1 / 3, rtol=1e-12)


@pytest.mark.parametrize("function", [layer_gradients, log_gradient_norms, log_signal_norms])
def test_what_is_refused(function):
    good, x = [jnp.tanh], jnp.ones(2)
    for loss, layers, bad_x, message in [
        (jnp.sum, [], x, "layers is empty"),
        (jnp.sum, good, jnp.array([1.0, jnp.nan]), "x holds 1 NaN"),
        (jnp.sum, good, jnp.ones((0, 2)), "no empty axis"),
        (jnp.sum, good, "word", "x holds a str"),
        (jnp.sum, [jnp.tanh, Partial(jnp.matmul, jnp.eye(3))], x, r"layers\[1\] does not accept .*float32\[2\]"),
        (jnp.tanh, good, x, "expected one real scalar"),
        (3, good, x, "loss is 3, expected a callable"),
        (lambda y: jnp.sum(y) * jnp.nan, good, x, "the loss"),
        (jnp.sum, jnp.tanh, x, "expected a sequence"),
        (jnp.sum, [jnp.tanh, 7], x, r"layers\[1\] is an int"),
        (jnp.sum, [lambda h: h.astype(int)], x, r"layers\[0\] returns int32\[2\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(loss, layers, bad_x)
    with pytest.raises(ValueError, match="batch_axis is 1"):
        function(jnp.sum, good, x, batch_axis=1)


def test_constants_have_no_gradient():
    layer = Partial(lambda w, c, h: w * h + c.value, jnp.ones(2), Constant(jnp.ones(2)))
    [gradient] = layer_gradients(jnp.sum, [layer], jnp.ones(2))
    assert gradient.args[0].tolist() == [1.0, 1.0] and gradient.args[1].value is None
