"""All of gradjax lowers for CPU, CUDA and TPU, shown on any machine: no operation of one platform hides in it.

`jax.export` lowers without a device of the kind. It refuses custom calls that are no stable part of jax, too.
"""

import jax
import jax.numpy as jnp
import optax
import pytest
import variants

from gradjax import clipping, gradients, jacobians, leading, lyapunov, numerics, products, recorder, spectra, training
from gradjax.activations import ACTIVATIONS
from gradjax.chain import hidden_states, unroll
from gradjax.flossing import flossing_penalty
from gradjax.initializers import INITIALIZERS
from gradjax.networks import mlp, recurrent

PLATFORMS = ("cpu", "cuda", "tpu")
KEY = jax.random.key(0)
X = jnp.linspace(-1.0, 1.0, 6)
LAYERS = mlp(KEY, [6, 5, 5, 3], "tanh", "mean_field", "normal")
THROUGH_TIME = [unroll(recurrent(KEY, "rnn", 6, 3), jnp.ones((20, 3)))]
SQUARE = mlp(KEY, [6, 6, 6], "tanh", "mean_field")
DEPTHS = (1, 3)
TREE = {"kernel": jnp.ones((4, 6, 6)), "bias": jnp.linspace(-1, 1, 6)}


def lowered(function, *arguments):
    """The function's export for all three; its text for each shows that none was left out."""
    made = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    assert made.platforms == PLATFORMS
    return made


def loss(y):
    return jnp.sum(jnp.square(y))


def factors(*shape):
    return jax.random.normal(KEY, shape)


QUICK = {
    "naive_log_singular_values": (products.naive_log_singular_values, factors(5, 6, 6)),
    "layer_jacobians": (lambda x: jacobians.layer_jacobians(LAYERS, x), X),
    "input_output_jacobian": (lambda x: jacobians.input_output_jacobian(LAYERS, x), X),
    "log_jacobian_norms": (lambda x: jacobians.log_jacobian_norms(LAYERS, x), X),
    "layer_gradients": (lambda x: gradients.layer_gradients(loss, LAYERS, x), X),
    "log_gradient_norms": (lambda x: gradients.log_gradient_norms(loss, LAYERS, x), X),
    "log_signal_norms": (lambda x: gradients.log_signal_norms(loss, LAYERS, x), X),
    "hidden_states": (lambda x: hidden_states(LAYERS, x), X),
    "log_norm": (numerics.log_norm, X),
    "log_global_norm": (clipping.log_global_norm, TREE),
    "lyapunov_exponents": (lambda x: lyapunov.lyapunov_exponents(THROUGH_TIME, x, 3), X),
    "flossing_penalty": (lambda x: flossing_penalty(THROUGH_TIME, x, 2), X),
}
SLOW = {
    "log_singular_values": (products.log_singular_values, factors(5, 6, 6)),
    "log_singular_values_with_error": (products.log_singular_values_with_error, factors(5, 6, 6)),
    "prefix_log_singular_values": (lambda f: products.prefix_log_singular_values(f, DEPTHS), factors(5, 6, 6)),
    "singular_vectors": (products.singular_vectors, factors(5, 6, 6)),
    "derivative": (jax.grad(lambda f: products.log_singular_values(f)[0]), factors(3, 4, 4)),
    "jacobian_spectrum": (lambda x: spectra.jacobian_spectrum(LAYERS, x).log_singular_values, X),
    "leading_log_singular_values": (lambda x: leading.leading_log_singular_values(LAYERS, x, 2), X),
    "trailing_log_singular_values": (lambda x: leading.trailing_log_singular_values(SQUARE, x, 2), X),
    "singular_value_summary": (lambda x: jacobians.singular_value_summary(LAYERS, x).log_largest, X),
}


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_public_function_lowers_for_every_platform(name):
    lowered(*(QUICK | SLOW)[name])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives_lower(name):
    lowered(jax.vmap(jax.value_and_grad(ACTIVATIONS[name])), X)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers_lower(name):
    shape = (3, 6, 6) if name == "delta_orthogonal" else (6, 6)
    lowered(lambda key: INITIALIZERS[name](key, shape, jnp.float32), KEY)


@pytest.mark.parametrize("name", clipping.CLIPPERS)
def test_clippers_lower(name):
    clipper = clipping.CLIPPERS[name]()

    def step(gradient):
        return clipper.update(gradient, clipper.init(TREE), TREE)

    per_example = name.startswith("per_example")
    lowered(step, jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), TREE) if per_example else TREE)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_network_lowers_with_its_gradients(name):
    layers, x = variants.VARIANTS[name](jnp.float32)
    lowered(lambda x: gradients.layer_gradients(lambda y: sum(map(jnp.sum, jax.tree.leaves(y))), layers, x), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_network_s_jacobians_lower(name):
    layers, x = variants.VARIANTS[name](jnp.float32)
    lowered(lambda x: jacobians.layer_jacobians(layers, x), x)


def test_training_and_its_recorder_lower():
    data = (jnp.ones((8, 6)), jnp.zeros(8, jnp.int32))
    optimizer = recorder.record(optax.sgd(1e-3, momentum=0.9), steps=4)

    def trained(key):
        return training.train(LAYERS, training.cross_entropy, optimizer, data, key=key, steps=3, batch_size=4)

    lowered(trained, KEY)
