"""The protocol: what a layer is made of behind the door, depth and time, and one fold over both."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.tree_util import Partial

from gradjax.chain import (
    Constant,
    Coupled,
    Stack,
    as_layers,
    factors_as_layers,
    fold,
    hidden_states,
    linearize,
    run,
    unroll,
    untied,
)
from gradjax.gradients import log_gradient_norms
from gradjax.jacobians import layer_jacobians
from gradjax.networks import mlp
from gradjax.numerics import as_key, log_norm


def test_the_door_splits_parameters_constants_and_static_parts():
    key = jax.random.key(0)
    layer = Partial(lambda p, h: h, {"w": jnp.ones(2), "key": key, "n": jnp.arange(3), "rate": 0.5, "name": "a"})
    [inside] = as_layers([layer])
    assert [p.shape for p in inside.parameters] == [(2,)]
    assert len(inside.constants) == 2 and 0.5 in inside.statics and "a" in inside.statics
    hash(jax.tree.structure(inside))  # what jit needs of the static part
    assert as_layers([inside])[0] is inside


def test_a_filter_says_what_is_a_parameter():
    layer = Partial(lambda p, h: h, {"weight": jnp.ones(2), "scale": jnp.ones(3)})
    [inside] = as_layers([layer], parameters=lambda path, leaf: "weight" in path)
    assert [p.shape for p in inside.parameters] == [(2,)] and [c.shape for c in inside.constants] == [(3,)]


def test_flax_statistics_are_no_parameters_and_training_mode_is_refused():
    model = nnx.Sequential(nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(0)))
    for index, layers in [(0, model.layers), (0, model.layers[1:])]:
        with pytest.raises(ValueError, match=rf"layers\[{index}\] changes its own leaves.*\.eval\(\)"):
            run(layers, jnp.ones(3))
    model.eval()
    [norm, dropout] = as_layers(model.layers)
    assert len(norm.parameters) == 2 and len(norm.constants) == 2 and not dropout.parameters
    np.testing.assert_allclose(run(model.layers, jnp.ones(3)), 1.0, rtol=1e-4)


def test_equinox_modules_with_functions_and_numbers_pass():
    layers = [eqx.nn.Lambda(jnp.tanh), eqx.nn.Dropout(0.5, inference=True), eqx.nn.Linear(2, 2, key=jax.random.key(0))]
    assert [len(layer.parameters) for layer in as_layers(layers)] == [0, 0, 2]
    assert run(layers, jnp.ones(2)).shape == (2,)
    with pytest.raises(ValueError, match=r"layers\[0\] does not accept"):
        run([eqx.nn.Dropout(0.5)], jnp.ones(2))  # asks for a key
    with pytest.raises(ValueError, match=r"pass .*list"):
        as_layers(eqx.nn.Sequential(layers))


def test_layers_that_are_another_network_than_the_model_are_refused():
    model = eqx.nn.MLP(3, 2, 5, 2, key=jax.random.key(0))
    x = jnp.array([0.5, -1.0, 2.0])
    with pytest.raises(ValueError, match=r"model and layers differ by .* list the activations"):
        layer_jacobians(model.layers, x, model=model)  # leaves the activations out
    first, second, last = model.layers
    complete = [first, jax.nn.relu, second, jax.nn.relu, last]
    assert len(layer_jacobians(complete, x, model=model)) == 5
    assert log_gradient_norms(jnp.sum, complete, jnp.stack([x, 2 * x]), batch_axis=0, model=model).shape == (5,)
    with pytest.raises(ValueError, match=r"model gives float32\[2\], the layers give float32\[5\]"):
        layer_jacobians(complete[:3], x, model=model)


def test_a_stack_is_its_layers_one_after_the_other(precision):
    kernels = jax.random.normal(jax.random.key(0), (6, 3, 3), jnp.dtype(precision))
    stack = Stack(Partial(lambda w, h: jnp.sin(h @ w), kernels))
    h = jnp.ones(3, jnp.dtype(precision))
    expected = h
    for kernel in kernels:
        expected = jnp.sin(expected @ kernel)
    assert len(stack) == 6
    np.testing.assert_allclose(stack(h), expected, atol=50 * np.finfo(precision).eps)
    np.testing.assert_allclose(run([stack], h), expected, atol=50 * np.finfo(precision).eps)
    output, [states] = hidden_states([stack], h)
    assert states.shape == (6, 3) and output.shape == (3,)


def test_a_stack_without_one_depth_is_refused():
    for layer, message in [
        (Partial(lambda p, h: h, {"a": jnp.ones((3, 2)), "b": jnp.ones((4, 2))}), "leading axes"),
        (Partial(lambda p, h: h, {"a": jnp.ones((3, 2)), "b": jnp.float32(1)}), "leading axes"),
        (jnp.tanh, "has no depth"),
        (Partial(lambda p, h: h, jnp.ones((0, 2))), "leading axes"),
    ]:
        with pytest.raises(ValueError, match=message):
            as_layers([jnp.tanh, Stack(layer)])


def test_unroll_ties_the_parameters_and_holds_the_inputs_constant():
    stack = unroll(Partial(lambda w, h, u: h @ w + u, jnp.eye(2)), jnp.ones((5, 2)))
    assert stack.depth == 5 and stack.layer.parameters[0].shape == (2, 2) and stack.tied == (True, False)
    assert untied(stack).layer.parameters[0].shape == (5, 2, 2)
    np.testing.assert_array_equal(stack(jnp.zeros(2)), [5.0, 5.0])
    with pytest.raises(ValueError, match="inputs is empty"):
        unroll(lambda h, u: h, ())
    with pytest.raises(ValueError, match="cell is a int"):
        unroll(3, jnp.ones(2))


def test_fold_runs_both_ways_and_hands_each_layer_its_own():
    stack = Stack(Partial(lambda w, h: h, jnp.arange(4.0)))
    entries = as_layers([jnp.tanh, stack])
    carry, (first, rest) = fold(entries, 0, lambda c, layer, a: (c + 1, (c, a)), [10, jnp.arange(4)], reverse=True)
    assert carry == 5 and first == (4, 10)
    np.testing.assert_array_equal(rest[0], [3, 2, 1, 0])


def test_linearization_from_layers_and_from_factors(x64):
    factors = jax.random.normal(jax.random.key(0), (4, 3, 3))
    v = jnp.array([1.0, -2.0, 0.5])
    for given in (factors, list(factors)):
        layers, zero = factors_as_layers(given)
        product = jnp.linalg.multi_dot(factors[::-1])
        both = linearize(lambda h: run(layers, h), zero)  # noqa: B023
        np.testing.assert_allclose(both.jvp(v), product @ v, rtol=1e-12)
        np.testing.assert_allclose(both.vjp(v), product.T @ v, rtol=1e-12)
    with pytest.raises(ValueError, match=r"factors\[1\] has shape \(2, 2\)"):
        factors_as_layers([jnp.eye(3), jnp.eye(2)])


def test_unhashable_callables_are_compared_by_identity():
    class Layer:
        __hash__ = None

        def __call__(self, h):
            return 2 * h

    layer = Layer()
    assert as_layers([layer])[0] == as_layers([layer])[0]
    np.testing.assert_array_equal(run([layer], jnp.ones(2)), [2.0, 2.0])


def test_mlp_has_the_widths_and_names_it_was_given():
    layers = mlp(0, [3, 4, 4, 2], ["relu", "tanh"], ["he_normal", "orthogonal", "zeros"], final_activation="softplus")
    assert [layer.func.activation.fn.__name__ for layer in layers] == ["relu", "tanh", "softplus"]
    np.testing.assert_allclose(run(layers, jnp.ones(3)), np.log(2), rtol=1e-6)


def test_a_stack_of_orthogonal_layers_is_drawn_layer_by_layer():
    [stack] = mlp(0, [5] * 7, "linear", "orthogonal")
    singly = mlp(0, [5] * 7, ["linear", "tanh"] * 2 + ["linear"], "orthogonal")
    np.testing.assert_allclose(stack.layer.args[0]["kernel"][1], singly[1].args[0]["kernel"], atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key": 2**32, "sizes": [2, 2]}, "seed is 4294967296"),
        ({"key": -1, "sizes": [2, 2]}, "seed is -1"),
        ({"key": "a", "sizes": [2, 2]}, "key is 'a'"),
        ({"key": 0, "sizes": [2]}, "at least two widths"),
        ({"key": 0, "sizes": [2, 0]}, r"sizes\[1\] is 0"),
        ({"key": 0, "sizes": [2, 2.5]}, r"sizes\[1\] is 2.5"),
        ({"key": 0, "sizes": [2, 2, 2], "activation": "swish"}, "'swish' is not known"),
        ({"key": 0, "sizes": [2, 2], "kernel_init": "he"}, "'he' is not known"),
        ({"key": 0, "sizes": [2, 2], "kernel_init": ["zeros", "zeros"]}, "kernel_init has 2 entries"),
        ({"key": 0, "sizes": [2, 2], "dtype": jnp.int32}, "dtype is int32"),
    ],
)
def test_what_mlp_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp(**arguments)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 0.0])
def test_log_norm_is_right_where_the_square_is_not(scale):
    with np.errstate(divide="ignore"):
        expected = np.log(np.float64(5)) + np.log(np.float64(scale))
    tree = {"a": jnp.array([3.0]) * scale, "b": jnp.array([4.0]) * scale, "ids": jnp.arange(3)}
    np.testing.assert_allclose(log_norm(tree), expected, rtol=2e-7)
    assert np.isfinite(jax.tree.leaves(jax.grad(lambda s: log_norm(jnp.ones(2) * s))(scale))).all()


def test_log_norm_of_what_is_not_finite():
    assert np.isnan(log_norm(jnp.array([1.0, jnp.nan]))) and log_norm(jnp.array([-jnp.inf])) == jnp.inf
    assert log_norm({}) == -jnp.inf and log_norm(jnp.array([3e4, 4e4], jnp.float16)) == pytest.approx(
        np.log(5e4), rel=1e-3
    )
    np.testing.assert_allclose(log_norm(jnp.array([3.0]), power=-4000), np.log(3) - 4000 * np.log(2), rtol=1e-6)


def test_a_key_passes_and_a_seed_becomes_one():
    assert as_key(3) == jax.random.key(3) and as_key(jax.random.key(3)) == jax.random.key(3)


def test_coupled_runs_as_the_layer_it_marks():
    np.testing.assert_array_equal(Coupled(lambda h: 2 * h)(jnp.ones(2)), [2.0, 2.0])
    assert Constant(3).value == 3
