"""Attention: every token takes a weighted mean of what all tokens offer; the activation is (tokens, width).

softmax(Q Kᵀ / √d) V, by head. With equal weights every token takes the same mean, and the tokens become one: a deep
stack of attention alone collapses to rank one (Dong, Cordonnier, Loukas 2021, arXiv:2103.03404).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import initializers
from gradjax.arguments import flag, floating, numeric, real, said
from gradjax.layers.broken import in_causal_order
from gradjax.layers.normalization import rms_norm
from gradjax.numerics import as_key
from gradjax.room import axis

KERNELS = ("query", "key", "value", "out")


@dataclass(frozen=True)
class Attention:
    """The pure function (parameters, h) ↦ concat_heads(softmax(Q Kᵀ / √d) V) O, with Q, K, V = h W of each head.

    Args:
        heads: the width is divided among them, d = width / heads.
        causal: token i sees the tokens up to i alone.
    """

    heads: int
    causal: bool

    def __call__(self, parameters: dict, h: Array) -> Array:
        mixed = Partial(self._mixed, parameters)
        return in_causal_order(mixed, h) if self.causal else mixed(h)

    def _mixed(self, parameters: dict, h: Array) -> Array:
        weights = jax.nn.softmax(self.logits(parameters, h), axis=-1)
        values = self._by_head(h @ parameters["value"])
        return jnp.einsum("hqk,khd->qhd", weights, values).reshape(h.shape) @ parameters["out"]

    def logits(self, parameters: dict, h: Array) -> Array:
        """Q Kᵀ / √d, (heads, queries, keys); −inf where a causal query may not look."""
        q, k = (self._by_head(h @ parameters[name]) for name in ("query", "key"))
        if "query_norm" in parameters:
            q, k = parameters["query_norm"](q), parameters["key_norm"](k)
        scores = jnp.einsum("qhd,khd->hqk", q, k) / q.shape[-1] ** 0.5
        if not self.causal:
            return scores
        seen = jnp.tril(jnp.ones(scores.shape[1:], bool))
        return jnp.where(seen[None], scores, -jnp.inf)

    def _by_head(self, z: Array) -> Array:
        return z.reshape(len(z), self.heads, -1)


def attention(
    key: Array,
    width: int,
    heads: int = 1,
    kernel_init: str | Callable = "glorot_uniform",
    dtype=jnp.float32,
    *,
    causal: bool = False,
    qk_norm: bool = False,
    value_gain: float = 1.0,
) -> Partial:
    """Multi-head attention of a sequence to itself, the callable pytree (tokens, width) → (tokens, width).

    Args:
        key: a random key, or a seed in [0, 2³²).
        width: of each token.
        heads: a divisor of the width.
        kernel_init: of the four kernels (query, key, value, out), by name or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.
        causal: token i sees the tokens up to i alone; a token that is not finite makes NaN of itself and of those
            behind it, values and derivatives, and changes nothing of those before it: where no loss looks at the
            marked ones (cotangent 0), the gradients, those of the parameters too, are those without them.
        qk_norm: RMS-norm of every query and key, which bounds the logits by √d times two learnt gains.
        value_gain: multiplies the kernels of value and out at the start (DeepNorm's β).

    Raises:
        ValueError: a width or a number of heads below 1, or heads that do not divide the width.

    Reference: Vaswani et al. (2017), arXiv:1706.03762; Henry et al. (2020), arXiv:2010.04245, and Dehghani et al.
    (2023), arXiv:2302.05442, for QK-norm.

    >>> layer = attention(jax.random.key(0), 1, kernel_init="identity", causal=True)
    >>> print(layer(jnp.zeros((2, 1)) + 3)[:, 0])  # tokens that are alike stay as they are
    [3. 3.]
    """
    width, heads, dtype = axis("width", width), axis("heads", heads), floating(dtype)
    if width % heads:
        raise ValueError(f"width is {width}, expected a multiple of the {heads} heads")
    value_gain, causal, qk_norm = real("value_gain", value_gain), flag("causal", causal), flag("qk_norm", qk_norm)
    draw = initializers.resolve(kernel_init)
    keys = dict(zip(KERNELS, jax.random.split(as_key(key), len(KERNELS)), strict=True))
    parameters: dict = {name: draw(keys[name], (width, width), dtype) for name in KERNELS}
    parameters |= {name: parameters[name] * value_gain for name in ("value", "out")}
    if qk_norm:
        parameters |= {name: rms_norm(width // heads, dtype=dtype) for name in ("query_norm", "key_norm")}
    return Partial(Attention(heads, causal), parameters)


def attention_logits(layer: Partial, h: Array) -> Array:
    """What the softmax of an attention layer is given, (heads, queries, keys): one entry reigns where they grow large.

    Args:
        layer: what `attention` made.
        h: its activation, (tokens, width).

    >>> print(attention_logits(attention(jax.random.key(0), 1, kernel_init="identity"), jnp.array([[1.0], [2.0]]))[0])
    [[1. 2.]
     [2. 4.]]
    """
    if not (isinstance(layer, Partial) and isinstance(layer.func, Attention)):
        raise ValueError(f"layer is {said(layer)}, expected what gradjax.layers.attention makes")
    h, width = jnp.asarray(numeric("h", h, ranks=(2,))), len(layer.args[0]["query"])
    kind = layer.args[0]["query"].dtype
    if h.shape[1] != width or not h.size or h.dtype != kind:
        raise ValueError(f"h is {said(h)}, expected (tokens, {width}) of {kind}, the layer's own dtype")
    return layer.func.logits(layer.args[0], h)
