"""Inside a trace nothing can raise: a NaN there reaches its own results, and nobody else's, and stays a NaN."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax import (
    activations,
    chain,
    clipping,
    flossing,
    gradients,
    jacobians,
    layers,
    leading,
    lyapunov,
    numerics,
    products,
    spectra,
    training,
)

SIZE, BAD = 3, 1


def _network():
    draws = jax.random.split(jax.random.key(0), 3)
    matrices = [jnp.eye(SIZE) + 0.3 * jax.random.normal(key, (SIZE, SIZE)) for key in draws]
    return [
        Partial(jnp.matmul, matrices[0]),
        jnp.tanh,
        Partial(jnp.matmul, matrices[1]),
        Partial(jnp.matmul, matrices[2]),
    ]


def _clipped(name):
    return lambda x: clipping.CLIPPERS[name]().update(x, clipping.CLIPPERS[name]().init(x), x)[0]


def _made(make, *sizes, **options):
    return lambda x: make(jax.random.key(0), *sizes, **options)(x)


def _matrices(function):
    """A function of matrices, as one of a vector that stands on their diagonals."""
    return lambda x: function(jnp.stack([jnp.diag(x) + 0.1 * jnp.ones((SIZE, SIZE)), jnp.diag(2 * x)]))


def _values(summary):
    return summary[:3]  # the errors beside a NaN are infinite, and rightly: nothing is known


QUICK = {
    **{f"activations.{name}": getattr(activations, name) for name in ("linear", "erf", "scaled_erf", "gelu")},
    "chain.run": lambda x: chain.run(_network(), x),
    "numerics.largest": numerics.largest,
    "numerics.log_norm": numerics.log_norm,
    "clipping.log_global_norm": clipping.log_global_norm,
    "clipping.cosine": lambda x: clipping.cosine(x, 2 * x),
    **{
        f"clipping.CLIPPERS[{name}]": _clipped(name)
        for name in ("global_norm", "optax_global_norm", "percentile", "autoclip", "zclip", "normalize")
    },
    "training.cross_entropy": lambda x: training.cross_entropy(x[None], jnp.zeros(1, jnp.int32)),
    "layers.dense": _made(layers.dense, SIZE, SIZE),
    "layers.layer_norm": lambda x: layers.layer_norm(SIZE)(x),
    "layers.rms_norm": lambda x: layers.rms_norm(SIZE)(x),
    "jacobians.jacobian": lambda x: jnp.diag(jacobians.jacobian(jnp.sin, x)),
    "jacobians.input_output_jacobian": lambda x: jacobians.input_output_jacobian(_network(), x),
    "jacobians.log_jacobian_norms": lambda x: jacobians.log_jacobian_norms(_network()[1:2], x),
    "gradients.log_gradient_norms": lambda x: gradients.log_gradient_norms(jnp.sum, _network()[:1], x),
    "gradients.log_signal_norms": lambda x: gradients.log_signal_norms(jnp.sum, _network(), x),
}
COSTLY = {
    "jacobians.singular_value_summary": lambda x: _values(jacobians.singular_value_summary(_network()[1:2], x)),
    "lyapunov.log_growths": lambda x: lyapunov.log_growths([jnp.tanh], x),
    "flossing.flossing_penalty": lambda x: flossing.flossing_penalty([jnp.tanh], x),
    "products.log_singular_values": _matrices(products.log_singular_values),
    "products.log_singular_values_with_error": _matrices(products.log_singular_values_with_error),
    "products.naive_log_singular_values": _matrices(products.naive_log_singular_values),
    "products.prefix_log_singular_values": _matrices(lambda f: products.prefix_log_singular_values(f, [1, 2])),
    "products.singular_vectors": _matrices(products.singular_vectors),
    "leading.leading_log_singular_values": lambda x: leading.leading_log_singular_values(_network(), x, 2),
    "leading.trailing_log_singular_values": lambda x: leading.trailing_log_singular_values(_network(), x, 2),
    "spectra.jacobian_spectrum": lambda x: spectra.jacobian_spectrum(_network(), x).log_singular_values,
}


def _seen(function, x):
    """The floating results of every member of a batch, under jit and vmap."""
    leaves = jax.tree.leaves(jax.jit(jax.vmap(function))(x))
    return [np.asarray(leaf) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _holds(function):
    healthy = jnp.linspace(0.3, 0.9, 3 * SIZE).reshape(3, SIZE) ** 2
    broken = healthy.at[BAD, 0].set(jnp.nan)
    before, after = _seen(function, healthy), _seen(function, broken)
    assert before and all(np.isfinite(leaf).all() for leaf in before)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.delete(a, BAD, 0), np.delete(b, BAD, 0))
        own = b[BAD]
        assert np.isnan(own).any(), "no result of the NaN says so"
        assert not np.isinf(own).any(), "a NaN became infinite"
        assert np.isnan(own).all() or a.shape[1:] == (SIZE,), "a result that rests on the NaN is finite"


@pytest.mark.parametrize("name", QUICK)
def test_a_nan_reaches_its_own_results_alone(name):
    _holds(QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", COSTLY)
def test_a_nan_reaches_its_own_results_alone_where_compiling_takes_long(name):
    _holds(COSTLY[name])


@functools.cache
def _behind_a_broken_layer(measure):
    """A measure of each layer of a chain whose third layer has a NaN among its parameters, and of the healthy chain."""

    def measured(scale):
        entries = [*_network()[:2], Partial(jnp.multiply, jnp.ones(SIZE) * scale), jnp.sin]
        return measure(entries, jnp.linspace(0.2, 0.8, SIZE))

    return jax.jit(measured)(1.5), jax.jit(measured)(jnp.nan)


@pytest.mark.parametrize("measure", [jacobians.log_jacobian_norms, lyapunov.log_growths])
def test_a_nan_in_one_layer_leaves_the_layers_before_it_and_marks_those_behind(measure):
    healthy, broken = map(np.asarray, _behind_a_broken_layer(measure))
    np.testing.assert_array_equal(healthy[:2], broken[:2])
    assert np.isfinite(healthy).all()
    assert np.isnan(broken[2:]).all()
