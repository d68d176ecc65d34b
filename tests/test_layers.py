"""Layers against their closed forms; what holds for any layer stands in test_common.py."""

import re
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial

from gradjax.chain import Coupled, Stack, as_layers, layer_of
from gradjax.jacobians import input_output_jacobian
from gradjax.layers import (
    BLOCKS,
    batch_norm,
    block,
    close_heads,
    compose,
    dense,
    gated,
    layer_norm,
    open_heads,
    residual,
    rms_norm,
    supervised,
)
from gradjax.layers.composition import couples
from gradjax.networks import deep
from gradjax.training import cross_entropy, predict, train

KEY = jax.random.key(5)


def vector(n=7, dtype="float32"):
    return jax.random.normal(KEY, (n,), dtype)


def close(a, b, precision):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=100 * float(jnp.finfo(precision).eps))


def test_a_skip_adds_the_identity_to_the_jacobian(precision):
    branch, x = dense(KEY, 7, 7, "tanh", dtype=jnp.dtype(precision)), vector(dtype=precision)
    close(residual(branch, 0.3)(x), x + 0.3 * branch(x), precision)
    around = input_output_jacobian([residual(branch, 0.3)], x)
    close(around, np.eye(7) + 0.3 * np.asarray(input_output_jacobian([branch], x)), precision)


def test_a_scale_is_a_parameter_only_where_it_is_learnt():
    def parameters(**options):
        return layer_of(as_layers([residual(jnp.tanh, **options)])[0]).parameters

    assert parameters(scale=0.5) == ()
    assert [float(p) for p in parameters(scale=0.5, learned=True)] == [0.5]


def test_scales_can_be_mapped_over_and_drawn_for_each_depth(x64):
    def network(a):
        return residual(Partial(jnp.multiply, jnp.ones(2, jnp.float32)), a)

    x = jnp.ones(2, jnp.float32)
    close(jax.vmap(lambda a: network(a)(x)[0])(jnp.array([0.0, 2.0])), [1, 3], "float32")
    stack = Stack(jax.vmap(lambda _: network(1.0))(jnp.arange(5)))  # float32 layers in a float64 world
    assert stack(x).dtype == jnp.float32 and float(stack(x)[0]) == 32


def test_gates_far_open_or_shut_give_the_branch_or_the_input(precision):
    x, dtype = vector(dtype=precision), jnp.dtype(precision)
    for bias, expected in ((50.0, jnp.tanh(x)), (-50.0, x)):
        close(gated(KEY, 7, jnp.tanh, gate_bias=bias, dtype=dtype)(x), expected, precision)


def test_the_normalizations_are_those_of_flax():
    batch, rngs = jax.random.normal(KEY, (9, 7)) * 3 + 1, nnx.Rngs(0)
    for ours, theirs in (
        (layer_norm, nnx.LayerNorm(7, rngs=rngs, epsilon=1e-3)),
        (rms_norm, nnx.RMSNorm(7, rngs=rngs, epsilon=1e-3)),
        (batch_norm, nnx.BatchNorm(7, rngs=rngs, epsilon=1e-3)),
    ):
        close(ours(7, epsilon=1e-3)(batch), theirs(batch), "float32")


def test_the_jacobian_of_layer_norm_projects_out_the_mean_and_the_input(x64):
    x = vector(dtype="float64")
    deviation, n = x - x.mean(), len(x)
    y = deviation / jnp.sqrt(jnp.mean(deviation**2) + 1e-5)
    expected = (np.eye(n) - 1 / n - np.outer(y, y) / n) / np.sqrt(np.mean(deviation**2) + 1e-5)
    close(input_output_jacobian([layer_norm(n, affine=False)], x), expected, "float64")


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e30])
def test_size_is_taken_out_also_where_squares_overflow(size):
    x = vector(64) * size
    for norm in (layer_norm(64, epsilon=1e-20), rms_norm(64, epsilon=1e-20)):
        close(norm(x), norm(vector(64)), "float32")
        slopes = input_output_jacobian([norm], x) * size
        close(slopes, input_output_jacobian([norm], vector(64)), "float32")


