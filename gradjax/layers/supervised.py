"""Deep supervision: every layer has a readout of its own, so that each is told directly what is wanted of it.

The activation becomes a pair (h, outputs): `open_heads` makes it, each supervised layer appends what its head says, and
`close_heads` gives all outputs back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import as_function, whole
from gradjax.chain import Coupled
from gradjax.layers.composition import couples

FORM = "activation -> activation"


@dataclass(frozen=True)
class Open:
    """The function of `open_heads`; equal to every other with the same shape, so that jit compiles once."""

    count: int
    outputs: int

    def __call__(self, h: Array) -> tuple[Array, Array]:
        return h, jnp.zeros((self.count, self.outputs), h.dtype)


def supervised(layer: Callable, head: Callable) -> Callable:
    """A layer with a readout, the callable pytree (h, outputs) ↦ (f(h), outputs without the first, then g(f(h))).

    Args:
        layer: f, a callable pytree activation → activation; `Coupled` where it couples the examples, and then so is
            the whole.
        head: g, a callable pytree activation → (k,).

    Reference: Lee, Xie, Gallagher, Zhang, Tu (2015), Deeply-Supervised Nets, arXiv:1409.5185.

    >>> layers = [open_heads(2, 1), *[supervised(lambda h: 2 * h, lambda h: h[:1])] * 2, close_heads(lambda h: -h)]
    >>> state = jnp.array([3.0])
    >>> for layer in layers:
    ...     state = layer(state)
    >>> print(state[:, 0])
    [  6.  12. -12.]
    """
    layer, head = as_function("layer", layer, FORM), as_function("head", head, FORM)
    step = Partial(_step, layer, head)
    return Coupled(step) if couples(layer) else step


def open_heads(count: int, outputs: int) -> Callable:
    """The layer h ↦ (h, zeros), which stands in front of `count` supervised layers with heads of k = `outputs`.

    >>> print(open_heads(2, 1)(jnp.ones(3))[1][:, 0])
    [0. 0.]
    """
    return Open(whole("count", count), whole("outputs", outputs))


def close_heads(head: Callable) -> Partial:
    """The layer (h, outputs) ↦ (count + 1, k): the outputs of all heads, and below them that of this last one.

    >>> print(close_heads(lambda h: 2 * h)((jnp.ones(1), jnp.zeros((2, 1))))[:, 0])
    [0. 0. 2.]
    """
    return Partial(_close, as_function("head", head, FORM))


def _step(layer, head, state):
    h = layer(state[0])
    said = (jax.vmap(head) if couples(layer) else head)(h)
    return h, jnp.concatenate([state[1][..., 1:, :], said[..., None, :]], axis=-2)


def _close(head, state):
    return jnp.concatenate([state[1], head(state[0])[None]])
