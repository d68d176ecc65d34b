"""The penalty on a chain's stretches: closed forms, finite differences, and that descent on it flattens them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads

from gradjax.chain import unroll
from gradjax.flossing import flossing_penalty
from gradjax.layers import initial_state, recurrent
from gradjax.networks import mlp


def test_a_scaling_layer_gives_the_square_of_its_log(precision):
    eps = np.finfo(precision).eps
    layers = [lambda h: 3 * h, lambda h: h / 2] * 4
    expected = (np.log(1.5) / 2) ** 2
    np.testing.assert_allclose(flossing_penalty(layers, jnp.ones(4), 3), expected, rtol=200 * eps)


def test_orthogonal_layers_have_none(precision):
    dtype = jnp.dtype(precision)
    layers = mlp(0, [6] * 31, "linear", "orthogonal", dtype=dtype)
    assert flossing_penalty(layers, jnp.ones(6, dtype), 4) < (100 * np.finfo(precision).eps) ** 2


def test_one_direction_of_a_deep_linear_chain_is_its_largest_exponent(x64):
    """diag(2, 1, 1/2) sixty times over: a generic direction turns into the first axis at the cost of a constant."""
    scale = jnp.array([2.0, 1.0, 0.5])
    layers = [lambda h: scale * h] * 60
    np.testing.assert_allclose(np.sqrt(flossing_penalty(layers, jnp.ones(3), 1)), np.log(2), atol=3 / 60)


def test_it_is_differentiable_by_the_parameters_of_a_network(x64):
    flat, rebuild = ravel_pytree(mlp(0, [5, 4, 4, 4, 3], "tanh", dtype=jnp.float64))
    x = jnp.linspace(-1.0, 1.0, 5)
    penalty = jax.jit(lambda v: flossing_penalty(rebuild(v), x, 3))
    check_grads(penalty, (flat,), order=1, modes=["rev"], rtol=1e-5)


def test_it_is_differentiable_by_the_parameters_of_a_cell(x64):
    flat, rebuild = ravel_pytree(recurrent(1, "rnn", 4, 3, dtype=jnp.float64))
    inputs = jax.random.normal(jax.random.key(2), (3, 3), jnp.float64)

    def penalty(v):
        cell = rebuild(v)
        return flossing_penalty([unroll(cell, inputs)], initial_state(cell), 3)

    check_grads(jax.jit(penalty), (flat,), order=1, modes=["rev"], rtol=1e-5)


def test_descent_on_it_flattens_the_stretches(x64):
    layers = jax.tree.map(lambda leaf: 0.7 * leaf, mlp(3, [8] * 13, "tanh", "mean_field", dtype=jnp.float64))
    flat, rebuild = ravel_pytree(layers)
    penalty = jax.jit(jax.value_and_grad(lambda v: flossing_penalty(rebuild(v), jnp.ones(8), 4)))
    first, _ = penalty(flat)
    for _ in range(60):
        flat = flat - 0.3 * penalty(flat)[1]
    assert penalty(flat)[0] < first / 10
