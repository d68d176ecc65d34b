"""The transformer block: attention and a feed-forward part, each with a skip connection and a normalization.

Where the normalization stands decides what the gradient meets on its way back. In front of the branch (Pre-LN) the way
past multiplies by nothing; behind the sum (Post-LN) every block's gradient goes through every later normalization.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import tables
from gradjax.arguments import choice, real, whole
from gradjax.layers.attention import attention
from gradjax.layers.broken import in_causal_order
from gradjax.layers.composition import compose
from gradjax.layers.feed_forward import feed_forward
from gradjax.layers.normalization import layer_norm, rms_norm
from gradjax.layers.residual import residual
from gradjax.numerics import as_key, is_concrete
from gradjax.room import axis

NORMALIZATIONS = {"layer_norm": layer_norm, "rms_norm": rms_norm}


class Arrangement(NamedTuple):
    """Where the normalization stands, and by what the way past and the branch's kernels are multiplied at a depth N."""

    before: bool
    carry: Callable[[int], float]
    gain: Callable[[int], float]


def _one(depth: int) -> float:
    return 1.0


ARRANGEMENTS: dict[str, Arrangement] = {
    "pre": Arrangement(True, _one, _one),
    "post": Arrangement(False, _one, _one),
    "deep": Arrangement(False, lambda n: (2 * n) ** 0.25, lambda n: (8 * n) ** -0.25),
}


def transformer_block(
    key: Array,
    width: int,
    heads: int = 1,
    norm: str = "pre",
    mlp: str = "gelu",
    kernel_init: str | Callable = "glorot_uniform",
    dtype=jnp.float32,
    *,
    depth: int = 1,
    causal: bool = False,
    qk_norm: bool = False,
    hidden: int | None = None,
    normalization: str | Callable = "layer_norm",
    branch_scale: float = 1.0,
) -> Callable:
    """One transformer block, the callable pytree (tokens, width) → (tokens, width).

    'pre': h + F(N(h)); 'post': N(h + F(h)); 'deep' (DeepNorm): N(α h + F(h)) with α = (2N)^¼, and the kernels of F,
    but those of queries and keys, times β = (8N)^−¼. Each twice: F is first attention, then the feed-forward part.

    Args:
        key: a random key, or a seed in [0, 2³²).
        width: of each token.
        heads: a divisor of the width.
        norm: 'pre', 'post' or 'deep', see above.
        mlp: a name of `FEED_FORWARDS`: 'gelu', 'relu' or 'swiglu'.
        kernel_init: of all kernels, by name or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.
        depth: N, the number of blocks that the network will have; only 'deep' asks for it.
        causal, qk_norm: see `attention`; what is said there of a token that is not finite holds for the block.
        hidden: see `feed_forward`.
        normalization: 'layer_norm' or 'rms_norm', or a callable `(size, *, dtype) -> layer`.
        branch_scale: a of h + a F, see `residual`; 1/√depth keeps attention from making the tokens alike.

    Raises:
        ValueError: an unknown name, heads that do not divide the width, a width or a depth below 1.

    Reference: Vaswani et al. (2017), arXiv:1706.03762; Xiong et al. (2020), arXiv:2002.04745; Wang et al. (2022),
    arXiv:2203.00555, for DeepNorm; Noci et al. (2022), arXiv:2206.03126, for the branch scale.

    >>> layer = transformer_block(jax.random.key(0), 2, kernel_init="zeros")  # the branches give nothing
    >>> print(layer(jnp.array([[1.0, 2.0]])))
    [[1. 2.]]
    """
    before, carry, gain = ARRANGEMENTS[choice("norm", norm, tuple(ARRANGEMENTS))]
    width, depth = axis("width", width), whole("depth", depth)
    branch_scale = real("branch_scale", branch_scale) if is_concrete(branch_scale) else branch_scale
    normalize = tables.resolve(NORMALIZATIONS, normalization, "normalization")
    mixing, thinking = jax.random.split(as_key(key))
    options = {"value_gain": gain(depth)}
    branches = (
        attention(mixing, width, heads, kernel_init, dtype, causal=causal, qk_norm=qk_norm, **options),
        feed_forward(thinking, width, mlp, kernel_init, dtype, hidden=hidden, **options),
    )
    parts = []
    for branch in branches:
        one = normalize(width, dtype=dtype)
        around = residual([one, branch] if before else branch, branch_scale, carry=carry(depth))
        parts += [around] if before else [around, one]
    return Partial(in_causal_order, compose(parts)) if causal else compose(parts)
