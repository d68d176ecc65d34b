"""The gated (highway) layer: each unit decides how much of its input it carries past the layer.

h ↦ t F(h) + (1 − t) h with t = σ(h W + b). A gate that starts nearly closed (b < 0) makes a deep network nearly the
identity, so that its gradient arrives; learning opens the gates where they are of use.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import as_function, real
from gradjax.chain import Coupled, describe
from gradjax.layers.composition import compose, couples
from gradjax.layers.dense import dense
from gradjax.room import axis


def gated(
    key: Array,
    size: int,
    branch: Callable | Sequence[Callable],
    kernel_init: str | Callable = "lecun_normal",
    *,
    gate_bias: float = -2.0,
    dtype=jnp.float32,
) -> Callable:
    """A layer behind gates, the callable pytree h ↦ t F(h) + (1 − t) h with t = σ(h W + b).

    Args:
        key: a random key or a seed in [0, 2³²), for the gates' weights.
        size: units of the activation.
        branch: F, a layer or a sequence of layers that keeps the activation's shape.
        kernel_init: of W, by name or `(key, shape, dtype) -> Array`.
        gate_bias: b at the start; negative values carry, −2 lets 12 % of F through.
        dtype: of the gates' parameters.

    Raises:
        ValueError: when called, a branch that changes the activation's shape.

    Reference: Srivastava, Greff, Schmidhuber (2015), Highway Networks, arXiv:1505.00387.

    >>> layer = gated(jax.random.key(0), 2, lambda h: 0 * h, "zeros", gate_bias=0.0)  # every gate is half open
    >>> print(layer(jnp.array([4.0, -2.0])))
    [ 2. -1.]
    """

    return through_gates(gates(key, size, kernel_init, gate_bias=gate_bias, dtype=dtype), branch)


def gates(
    key: Array, size: int, kernel_init: str | Callable = "lecun_normal", *, gate_bias: float = -2.0, dtype=jnp.float32
) -> Partial:
    """The gates alone, the callable pytree h ↦ t = σ(h W + b); arguments as in `gated`.

    >>> print(gates(jax.random.key(0), 2, "zeros", gate_bias=0.0)(jnp.ones(2)))
    [0.5 0.5]
    """
    size, gate_bias = axis("size", size), real("gate_bias", gate_bias)

    def bias(_: Any, shape, dtype):
        return jnp.full(shape, gate_bias, dtype)

    return dense(key, size, size, "sigmoid", kernel_init, bias, dtype)


def through_gates(gate: Callable, branch: Callable | Sequence[Callable]) -> Callable:
    """A layer behind gates that are given, the callable pytree h ↦ t F(h) + (1 − t) h with t = gate(h).

    >>> print(through_gates(lambda h: 0 * h + 0.25, lambda h: 5 * h)(jnp.array([1.0])))
    [2.]
    """
    body, gate = compose(branch), as_function("gate", gate, "activation -> gates in [0, 1]")
    layer = Partial(_carry, body, gate)
    return Coupled(layer) if couples(body) else layer


def _carry(branch, gate, h):
    f, t = branch(h), (jax.vmap(gate) if couples(branch) else gate)(h)
    if describe(f) != describe(h):
        raise ValueError(f"the branch maps {describe(h)} to {describe(f)}, expected the same shape: both are mixed")
    return t * f + (1 - t) * h
