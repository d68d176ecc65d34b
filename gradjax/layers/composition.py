"""Several layers as one, so that a `Stack` can repeat them and a skip connection can lead around them."""

from collections.abc import Callable, Sequence

import jax
from jax.tree_util import Partial

from gradjax.arguments import as_function
from gradjax.chain import Coupled, Stack
from gradjax.chain.door import as_sequence


def compose(layers: Callable | Sequence[Callable]) -> Callable:
    """One layer from several, the callable pytree h ↦ f_k(… f_1(h)).

    Where one of them couples the examples of a batch (`gradjax.chain.Coupled`, batch-norm), so does the whole: its
    activation is then the batch, (examples, …), and the others are mapped over the examples.

    Args:
        layers: a sequence of callable pytrees activation -> activation, or one, which is returned unchanged.

    Raises:
        ValueError: no layers, or something that cannot be called.

    >>> import jax.numpy as jnp
    >>> print(compose([jnp.abs, lambda h: h + 1])(jnp.array([-2.0])))
    [3.]
    """
    layers = [layers] if callable(layers) else as_sequence(layers)
    for index, layer in enumerate(layers):
        as_function(f"layers[{index}]", layer, "on activations")
    parts = tuple(_as_tree(layer) for layer in layers)
    if len(parts) == 1:
        return parts[0]
    if any(couples(part) for part in parts):
        return Coupled(Partial(_on_batch, parts))
    return Partial(_in_turn, parts)


def couples(layer: Callable) -> bool:
    """Whether the layer's activation is a whole batch."""
    return isinstance(layer.layer if isinstance(layer, Stack) else layer, Coupled)


def _as_tree(layer: Callable) -> Callable:
    # a bare function is a leaf, which vmap over keys (how a Stack is drawn) refuses to return
    return Partial(layer) if jax.tree_util.all_leaves([layer]) else layer


def _in_turn(layers: tuple, h):
    for layer in layers:
        h = layer(h)
    return h


def _on_batch(layers: tuple, h):
    for layer in layers:
        h = layer(h) if couples(layer) else jax.vmap(layer)(h)
    return h
