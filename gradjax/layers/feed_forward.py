"""The part of a transformer block that acts on each token alone: wider, through a nonlinearity, and back.

GELU has one kernel in; SwiGLU has two, of which one, through SiLU, says how much of the other passes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, initializers
from gradjax.arguments import choice, floating, real
from gradjax.numerics import as_key
from gradjax.room import axis


class Form(NamedTuple):
    """A form of the layer: φ, whether it has gates, hidden units over width."""

    activation: str
    gated: bool
    ratio: float


FEED_FORWARDS: dict[str, Form] = {
    "gelu": Form("gelu", False, 4),
    "relu": Form("relu", False, 4),
    "swiglu": Form("silu", True, 8 / 3),  # three kernels of this size have as many entries as two of the others
}


@dataclass(frozen=True)
class FeedForward:
    """The pure function (parameters, h) ↦ φ(h W + b) V + c, or (φ(h W) ∗ h G) V where there are gates G."""

    activation: Callable[[Array], Array]

    def __call__(self, parameters: dict[str, Array], h: Array) -> Array:
        inner = self.activation(_affine(parameters, "in", h))
        inner = inner * (h @ parameters["gate"]) if "gate" in parameters else inner
        return _affine(parameters, "out", inner)


def _affine(parameters: dict[str, Array], name: str, h: Array) -> Array:
    z = h @ parameters[name]
    bias = f"{name}_bias"
    return z + jnp.broadcast_to(parameters[bias], z.shape) if bias in parameters else z


def feed_forward(
    key: Array,
    width: int,
    kind: str = "gelu",
    kernel_init: str | Callable = "glorot_uniform",
    dtype=jnp.float32,
    *,
    hidden: int | None = None,
    value_gain: float = 1.0,
) -> Partial:
    """Two layers on the last axis, the callable pytree (…, width) → (…, width) of the form that `kind` names.

    Args:
        key: a random key, or a seed in [0, 2³²).
        width: units that enter and leave.
        kind: a name of `FEED_FORWARDS`: 'gelu' or 'relu', φ(h W + b) V + c; 'swiglu', (SiLU(h W) ∗ h G) V.
        kernel_init: of the kernels, by name or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.
        hidden: units between; by default 4 · width, for 'swiglu' 8/3 · width, which has as many parameters.
        value_gain: multiplies the kernels at the start (DeepNorm's β).

    Raises:
        ValueError: an unknown kind; a width below 1.

    Reference: Vaswani et al. (2017), arXiv:1706.03762; Shazeer (2020), arXiv:2002.05202.

    >>> layer = feed_forward(jax.random.key(0), 2, "relu", "identity", hidden=2)
    >>> print(layer(jnp.array([3.0, -1.0])))
    [3. 0.]
    """
    width, dtype, value_gain = axis("width", width), floating(dtype), real("value_gain", value_gain)
    activation, gated, ratio = FEED_FORWARDS[choice("mlp", kind, tuple(FEED_FORWARDS))]
    hidden = max(1, round(ratio * width)) if hidden is None else axis("hidden", hidden)
    draw = initializers.resolve(kernel_init)
    shapes = {"in": (width, hidden), "out": (hidden, width)} | ({"gate": (width, hidden)} if gated else {})
    keys = jax.random.split(as_key(key), len(shapes))
    parameters = {n: draw(k, shape, dtype) * value_gain for k, (n, shape) in zip(keys, shapes.items(), strict=True)}
    if not gated:
        parameters |= {"in_bias": jnp.zeros((hidden,), dtype), "out_bias": jnp.zeros((width,), dtype)}
    return Partial(FeedForward(activations.resolve(activation)), parameters)
