"""What holds for every network of `variants.VARIANTS`, in float32 and in float64.

References are jitted: run eagerly, each of their operations would be compiled alone, which takes most of the time.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.test_util import check_grads
from variants import VARIANTS, compose

from gradjax.chain import as_layers, run
from gradjax.gradients import layer_gradients, log_gradient_norms, log_signal_norms
from gradjax.jacobians import input_output_jacobian, layer_jacobians

# the other networks run the same code but for their own layers, which have their own tests; .ci/run runs them all
QUICK = ("mlp_tanh", "rnn", "of_rank_two", "shortcuts", "reverse_only")

pytestmark = pytest.mark.parametrize(
    "variant", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)


def loss(y):
    """A loss that weighs every output differently."""
    flat = ravel_pytree(y)[0]
    return jnp.sum(flat * jnp.cos(jnp.arange(flat.size).astype(flat.dtype))) + jnp.sum(flat * flat)


def close(ours, theirs, precision, scale=1.0):
    """Agreement to a few hundred roundings of the largest entry."""
    eps = float(jnp.finfo(precision).eps)
    peak = np.max(np.abs(np.asarray(theirs)), initial=0.0)
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=300 * eps * scale * max(peak, 1e-3))


def matrices(layers, x):
    """The layer Jacobians one by one, Stacks unrolled."""
    jacobians = layer_jacobians(layers, x)
    return [matrix for j in jacobians for matrix in (j if j.ndim == 3 else j[None])]


def test_product_of_layer_jacobians_is_the_whole_jacobian(variant, precision):
    layers, x = VARIANTS[variant](jnp.dtype(precision))
    product = np.eye(matrices(layers, x)[0].shape[1])
    for matrix in matrices(layers, x):
        product = np.asarray(matrix, np.float64) @ product
    close(input_output_jacobian(layers, x), product, precision)
    flat, unravel = ravel_pytree(x)
    by_hand = jax.jit(jax.jacrev(lambda v: ravel_pytree(compose(layers, unravel(v)))[0]))(flat)
    close(product, by_hand, precision)


def test_chained_vjp_is_the_gradient(variant, precision):
    layers, x = VARIANTS[variant](jnp.dtype(precision))
    out = jax.jit(lambda x: run(layers, x))(x)
    close(ravel_pytree(out)[0], ravel_pytree(jax.jit(lambda x: compose(layers, x))(x))[0], precision)
    signal = np.asarray(ravel_pytree(jax.jit(jax.grad(loss))(out))[0], np.float64)
    logs = [np.log(np.linalg.norm(signal))]
    for matrix in reversed(matrices(layers, x)):
        signal = np.asarray(matrix, np.float64).T @ signal
        logs.insert(0, np.log(np.linalg.norm(signal)))
    close(signal, ravel_pytree(jax.jit(jax.grad(lambda x: loss(compose(layers, x))))(x))[0], precision)
    close(log_signal_norms(loss, layers, x), logs, precision, scale=10)


def test_gradients_by_layer_and_their_logs_are_those_of_the_composition(variant, precision):
    layers, x = VARIANTS[variant](jnp.dtype(precision))
    ours = layer_gradients(loss, layers, x)
    parameters = [entry.layer.parameters if hasattr(entry, "tied") else entry.parameters for entry in as_layers(layers)]
    numbers, rebuild = ravel_pytree(parameters)
    if not numbers.size:
        assert all(not jax.tree.leaves(g) for g in ours)
        return

    def objective(v):
        entries = [
            type(e)(e.layer.with_parameters(p), e.tied) if hasattr(e, "tied") else e.with_parameters(p)
            for e, p in zip(as_layers(layers), rebuild(v), strict=True)
        ]
        return loss(run(entries, x))

    expected = jax.jit(jax.grad(objective))(numbers)
    # one contribution a step, whose sum is the tied gradient
    tied = variant in ("rnn", "lstm", "gru", "linear_recurrent_unit")
    summed = jax.tree.map(lambda g: g.sum(axis=0), ours) if tied else ours
    close(ravel_pytree(summed)[0], expected, precision, scale=3)
    logs = np.asarray(log_gradient_norms(loss, layers, x))
    norms = np.concatenate([norms_by_layer(e, g) for e, g in zip(as_layers(layers), ours, strict=True)])
    np.testing.assert_array_equal(np.isneginf(logs), norms == 0)
    close(logs[norms > 0], np.log(norms[norms > 0]), precision, scale=10)


def norms_by_layer(layer, gradient):
    """The Frobenius norm of the gradient of every layer that an entry stands for."""
    depth = len(layer) if hasattr(layer, "tied") else 1
    rows = [np.asarray(g, np.float64).reshape(depth, -1) for g in jax.tree.leaves(gradient)]
    return np.linalg.norm(np.concatenate(rows, axis=1), axis=1) if rows else np.zeros(depth)


def test_derivatives_agree_with_finite_differences(variant, x64):
    layers, x = VARIANTS[variant](jnp.dtype("float64"))
    modes = ["rev"] if variant == "reverse_only" else ["rev", "fwd"]
    check_grads(jax.jit(lambda x: loss(run(layers, x))), (x,), order=1, modes=modes, atol=1e-6, rtol=1e-6)


def test_everything_runs_under_jit_and_vmap(variant, x64):
    precision = "float64"
    layers, x = VARIANTS[variant](jnp.dtype(precision))
    signals = log_signal_norms(loss, layers, x)
    close(jax.jit(lambda x: log_signal_norms(loss, layers, x))(x), signals, precision, scale=10)
    close(jax.jit(lambda x: input_output_jacobian(layers, x))(x), input_output_jacobian(layers, x), precision)
    two = jax.tree.map(lambda a: jnp.stack([a, a * jnp.nan]), x)
    both = jax.jit(jax.vmap(lambda x: log_signal_norms(loss, layers, x)))(two)
    close(both[0], signals, precision, scale=10)
    assert np.isnan(np.asarray(both[1])).all()  # the NaN example, and it alone
