"""The one door: any layer becomes parameters, constants and static parts.

A layer is a callable that maps one activation to the next. Frameworks write it in many ways that `jit`, `grad` or
`scan` reject (a bare function, a scalar leaf, a random key among the weights). Behind this door there is one form,
`Layer`, whose leaves are arrays only and of which it is known what may be differentiated.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import as_function, said
from gradjax.numerics import is_inexact

register = partial(jax.tree_util.register_dataclass)
STATIC = {"static": True}


@register
@dataclass(frozen=True)
class Constant:
    """Marks what is inside as no parameter: data, statistics, positions. `Constant(value).value` is the value."""

    value: Any


@register
@dataclass(frozen=True)
class Coupled:
    """Marks a layer that couples the examples of a batch (batch-norm): the whole batch is its activation."""

    layer: Any

    def __call__(self, x):
        return self.layer(x)


class _ByIdentity:
    """A static leaf that has no hash of its own (jit needs one): equal only to itself."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return id(self.value)

    def __eq__(self, other):
        return isinstance(other, _ByIdentity) and other.value is self.value


@register
@dataclass(frozen=True)
class Layer:
    """A layer behind the door: differentiable leaves, other array leaves, and everything else, hashable.

    `parameters` and `constants` are tuples of arrays in the order of the layer's own leaves.
    """

    parameters: tuple
    constants: tuple
    structure: Any = field(metadata=STATIC)
    kinds: str = field(metadata=STATIC)  # one letter a leaf: p(arameter), c(onstant), s(tatic)
    statics: tuple = field(metadata=STATIC)
    coupled: bool = field(metadata=STATIC, default=False)  # see Coupled
    mapped: bool = field(metadata=STATIC, default=False)  # over the examples of a batch

    def rebuild(self):
        """A fresh copy of the layer as it was handed in."""
        sources = {"p": iter(self.parameters), "c": iter(self.constants), "s": iter(self.statics)}
        leaves = [next(sources[kind]) for kind in self.kinds]
        return self.structure.unflatten([x.value if isinstance(x, _ByIdentity) else x for x in leaves])

    def __call__(self, x):
        return self.apply(self.rebuild(), x)

    def apply(self, copy: Callable, x):
        """Call a rebuilt copy as this layer is called: over the examples where it is mapped."""
        return jax.vmap(copy)(x) if self.mapped else copy(x)

    def with_parameters(self, parameters: tuple) -> "Layer":
        """The same layer at other parameters."""
        return replace(self, parameters=parameters)

    def like(self, parameters: tuple):
        """The layer's own structure with `parameters` in their places and None at every other leaf."""
        source = iter(parameters)
        return self.structure.unflatten([next(source) if kind == "p" else None for kind in self.kinds])


def is_parameter(path: str, leaf) -> bool:
    """The default filter: every inexact array is a parameter (`path` is ignored)."""
    return is_inexact(leaf)


def as_layer(layer: Callable, parameters: Callable = is_parameter, index: int | str = 0) -> Layer:
    """One callable pytree as a `Layer`."""
    if isinstance(layer, Layer):
        return layer
    as_function("parameters", parameters, "(path, leaf) -> bool")
    coupled = isinstance(layer, Coupled)
    if not callable(layer.layer if isinstance(layer, Coupled) else layer):
        raise ValueError(f"layers[{index}] is {_kind(layer)}, expected a callable activation -> activation")
    paths, structure = jax.tree_util.tree_flatten_with_path(layer)
    marks = jax.tree.leaves(_marks(layer))
    kinds = "".join(
        _leaf_kind(jax.tree_util.keystr(path), leaf, mark, parameters)
        for (path, leaf), mark in zip(paths, marks, strict=True)
    )
    by_kind = {k: tuple(leaf for (_, leaf), kind in zip(paths, kinds, strict=True) if kind == k) for k in "pcs"}
    statics = tuple(leaf if _hashable(leaf) else _ByIdentity(leaf) for leaf in by_kind["s"])
    if not _hashable(structure):
        raise ValueError(f"layers[{index}] ({_kind(layer)}) has a static part that cannot be hashed; make it a tuple")
    return Layer(_arrays(by_kind["p"]), _arrays(by_kind["c"]), structure, kinds, statics, coupled)


def as_sequence(layers) -> list:
    """The layers as a list, refused where they are none, empty, or a single model."""
    if isinstance(layers, (str, bytes, dict)) or not (isinstance(layers, Iterable) or callable(layers)):
        raise ValueError(f"layers is {_kind(layers)}, expected a sequence of callables activation -> activation")
    if not isinstance(layers, Iterable) or (callable(layers) and not isinstance(layers, (list, tuple))):
        raise ValueError(
            f"layers is {_kind(layers)}, expected a sequence of layers: pass [layer], list(model) or model.layers"
        )
    try:
        layers = list(layers)
    except TypeError as error:  # an array without axes calls itself iterable
        raise ValueError(
            f"layers is {said(layers)}, expected a sequence of callables activation -> activation"
        ) from error
    if not layers:
        raise ValueError("layers is empty, expected at least one callable activation -> activation")
    return layers


def _leaf_kind(path: str, leaf, mark: str, parameters: Callable) -> str:
    if not isinstance(leaf, (jax.Array, np.ndarray)) or leaf.dtype == object:
        return "s"  # functions, strings, Python numbers: scan and grad reject them
    return "p" if mark == "parameter" and is_inexact(leaf) and parameters(path, leaf) else "c"


def _marks(tree):
    """'parameter' or 'constant' at every leaf, as the nodes above it say."""
    return jax.tree.map(
        lambda node: jax.tree.map(lambda _: "constant" if _is_marked(node) else "parameter", node),
        tree,
        is_leaf=_is_marked,
    )


def _is_marked(node) -> bool:
    # Flax NNX keeps statistics and counters in Variables that are no Param; known by name, since nothing of it
    # is imported here
    names = {cls.__name__ for cls in type(node).__mro__ if cls.__module__.startswith("flax.nnx")}
    return isinstance(node, Constant) or ("Variable" in names and "Param" not in names)


def _arrays(leaves: tuple) -> tuple:
    """The leaves as JAX arrays, without weak types (a scan's carry must not change type)."""
    return tuple(leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf) for leaf in leaves)


def _hashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _kind(value) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
