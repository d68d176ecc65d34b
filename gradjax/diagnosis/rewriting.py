"""What remedies do to layers: one of them changed, the rest as they are, Stacks as Stacks."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from gradjax.chain import Coupled, Stack, as_layers, depth_of, layer_of
from gradjax.diagnosis.points import Safe
from gradjax.diagnosis.units import is_tied


@dataclass(frozen=True)
class Shortened:
    """The pure function (layer, scales, h) ↦ h + a (layer(h) − h): a residual block with its branch scaled by a."""

    skip: bool  # whether the layer has a skip connection already; otherwise h + a layer(h)

    def __call__(self, layer, scale, h):
        a = scale.astype(h.dtype)
        return h + a * (layer(h) - h if self.skip else layer(h))


def safe_at(entries: list, row: int, primitives: tuple[str, ...]) -> list:
    """The layers with the one at a row replaced by its safe version; a Stack is safe as a whole."""
    return [
        wrapped(entry, lambda layer: Partial(Safe(primitives), layer))
        if start <= row < start + depth_of(entry)
        else entry
        for entry, start in zip(entries, starts(entries), strict=True)
    ]


def with_branch_scale(layers, rows: list[int], scale: float, skip: bool) -> list:
    """The layers with the branches at these rows scaled; a Stack is scaled at each of its depths."""
    result = []
    for entry, start in zip(as_layers(layers), starts(as_layers(layers)), strict=True):
        depth = depth_of(entry)
        if not set(rows) & set(range(start, start + depth)):
            result.append(entry)
            continue
        scales = jnp.asarray([scale if start + d in rows else 1.0 for d in range(depth)], jnp.float32)
        scales = scales if isinstance(entry, Stack) else scales[0]
        result.append(wrapped(entry, lambda layer, scales=scales: Partial(Shortened(skip), layer, scales), (False,)))
    return result


def wrapped(entry, around: Callable, tied: tuple[bool, ...] = ()):
    """The entry with its layer inside another; `tied` is of the leaves that come behind the layer's own."""
    layer = layer_of(entry)
    inner = around(replace(layer, mapped=False))
    inner = Coupled(inner) if layer.coupled else inner
    if not isinstance(entry, Stack):
        return inner
    return Stack(inner, (*(entry.tied or (False,) * len(jax.tree.leaves(layer))), *tied))


def starts(entries: list) -> list[int]:
    """The row at which each entry begins."""
    return np.cumsum([0, *(depth_of(entry) for entry in entries)])[:-1].tolist()


def with_parameters(entry, parameters: tuple):
    """The entry at other parameters."""
    layer = layer_of(entry).with_parameters(tuple(parameters))
    return replace(entry, layer=layer) if isinstance(entry, Stack) else layer


def with_parameter(entry, index: int, change: Callable):
    """The entry with one of its parameters changed: `change(old, stacked)` gives the new one.

    `stacked` says whether it has a depth axis.
    """
    own = layer_of(entry).parameters
    stacked = isinstance(entry, Stack) and not is_tied(entry)
    new = jnp.asarray(change(own[index], stacked)).astype(own[index].dtype)
    return with_parameters(entry, (*own[:index], new, *own[index + 1 :]))


def by_depth(values, rank: int, stacked: bool):
    """One number a layer, shaped to multiply a parameter of this rank."""
    values = jnp.asarray(values, jnp.float32)
    return values.reshape((-1, *(1,) * (rank - 1))) if stacked else values.reshape(())
