"""The protocol: a network is a sequence of callable pytrees.

`layers: Sequence[Callable[[Array], Array]]`. A layer maps one activation to the next; its inexact array leaves are its
parameters. `jax.tree_util.Partial(apply, params)` is such a layer, and the form that gradjax's own networks have.
"""

from gradjax.chain.door import Constant, Coupled, Layer, as_layer, is_parameter
from gradjax.chain.forward import admit, describe, fold, hidden_states, run
from gradjax.chain.linearization import Linearization, factors_as_layers, linearize
from gradjax.chain.stack import Stack, as_layers, depth_of, layer_of, unroll, untied

__all__ = [
    "Constant",
    "Coupled",
    "Layer",
    "Linearization",
    "Stack",
    "admit",
    "as_layer",
    "as_layers",
    "depth_of",
    "describe",
    "factors_as_layers",
    "fold",
    "hidden_states",
    "is_parameter",
    "layer_of",
    "linearize",
    "run",
    "unroll",
    "untied",
]
