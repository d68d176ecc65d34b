"""Depth and time: many layers of one shape as one pytree, run under `lax.scan`.

The program of a `Stack` is equally long at depth 10 and at depth 100 000; a Python list of layers is not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import numeric, said
from gradjax.chain.door import (
    STATIC,
    Constant,
    Coupled,
    Layer,
    as_layer,
    as_sequence,
    is_parameter,
    register,
)


@register
@dataclass(frozen=True)
class Stack:
    """Layers of one shape, one after the other: a callable pytree whose array leaves carry a leading depth axis.

    Args:
        layer: a callable pytree; `leaf[l]` belongs to the layer at depth l. It must keep the activation's shape.
        tied: for each leaf of `layer`, whether it is one for all depths and has no depth axis (`unroll` sets it).

    >>> import jax.numpy as jnp
    >>> from jax.tree_util import Partial
    >>> halving = Stack(Partial(jnp.multiply, jnp.full((10, 3), 0.5)))
    >>> print(len(halving), halving(jnp.full(3, 1024.0)))
    10 [1. 1. 1.]
    """

    layer: Any
    tied: tuple[bool, ...] | None = field(metadata=STATIC, default=None)

    def __len__(self) -> int:
        return self.depth

    @property
    def depth(self) -> int:
        """The number of layers."""
        return stacked_leaves(self)[0].shape[0]

    def __call__(self, x):
        stack = as_stack(self)
        return jax.lax.scan(lambda h, leaves: (slice_of(stack, leaves)(h), None), x, stacked_leaves(stack))[0]


type_of_entry = Layer | Stack  # what as_layers returns a list of


def as_layers(layers, parameters: Callable = is_parameter) -> list[type_of_entry]:
    """The one door: each layer split into parameters, constants (keys, integers, statistics) and static parts.

    Args:
        layers: a sequence of callable pytrees activation -> activation, `Stack`s among them (or one Stack);
            functions, `jax.tree_util.Partial`, Equinox and Flax NNX modules are such.
        parameters: `(path, leaf) -> bool`, which inexact array leaves are parameters; the path is
            `jax.tree_util.keystr` of the leaf within its layer. By default all, but Flax NNX statistics and what
            stands inside `Constant`.

    Returns:
        A list of `Layer` and `Stack` of `Layer`; behind the door already, they pass unchanged.

    Raises:
        ValueError: no layers, something not callable, leaves without the depth axis of their Stack. Indices
            count the layers inside a Stack.

    >>> import jax.numpy as jnp
    >>> [layer] = as_layers([jnp.tanh])
    >>> print(layer.parameters, layer(jnp.zeros(2)))
    () [0. 0.]
    """
    entries, index = [], 0
    for entry in [layers] if isinstance(layers, Stack) else as_sequence(layers):
        if isinstance(entry, Stack):
            entries.append(as_stack(entry, parameters, index))
        else:
            entries.append(as_layer(entry, parameters, index))
        index += depth_of(entries[-1])
    return entries


def as_stack(stack: Stack, parameters: Callable = is_parameter, index: int = 0) -> Stack:
    """A Stack whose layer is a `Layer`."""
    if isinstance(stack.layer, Layer):
        return stack
    layer = as_layer(stack.layer, parameters, f"{index}: Stack")
    tied = stack.tied or (False,) * len(layer.kinds)
    if len(tied) != len(layer.kinds):
        raise ValueError(f"layers[{index}]: tied has {len(tied)} entries, expected one for each of {len(layer.kinds)}")
    by_kind = {k: [t for t, kind in zip(tied, layer.kinds, strict=True) if kind == k] for k in "pc"}
    stack = Stack(layer, tuple(by_kind["p"] + by_kind["c"]))
    leaves = stacked_leaves(stack)
    if not leaves:
        raise ValueError(f"layers[{index}]: a Stack without array leaves has no depth; pass a list of layers instead")
    depths = {np.shape(leaf)[0] if np.ndim(leaf) else None for leaf in leaves}
    if len(depths) != 1 or depths & {None, 0}:
        raise ValueError(
            f"layers[{index}]: the leaves of a Stack have leading axes {sorted(depths, key=str)}, expected one depth "
            ">= 1 shared by all (a leaf that is one for all depths belongs into `unroll` or `tied`)"
        )
    return stack


def stacked_leaves(stack: Stack) -> list[Array]:
    """The leaves that carry the depth axis."""
    leaves = jax.tree.leaves(stack.layer)
    return [leaf for leaf, tied in zip(leaves, stack.tied or (False,) * len(leaves), strict=True) if not tied]


def slice_of(stack: Stack, leaves):
    """The layer that one slice of `stacked_leaves` makes together with the tied leaves."""
    own, structure = jax.tree.flatten(stack.layer)
    source = iter(leaves)
    tied = stack.tied or (False,) * len(own)
    return structure.unflatten([leaf if t else next(source) for leaf, t in zip(own, tied, strict=True)])


def depth_of(entry: type_of_entry) -> int:
    """How many layers the entry stands for."""
    entry = _admitted(entry)
    return entry.depth if isinstance(entry, Stack) else 1


def layer_of(entry: type_of_entry) -> Layer:
    """The entry's layer, with the depth axis on its leaves where the entry is a Stack."""
    entry = _admitted(entry)
    return entry.layer if isinstance(entry, Stack) else entry


