"""The transformer: an embedding, a Stack of equal blocks, a readout of every token."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import tables
from gradjax.arguments import SQUARABLE, choice, floating, real
from gradjax.chain import Stack
from gradjax.layers import compose, dense, transformer_block
from gradjax.layers.broken import token_by_token
from gradjax.layers.transformer import ARRANGEMENTS, NORMALIZATIONS
from gradjax.networks.embedding import embedding
from gradjax.numerics import as_key
from gradjax.room import axis


def transformer(
    key: Array | int,
    *,
    depth: int,
    width: int,
    heads: int = 1,
    tokens: int,
    norm: str = "pre",
    mlp: str = "gelu",
    causal: bool = False,
    qk_norm: bool = False,
    vocabulary: int | None = None,
    outputs: int | None = None,
    hidden: int | None = None,
    kernel_init: str | Callable = "glorot_uniform",
    normalization: str | Callable = "layer_norm",
    branch_scale: float = 1.0,
    embedding_std: float = 0.02,
    dtype=jnp.float32,
) -> list:
    """A transformer; one activation is a sequence, (tokens, width).

    Args:
        key: a random key, or a seed in [0, 2³²).
        depth: blocks, at least 1; each is one layer.
        width, heads: of each token; heads divide the width.
        tokens: the length of the sequence.
        norm: 'pre' (Pre-LN), 'post' (Post-LN) or 'deep' (DeepNorm).
        mlp: 'gelu', 'relu' or 'swiglu'.
        causal: token i sees the tokens up to i alone, and one that is not finite changes nothing of those before it, no
            gradient either: see `gradjax.layers.attention`.
        qk_norm: RMS-norm of every query and key.
        vocabulary: with it the input is (tokens,) integers below it; without it vectors, (tokens, width).
        outputs: of the readout of every token; None for `vocabulary`, or for no kernel behind the last block.
        hidden, kernel_init, normalization, branch_scale: see `gradjax.layers.transformer_block`.
        embedding_std: of the tables of tokens and positions.
        dtype: of the parameters.

    Returns:
        A list: the embedding, a `Stack` of `depth` blocks and the readout, which for 'pre' begins with a normalization.
        There is no third layer for 'post' and 'deep' without outputs.

    Raises:
        ValueError: an unknown name, heads that do not divide the width, a number below 1, a bad seed.

    Reference: Vaswani et al. (2017), arXiv:1706.03762; see `transformer_block` for the others.

    >>> layers = transformer(0, depth=3, width=4, heads=2, tokens=5, vocabulary=7)
    >>> print(len(layers[1]), layers[2](layers[1](layers[0](jnp.arange(5)))).shape)
    3 (5, 7)
    """
    depth, width, tokens = axis("depth", depth), axis("width", width), axis("tokens", tokens)
    vocabulary = None if vocabulary is None else axis("vocabulary", vocabulary)
    norm = choice("norm", norm, tuple(ARRANGEMENTS))
    embedding_std = real("embedding_std", embedding_std, SQUARABLE)
    dtype, outputs = floating(dtype), vocabulary if outputs is None else axis("outputs", outputs)
    first, last, *keys = jax.random.split(as_key(key), depth + 2)

    def one(key):
        return transformer_block(
            key, width, heads, norm, mlp, kernel_init, dtype, depth=depth, causal=causal, qk_norm=qk_norm,
            hidden=hidden, normalization=normalization, branch_scale=branch_scale,
        )  # fmt: skip

    ending = [tables.resolve(NORMALIZATIONS, normalization, "normalization")(width, dtype=dtype)] * (norm == "pre")
    ending += [dense(last, width, outputs, kernel_init=kernel_init, dtype=dtype)] if outputs else []
    start = embedding(first, tokens, width, vocabulary, embedding_std, dtype)
    blocks = Stack(jax.vmap(one)(jnp.stack(keys)))
    if not ending:
        return [start, blocks]
    return [start, blocks, Partial(token_by_token, compose(ending)) if causal else compose(ending)]
