"""Residual blocks, weight normalization and convolutional networks against closed forms."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import as_layers, layer_of, run
from gradjax.gradients import layer_gradients
from gradjax.jacobians import input_output_jacobian
from gradjax.layers import BLOCKS, block, convolution, dense, residual, weight_norm
from gradjax.networks import convnet, deep, resnet
from gradjax.theory.residual import fixup_branch_scale
from gradjax.training import predict

KEY = jax.random.key(12)
WIDTH = 5


def vector(dtype="float32"):
    return jax.random.normal(KEY, (WIDTH,), dtype)


def close(a, b, precision, scale=1.0):
    atol = 100 * scale * float(jnp.finfo(precision).eps)
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)


@pytest.mark.parametrize("kind, scale", [("residual", 1.0), ("sqrt_depth", 0.25), ("over_depth", 1 / 16)])
def test_a_branch_scale_adds_up_to_its_power(kind, scale, precision):
    """Sixteen blocks h + a h: (1 + a)^16, which 1/L keeps below e."""
    dtype = jnp.dtype(precision)
    layers = deep(0, (WIDTH, WIDTH, 1), 18, kind, "linear", "identity", dtype=dtype)
    jacobian = np.asarray(input_output_jacobian(layers[:2], vector(dtype)))
    close(jacobian / (1 + scale) ** 16, np.eye(WIDTH), precision)


@pytest.mark.parametrize("kind", ["fixup", "skip_init", "rezero"])
def test_what_starts_as_the_identity_does(kind, precision):
    layers = deep(0, (WIDTH, WIDTH, 1), 9, kind, dtype=jnp.dtype(precision))
    np.testing.assert_array_equal(input_output_jacobian(layers[1:2], vector(precision)), np.eye(WIDTH))


def test_the_first_step_of_fixup_moves_the_last_layers_alone():
    """Zhang et al. 2019: V = 0 stops every gradient but that of V and of its bias."""
    layers = deep(0, (WIDTH, WIDTH, 1), 9, "fixup", "relu", "he_normal")
    gradient = layer_gradients(jnp.sum, layers, vector())[1]
    moved = [leaf.shape for leaf in jax.tree.leaves(gradient) if (leaf != 0).any()]
    assert len(jax.tree.leaves(gradient)) == 6 and sorted(moved) == [(7, WIDTH), (7, WIDTH, WIDTH)]


def test_fixup_scales_the_first_kernel_of_each_branch():
    kernels = [jax.tree.leaves(block(KEY, WIDTH, "fixup", depth=depth)) for depth in (1, 9)]
    one, nine = (max(float(jnp.abs(a).max()) for a in found if jnp.ndim(a) == 2) for found in kernels)
    np.testing.assert_allclose(nine / one, fixup_branch_scale(9, 2), rtol=1e-6)


def test_activations_in_front_of_the_weights_or_behind_the_sum(precision):
    dtype, x = jnp.dtype(precision), vector(precision)
    inner, last = jax.random.split(KEY)
    make = partial(dense, inputs=WIDTH, outputs=WIDTH, dtype=dtype)
    w, v = make(inner, activation="tanh"), make(last)
    close(block(KEY, WIDTH, "pre_activation", dtype=dtype)(x), x + v(w(jnp.tanh(x))), precision)
    close(block(KEY, WIDTH, "post_activation", dtype=dtype)(x), jnp.tanh(x + v(w(x))), precision)
    close(residual(w, 0.5, carry=2.0)(x), 2 * x + 0.5 * w(x), precision)


@pytest.mark.parametrize("make", [dense, partial(convolution, taps=2)])
def test_weight_norm_changes_nothing_but_the_coordinates(make, precision):
    """d/dV is orthogonal to V, and d/dg is d/dW along V: |V| is free."""
    dtype = jnp.dtype(precision)
    plain, x = make(KEY, WIDTH, 4, "tanh", bias_init="normal", dtype=dtype), vector(dtype)[None]
    layer = weight_norm(plain)
    close(layer(x), plain(x), precision)
    longer = Partial(layer.func, layer.args[0] | {"direction": 3 * layer.args[0]["direction"]})
    close(longer(x), plain(x), precision)
    [gradient], [of_plain] = (layer_gradients(jnp.sum, [each], x) for each in (layer, plain))
    direction, by_direction = layer.args[0]["direction"], gradient.args[0]["direction"]
    axes = tuple(range(direction.ndim - 1))
    close(jnp.sum(direction * by_direction, axis=axes), jnp.zeros(4, dtype), precision)
    along = jnp.sum(direction * of_plain.args[0]["kernel"], axis=axes) / layer.args[0]["gain"]
    close(gradient.args[0]["gain"], along, precision)


def test_a_unit_without_a_direction_is_no_nan():
    layer = weight_norm(dense(KEY, WIDTH, 2, kernel_init="zeros", bias_init="ones"))
    [gradient] = layer_gradients(jnp.sum, [layer], vector())
    assert layer(vector()).tolist() == [1.0, 1.0]
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_is_made_of_convolutions_too(kind):
    layers = resnet(0, (2, 3, 4), 4, kind)
    x = jax.random.normal(KEY, (6, 4, 5, 2))
    assert predict(layers, x).shape == (6, 4)


def test_a_circular_network_does_not_mind_where_its_input_stands(precision):
    """Every layer commutes with turning the ring, and the mean at the end forgets by how much."""
    dtype = jnp.dtype(precision)
    layers = convnet(0, (1, 4, 3), 6, kernel_init="delta_orthogonal", bias_init="normal", dtype=dtype)
    x = jax.random.normal(KEY, (7, 1), dtype)
    close(run(layers, x), run(layers, jnp.roll(x, 3, axis=0)), precision)


def test_a_learnt_scale_is_a_parameter_and_a_given_one_is_not():
    def count(kind):
        return len(layer_of(as_layers([block(KEY, WIDTH, kind)])[0]).parameters)

    assert count("rezero") == count("residual") + 1 == count("sqrt_depth") + 1


REFUSED = {
    "depth is 0, expected a whole number": lambda: block(KEY, WIDTH, "fixup", depth=0),
    "carry is inf, expected a finite number": lambda: residual(jnp.tanh, carry=float("inf")),
    "expected what dense or convolution makes": lambda: weight_norm(Partial(jnp.tanh)),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_block_is_refused(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        REFUSED[words]()