def _admitted(entry: type_of_entry) -> type_of_entry:
    if not isinstance(entry, (Layer, Stack)):
        raise ValueError(f"entry is {said(entry)}, expected one of those that `as_layers` returns")
    return entry


def untied(stack: Stack) -> Stack:
    """The Stack with every tied leaf repeated along the depth axis, so that each depth has a gradient of its own."""
    if not isinstance(stack, Stack):
        raise ValueError(f"stack is {said(stack)}, expected a Stack such as `unroll` makes")
    leaves, structure = jax.tree.flatten(stack.layer)
    repeated = [
        jnp.broadcast_to(leaf, (stack.depth, *leaf.shape)) if tied else leaf
        for leaf, tied in zip(leaves, stack.tied or (), strict=True)
    ]
    return Stack(structure.unflatten(repeated), (False,) * len(leaves))


def unroll(cell: Callable, inputs) -> Stack:
    """A recurrent cell through time: a Stack with tied parameters and one input a step.

    h_t = cell(h_{t−1}, u_t)

    Args:
        cell: a callable pytree `(state, input) -> state`; the state, e.g. (h, c), is one activation.
        inputs: a pytree of arrays with a leading time axis; constants, not parameters.

    Raises:
        ValueError: the inputs are empty or do not share their time axis; the cell is not callable.

    >>> import jax.numpy as jnp
    >>> print(unroll(lambda h, u: 0.5 * h + u, jnp.ones((3, 1)))(jnp.zeros(1)))
    [1.75]
    """
    if not callable(cell):
        raise ValueError(f"cell is a {type(cell).__name__}, expected a callable (state, input) -> state")
    inputs = jax.tree.map(lambda leaf: jnp.asarray(numeric("inputs", leaf)), inputs)
    shapes = [leaf.shape for leaf in jax.tree.leaves(inputs)]
    if any(not shape or not shape[0] for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"inputs has shapes {shapes}, expected one leading time axis >= 1 in all")
    if not jax.tree.leaves(inputs):
        raise ValueError("inputs is empty, expected arrays with a leading time axis: the number of steps comes from it")
    coupled = isinstance(cell, Coupled)
    step = Partial(_step, cell.layer if isinstance(cell, Coupled) else cell, Constant(inputs))
    flags = [i < len(jax.tree.leaves(cell)) for i in range(len(jax.tree.leaves(step)))]
    return as_stack(Stack(Coupled(step) if coupled else step, tuple(flags)))


def _step(cell, inputs: Constant, state):
    return cell(state, inputs.value)
