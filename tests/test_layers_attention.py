"""Attention and transformer blocks against jax's own attention and closed forms."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from gradjax.chain import run
from gradjax.jacobians import input_output_jacobian
from gradjax.layers import ARRANGEMENTS, FEED_FORWARDS, attention, attention_logits, feed_forward, transformer_block
from gradjax.layers.transformer import NORMALIZATIONS
from gradjax.networks import embedding, transformer
from gradjax.theory.residual import deepnorm_constants

KEY = jax.random.key(21)
TOKENS, WIDTH, HEADS = 5, 6, 2


def sequence(dtype="float32", tokens=TOKENS):
    return jax.random.normal(KEY, (tokens, WIDTH), dtype)


def close(a, b, precision):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=100 * float(jnp.finfo(precision).eps))


def by_hand(p, h, causal):
    """By NumPy in float64, head by head, as the paper writes it."""
    p, h = {name: np.asarray(leaf, np.float64) for name, leaf in p.items()}, np.asarray(h, np.float64)
    heads, size = [], WIDTH // HEADS
    for columns in (slice(i * size, (i + 1) * size) for i in range(HEADS)):
        q, k, v = (h @ p[name][:, columns] for name in ("query", "key", "value"))
        weights = np.exp(q @ k.T / np.sqrt(size)) * (np.tri(TOKENS) if causal else 1)
        heads.append(weights / weights.sum(axis=1, keepdims=True) @ v)
    return np.concatenate(heads, axis=1) @ p["out"]


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_the_attention_of_the_paper(causal, precision):
    layer, h = attention(KEY, WIDTH, HEADS, dtype=jnp.dtype(precision), causal=causal), sequence(precision)
    close(layer(h), by_hand(layer.args[0], h, causal), precision)


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_the_attention_of_jax(causal):
    layer, h = attention(KEY, WIDTH, HEADS, causal=causal), sequence()
    p = layer.args[0]
    q, k, v = ((h @ p[name]).reshape(TOKENS, HEADS, -1) for name in ("query", "key", "value"))
    close(layer(h), jax.nn.dot_product_attention(q, k, v, is_causal=causal).reshape(h.shape) @ p["out"], "float32")


def test_a_causal_token_depends_on_nothing_behind_it(x64):
    layer = attention(KEY, WIDTH, HEADS, dtype=jnp.float64, causal=True)
    jacobian = np.asarray(input_output_jacobian([layer], sequence("float64"))).reshape(TOKENS, WIDTH, TOKENS, WIDTH)
    size = np.abs(jacobian).max(axis=(1, 3))
    assert not np.triu(size, 1).any() and (size[np.tril_indices(TOKENS)] > 0).all()


@pytest.mark.slow
def test_tokens_exchanged_are_outputs_exchanged(precision):
    block, h = transformer_block(KEY, WIDTH, HEADS, dtype=jnp.dtype(precision)), sequence(precision)
    close(block(h[::-1]), block(h)[::-1], precision)


def test_normalized_queries_and_keys_bound_the_logits():
    """|q| = |k| = √d, so |q · k| / √d <= √d = √3, however large the kernels; without, they grow as their square."""
    free = attention(KEY, WIDTH, HEADS, lambda *a: 100 * jax.random.normal(*a))
    bound = attention(KEY, WIDTH, HEADS, lambda *a: 100 * jax.random.normal(*a), qk_norm=True)
    assert jnp.abs(attention_logits(bound, sequence())).max() <= 3**0.5 * (1 + 1e-6)
    assert jnp.abs(attention_logits(free, sequence())).max() > 1000


def test_uniform_attention_has_rank_one_after_one_layer(x64):
    """Without queries every token takes the mean of the values: 1 (mean h) V O, and its Jacobian has rank `width`."""
    layer, h = attention(KEY, WIDTH, HEADS, dtype=jnp.float64), sequence("float64")
    p = layer.args[0]
    layer = Partial(layer.func, p | {"query": jnp.zeros_like(p["query"])})
    expected = jnp.mean(h, axis=0) @ p["value"] @ p["out"]
    close(layer(h), jnp.broadcast_to(expected, h.shape), "float64")
    assert np.linalg.matrix_rank(layer(h)) == 1
    jacobian = np.asarray(input_output_jacobian([layer], h)).reshape(TOKENS, WIDTH, TOKENS, WIDTH)
    each = np.asarray(p["value"] @ p["out"]).T / TOKENS  # J = (1/T) 1 1ᵀ ⊗ (V O)ᵀ
    close(jacobian, np.broadcast_to(each[None, :, None, :], jacobian.shape), "float64")


def spread(h):
    """The part of the tokens that their mean leaves: |h − mean| / |h|, 0 where all are alike."""
    return float(jnp.linalg.norm(h - h.mean(axis=0, keepdims=True)) / jnp.linalg.norm(h))


def test_a_skip_keeps_the_tokens_apart_where_attention_alone_makes_them_one():
    pure, skipped = sequence(), sequence()
    for key in jax.random.split(KEY, 6):
        layer = attention(key, WIDTH, HEADS, "orthogonal")
        pure, skipped = layer(pure), skipped + layer(skipped)
    assert spread(pure) < 1e-3 < 0.1 < spread(skipped)


@pytest.mark.parametrize("norm", ARRANGEMENTS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_arrangements_are_those_of_the_papers(norm, normalization, precision):
    dtype, depth, h = jnp.dtype(precision), 9, sequence(precision)
    block = transformer_block(KEY, WIDTH, HEADS, norm, dtype=dtype, depth=depth, normalization=normalization)
    mixing, thinking = jax.random.split(KEY)
    alpha, beta = deepnorm_constants(depth, 0)[:2] if norm == "deep" else (1.0, 1.0)
    normalize = NORMALIZATIONS[normalization](WIDTH, dtype=dtype)
    expected = h
    for branch in (
        attention(mixing, WIDTH, HEADS, dtype=dtype, value_gain=beta),
        feed_forward(thinking, WIDTH, dtype=dtype, value_gain=beta),
    ):
        if norm == "pre":
            expected = expected + branch(normalize(expected))
        else:
            expected = normalize(alpha * expected + branch(expected))
    close(block(h), expected, precision)


def test_deepnorm_makes_values_small_and_leaves_queries_alone():
    plain, scaled = (attention(KEY, WIDTH, value_gain=gain).args[0] for gain in (1.0, 0.5))
    for name in plain:
        close(scaled[name], plain[name] * (0.5 if name in ("value", "out") else 1.0), "float32")


def test_swiglu_is_its_formula_and_has_as_many_parameters_as_gelu(precision):
    dtype, width = jnp.dtype(precision), 12
    layers = {kind: feed_forward(KEY, width, kind, dtype=dtype) for kind in FEED_FORWARDS}
    kernels = {k: sum(leaf.size for leaf in jax.tree.leaves(v) if leaf.ndim == 2) for k, v in layers.items()}
    assert set(kernels.values()) == {8 * width**2}
    h, p = jax.random.normal(KEY, (3, width), dtype), layers["swiglu"].args[0]
    inner = h @ p["in"]
    close(layers["swiglu"](h), (inner / (1 + jnp.exp(-inner)) * (h @ p["gate"])) @ p["out"], precision)


@pytest.mark.parametrize("norm", ARRANGEMENTS)
def test_a_transformer_reads_ids_and_writes_logits(norm):
    layers = transformer(0, depth=3, width=4, heads=2, tokens=5, vocabulary=7, norm=norm)
    assert len(layers[1]) == 3 and run(layers, jnp.arange(5)).shape == (5, 7)
    assert len(transformer(0, depth=1, width=4, tokens=5, norm=norm)) == (3 if norm == "pre" else 2)


@pytest.mark.slow
def test_depth_costs_no_program():
    def length(depth):
        layers = transformer(0, depth=depth, width=4, tokens=2)
        return len(str(jax.make_jaxpr(lambda x: run(layers, x))(jnp.ones((2, 4)))).splitlines())

    assert length(2) == length(40)


REFUSED = {
    "heads is 0": lambda: attention(KEY, 4, 0),
    "width is 5, expected a multiple of the 2 heads": lambda: attention(KEY, 5, 2),
    "norm is 'Pre', expected one of pre, post, deep": lambda: transformer_block(KEY, 4, norm="Pre"),
    "mlp is 'glu', expected one of gelu": lambda: feed_forward(KEY, 4, "glu"),
    "normalization='batch'": lambda: transformer_block(KEY, 4, normalization="batch"),
    "depth is 0": lambda: transformer(0, depth=0, width=4, tokens=2),
    "tokens is 1.5": lambda: transformer(0, depth=1, width=4, tokens=1.5),
    "expected 3 tokens": lambda: embedding(KEY, 3, 2)(jnp.ones((4, 2))),
    "expected integers": lambda: embedding(KEY, 3, 2, 5)(jnp.ones(3)),
    "expected what gradjax.layers.attention makes": lambda: attention_logits(feed_forward(KEY, 4), jnp.ones((2, 4))),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_makes_no_transformer_is_refused(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        REFUSED[words]()