def test_a_constant_activation_and_sixteen_bits_stay_finite():
    assert (layer_norm(4)(jnp.full(4, 3.0)) == 0).all()
    assert not jnp.isnan(input_output_jacobian([layer_norm(4)], jnp.full(4, 3.0))).any()
    y = rms_norm(4, dtype=jnp.float16)(jnp.full(4, 1000.0, jnp.float16))  # its square is above the largest float16
    assert y.dtype == jnp.float16 and (y == 1).all()


def test_what_couples_the_examples_makes_everything_around_it_couple_them():
    inner = block(KEY, 3, "batch_norm")
    for layer in (inner, residual(inner), gated(KEY, 3, inner), compose([inner, jnp.tanh])):
        assert isinstance(layer, Coupled) and couples(layer)
    assert couples(Stack(jax.vmap(lambda key: block(key, 3, "batch_norm"))(jax.random.split(KEY, 2))))
    assert not couples(compose([jnp.tanh, jnp.sin])) and not couples(jnp.tanh)


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_trains_in_a_stack(kind):
    layers = deep(0, (4, 8, 3), 5, kind, "relu", "he_normal")
    x, y = jax.random.normal(KEY, (24, 4)), jnp.arange(24) % 3
    trace = jax.jit(lambda layers: train(layers, cross_entropy, optax.sgd(0.1, 0.9), (x, y), steps=20).trace)(layers)
    assert trace.log_gradient_norms.shape == (20, 5) and trace.loss[-1] < 0.9 * trace.loss[0]


@pytest.mark.parametrize("kind", ["plain", "batch_norm"])
def test_every_head_says_what_it_says_of_its_own_layer(kind, precision):
    dtype, keys = jnp.dtype(precision), jax.random.split(KEY, 5)
    layers = [block(key, 6, kind, dtype=dtype) for key in keys[:2]]
    heads = [dense(key, 6, 2, dtype=dtype) for key in keys[2:]]
    parts = [supervised(layer, head) for layer, head in zip(layers, heads[:2], strict=True)]
    assert [couples(part) for part in parts] == [kind == "batch_norm"] * 2
    batch = jax.random.normal(KEY, (4, 6), dtype)
    outputs = predict([open_heads(2, 2), *parts, close_heads(heads[2])], batch)
    hidden = [predict(layers[: i + 1], batch) for i in range(2)]
    expected = [jax.vmap(head)(h) for head, h in zip(heads, [*hidden, hidden[1]], strict=True)]
    close(outputs, jnp.stack(expected, axis=1), precision)


REFUSED = {
    "scale is nan, expected a finite number": lambda: residual(jnp.tanh, float("nan")),
    "scale is (1.0, 2.0)": lambda: residual(jnp.tanh, cast(Any, (1.0, 2.0))),
    "the branch maps float32[3] to float32[1]": lambda: residual(lambda h: h[:1])(jnp.ones(3)),
    "to float32[1], expected the same shape: both are mixed": lambda: gated(KEY, 3, lambda h: h[:1])(jnp.ones(3)),
    "size is 0, expected a whole number >= 1": lambda: layer_norm(0),
    "epsilon is 0.0, expected a number in (0, inf)": lambda: batch_norm(2, epsilon=0.0),
    "block='dense' is not known": lambda: block(KEY, 3, "dense"),
    "layers[1] is 3, expected a callable": lambda: compose([jnp.tanh, cast(Any, 3)]),
    "layers is empty": lambda: compose([]),
    "expected three: (inputs, width, outputs)": lambda: deep(0, (3, 2), 5),
    "depth is 2, expected a whole number >= 3": lambda: deep(0, (3, 3, 2), 2),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_layer_is_refused(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        REFUSED[words]()
