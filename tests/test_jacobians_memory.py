"""Jacobians within memory: chunks give the same matrix, and the size is said and kept beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import Coupled, Stack
from gradjax.jacobians import input_output_jacobian, jacobian_sizes, layer_jacobians, log_jacobian_norms
from gradjax.jacobians.exact import _layer_jacobians
from gradjax.jacobians.plan import check_memory, in_words
from gradjax.networks import mlp
from tests.variants import reverse_only


def attention(w, h):
    """Every token looks at every other: what stands inside is larger than the activation."""
    return jax.nn.softmax((h @ w) @ h.T) @ h


def small(dtype, shape=(12, 5)):
    w = jax.random.normal(jax.random.key(0), (5, 5), dtype)
    return Partial(attention, w), jax.random.normal(jax.random.key(1), shape, dtype)


@pytest.mark.parametrize("outputs", ["as many", "fewer", "reverse only"])
def test_chunks_give_the_matrix_that_all_columns_at_once_give(outputs, precision):
    layer, x = small(jnp.dtype(precision))
    layers = [layer, *{"fewer": [lambda h: h[:2]], "reverse only": [reverse_only]}.get(outputs, [])]
    memory = 30_000 * np.dtype(precision).itemsize
    sizes = jacobian_sizes(layers, x, memory=memory)
    assert sizes[0].chunk < 60 and (sizes[0].inputs, sizes[0].outputs) == (60, 60)
    assert jacobian_sizes(layers, x)[0].chunk == 60
    tolerance = 100 * np.finfo(precision).eps
    for a, b in zip(layer_jacobians(layers, x, memory=memory), layer_jacobians(layers, x), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    a, b = (input_output_jacobian(layers, x, memory=m) for m in (memory, 2**31))
    np.testing.assert_allclose(a, b, atol=tolerance)


def test_a_stack_and_a_batch_are_chunked_too(x64):
    layer, x = small(jnp.float64, (3, 12, 5))
    layers = [Stack(Partial(attention, jnp.stack([layer.args[0]] * 4)))]
    [size] = jacobian_sizes(layers, x, batch_axis=0, memory=2_000_000)
    assert size.copies == 12 and size.chunk < 60
    [few], [all_at_once] = (layer_jacobians(layers, x, batch_axis=0, memory=m) for m in (2_000_000, 2**31))
    assert few.shape == (3, 4, 60, 60)
    np.testing.assert_allclose(few, all_at_once, atol=1e-14)


def test_the_size_is_said_beforehand_and_beyond_memory_it_raises():
    layers, x = mlp(0, [100] * 11, "tanh"), jnp.ones(100)
    [stack, last] = jacobian_sizes(layers, x)
    assert (stack.copies, stack.outputs, stack.inputs, last.copies) == (9, 100, 100, 1)
    assert stack.bytes >= 4 * 9 * 100 * 100
    message = r"most of it in entry 0 of layers \(9 of 100 x 100\).*at most memory = 97.66 KiB: raise memory"
    for function in (layer_jacobians, input_output_jacobian):
        with pytest.raises(ValueError, match=message if function is layer_jacobians else "raise memory"):
            function(layers, x, memory=100_000)
    check_memory([stack, None, last], stack.bytes + last.bytes)
    assert [in_words(size) for size in (0, 1023, 2**20, 5 * 2**40)] == ["0 bytes", "1023 bytes", "1 MiB", "5 TiB"]


@pytest.mark.parametrize("memory", [2**24, 2**28])
def test_the_program_takes_no_more_than_was_said(memory):
    w = jax.random.normal(jax.random.key(0), (16, 16), jnp.float32)
    layers, x = [Partial(attention, w)], jax.random.normal(jax.random.key(1), (64, 16), jnp.float32)
    [size] = jacobian_sizes(layers, x, memory=memory)
    from gradjax.chain import admit

    analysis = _layer_jacobians.lower(*admit(layers, x), min(2**27, memory // 8)).compile().memory_analysis()
    assert analysis.output_size_in_bytes >= 4 * 1024**2
    assert analysis.temp_size_in_bytes + analysis.output_size_in_bytes <= size.bytes <= memory


def test_norms_are_exact_and_form_nothing(precision):
    layer, x = small(jnp.dtype(precision))
    layers = [
        layer,
        Stack(Partial(lambda w, h: jnp.sin(h @ w), jnp.ones((3, 5, 5), x.dtype))),
        lambda h: 0 * h[:1],
        jnp.ravel,
    ]
    expected = [j for e in layer_jacobians(layers, x) for j in (e if e.ndim == 3 else e[None])]
    for memory in (2**31, 100_000):
        logs = log_jacobian_norms(layers, x, memory=memory)
        with np.errstate(divide="ignore"):
            right = [np.log(np.linalg.norm(np.asarray(j, np.float64))) for j in expected]
        np.testing.assert_allclose(logs, right, atol=20 * np.finfo(precision).eps)
    huge = log_jacobian_norms([lambda h: h * 1e30], jnp.ones(4, x.dtype))  # its square is no float32
    np.testing.assert_allclose(huge, np.log(2e30), rtol=1e-6)


def test_norms_of_a_batch_of_tokens_and_of_a_coupled_layer(x64):
    table = jax.random.normal(jax.random.key(0), (7, 3))
    layers = [Partial(lambda table, ids: table[ids], table), jnp.tanh]
    ids = jnp.array([[1, 2], [3, 4], [0, 0]])
    logs = log_jacobian_norms(layers, ids, batch_axis=0)
    np.testing.assert_allclose(
        logs[:, 0], [np.log(np.linalg.norm(1 - np.tanh(table[i]) ** 2)) for i in ids], rtol=1e-12
    )
    centre = Coupled(lambda h: h - h.mean(axis=0, keepdims=True))
    x = jax.random.normal(jax.random.key(1), (6, 4))  # a projection: its norm is the root of its rank
    np.testing.assert_allclose(log_jacobian_norms([centre], x, batch_axis=0), np.log(4 * 5) / 2, rtol=1e-12)
