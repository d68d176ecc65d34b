"""Layer Jacobians and the whole one: closed forms, batches, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Coupled, Stack
from gradjax.jacobians import input_output_jacobian, layer_jacobians
from gradjax.networks import mlp


def test_a_linear_chain_gives_its_kernels(precision):
    layers = mlp(0, [3, 4, 4, 4, 2], "linear", dtype=jnp.dtype(precision))
    jacobians = layer_jacobians(layers, jnp.ones(3, jnp.dtype(precision)))
    kernels = [layers[0].args[0]["kernel"].T, jnp.swapaxes(layers[1].layer.args[0]["kernel"], 1, 2)]
    assert [j.shape for j in jacobians] == [(4, 3), (2, 4, 4), (2, 4)]
    for jacobian, kernel in zip(jacobians, kernels, strict=False):
        np.testing.assert_array_equal(jacobian, kernel)


def test_a_scalar_chain_is_the_product_of_slopes(x64):
    layers = [Stack(Partial(lambda w, h: jnp.tanh(w * h), jnp.full((30, 1), 1.3)))]
    h, slope = np.array([0.4]), 1.0
    for _ in range(30):
        h = np.tanh(1.3 * h)
        slope *= 1.3 * (1 - h[0] ** 2)
    np.testing.assert_allclose(input_output_jacobian(layers, jnp.array([0.4])), [[slope]], rtol=1e-13)


def test_an_orthogonal_chain_is_orthogonal_layer_by_layer_and_as_a_whole(precision):
    layers = mlp(0, [8] * 41, "linear", "orthogonal", dtype=jnp.dtype(precision), final_activation="linear")
    x = jnp.ones(8, jnp.dtype(precision))
    eps = np.finfo(precision).eps
    for j in layer_jacobians(layers, x)[0]:
        np.testing.assert_allclose(j @ j.T, np.eye(8), atol=20 * eps)
    whole = input_output_jacobian(layers, x)
    np.testing.assert_allclose(whole @ whole.T, np.eye(8), atol=20 * 40 * eps)


def test_a_batch_gives_one_jacobian_an_example(precision):
    layers = mlp(0, [3, 5, 5, 2], "tanh", dtype=jnp.dtype(precision))
    x = jax.random.normal(jax.random.key(1), (4, 3), jnp.dtype(precision))
    together = layer_jacobians(layers, x, batch_axis=0)
    assert [j.shape for j in together] == [(4, 5, 3), (4, 5, 5), (4, 2, 5)]
    for i, row in enumerate(x):
        for batched, single in zip(together, layer_jacobians(layers, row), strict=True):
            np.testing.assert_allclose(batched[i], single, atol=10 * np.finfo(precision).eps)
    assert input_output_jacobian(layers, x, batch_axis=0).shape == (4, 2, 3)


def test_a_coupled_layer_makes_the_batch_one_activation(precision):
    centre = Coupled(lambda h: h - h.mean(axis=0, keepdims=True))
    [jacobian] = layer_jacobians([centre], jnp.ones((4, 2)), batch_axis=0)
    np.testing.assert_allclose(jacobian, np.kron(np.eye(4) - 1 / 4, np.eye(2)), atol=1e-6)


def test_both_modes_agree_where_each_is_chosen(x64):
    w = jax.random.normal(jax.random.key(0), (7, 3))
    for layer, x in [(lambda h: jnp.tanh(w @ h), jnp.ones(3)), (lambda h: jnp.tanh(h @ w), jnp.ones(7))]:
        np.testing.assert_allclose(layer_jacobians([layer], x)[0], jax.jacrev(layer)(x), rtol=1e-13)
        np.testing.assert_allclose(layer_jacobians([layer], x)[0], jax.jacfwd(layer)(x), rtol=1e-13)


def test_token_ids_have_no_jacobian_of_their_own():
    layers = [Partial(lambda table, ids: table[ids], jnp.ones((10, 3))), lambda h: 2 * h]
    [jacobian] = layer_jacobians(layers, jnp.array([1, 2]))
    np.testing.assert_array_equal(jacobian, 2 * np.eye(6))
    np.testing.assert_array_equal(input_output_jacobian(layers, jnp.array([1, 2])), 2 * np.eye(6))


def test_the_program_is_as_long_at_any_depth():
    def length(depth):
        layers = mlp(0, [3] * (depth + 1), "tanh", final_activation="tanh")
        return len(str(jax.make_jaxpr(lambda x: layer_jacobians(layers, x))(jnp.ones(3))).splitlines())

    assert length(10) == length(1000)


def test_an_overflowing_whole_jacobian_points_to_log_space():
    layers = [Stack(Partial(lambda w, h: w * (h - 1) + 1, jnp.full((300, 2), 3.0)))]
    with pytest.raises(ValueError, match=r"overflows float32.*jacobian_spectrum"):
        input_output_jacobian(layers, jnp.ones(2))


def test_a_nan_layer_is_named():
    layers = [Stack(Partial(jnp.multiply, jnp.ones((9, 2)).at[4].set(jnp.nan)))]
    for function in (layer_jacobians, input_output_jacobian):
        with pytest.raises(ValueError, match=r"layers\[4\] gives a NaN.*its parameters hold"):
            function(layers, jnp.ones(2))


@pytest.mark.parametrize("function", [layer_jacobians, input_output_jacobian])
def test_what_is_refused(function):
    stack = Stack(Partial(lambda w, h: h @ w, jnp.ones((5, 2, 3))))
    for layers, x, message in [
        ([], jnp.ones(2), "layers is empty"),
        ([jnp.tanh], jnp.array([jnp.inf]), "x holds 1 NaN or infinite"),
        ([jnp.tanh, stack], jnp.ones(2), r"layers\[1\] to \[5\] is a Stack that maps float32\[2\] to float32\[3\]"),
        ([lambda h: 1 / 0], jnp.ones(2), r"layers\[0\] does not accept .*ZeroDivisionError"),
        ({"a": jnp.tanh}, jnp.ones(2), "layers is a dict"),
    ]:
        with pytest.raises(ValueError, match=message):
            function(layers, x)
