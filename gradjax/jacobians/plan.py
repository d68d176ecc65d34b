"""How large a Jacobian is, said before any of it is computed, and in how many columns at a time it is formed.

A layer with n inputs and m outputs has a Jacobian of m n entries. Forming it sends n tangents through the layer (or m
cotangents), and all at once they make every array inside the layer n times as large. So they go through in chunks, each
as wide as the memory allows; what stands inside the layer is read off its program, and nothing runs.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from gradjax.arguments import whole
from gradjax.chain import Stack, admit, depth_of, layer_of
from gradjax.chain.forward import is_differentiable
from gradjax.chain.linearization import flattened
from gradjax.chain.stack import slice_of, stacked_leaves
from gradjax.room import in_words

MEMORY = 2**31  # bytes that Jacobians and the work on them may take, unless asked for otherwise
AT_WORK = 2**27  # bytes in one chunk at most: more makes nothing faster


class JacobianSize(NamedTuple):
    """What the Jacobian of one entry of `layers` needs.

    Args:
        outputs, inputs: its rows and columns.
        copies: how many of them there are: the depth of a Stack, times the examples of a batch.
        chunk: how many columns (rows, where there are fewer of them) are formed at a time.
        bytes: of all copies together, and of the work on one of them, at most.
    """

    outputs: int
    inputs: int
    copies: int
    chunk: int
    bytes: int


def jacobian_sizes(layers, x, *, batch_axis: int | None = None, memory: int = MEMORY) -> list[JacobianSize]:
    """The size of every layer's Jacobian at x, in entries and in bytes, before any of it is computed.

    Args:
        layers, x, batch_axis: as in `gradjax.jacobians.layer_jacobians`.
        memory: in bytes; the work on a chunk takes an eighth of it and 128 MiB at most.

    Returns:
        One `JacobianSize` an entry of `layers`; an entry that token ids (integers) enter is left out.

    Raises:
        ValueError: see `gradjax.chain.admit`.

    >>> import jax.numpy as jnp
    >>> [size] = jacobian_sizes([lambda h: h[:2] ** 2], jnp.ones(3))
    >>> print(size.outputs, size.inputs, size.copies)
    2 3 1
    """
    entries, x = admit(layers, x, batch_axis)
    return [size for size in sizes_of(entries, x, memory) if size is not None]


def sizes_of(entries, x, memory: int) -> list[JacobianSize | None]:
    """The size of each admitted entry's Jacobian, None where integers enter it."""
    mapped, h, sizes = all(layer_of(entry).mapped for entry in entries), jax.eval_shape(lambda a: a, x), []
    for entry in entries:
        layer = jax.eval_shape(_first, entry)
        out = jax.eval_shape(entry, h)
        sizes.append(size_of(layer, h, mapped, depth_of(entry), at_work(memory)) if is_differentiable(h) else None)
        h = out
    return sizes


def size_of(layer: Callable, h, mapped: bool, copies: int, work: int) -> JacobianSize:
    """The size of a layer's Jacobian at an activation h of which only shapes are known.

    Args:
        layer: a callable pytree; its arrays may be shapes alone.
        h: the activation, or where `mapped` a batch of them.
        copies: how many layers of this kind there are.
        work: bytes that a chunk may take.
    """
    examples = jax.tree.leaves(h)[0].shape[0] if mapped else 1
    leaves, structure = jax.tree.flatten(layer)

    def inner(leaves, h):
        function, flat = flattened(structure.unflatten(leaves), h)
        return function(flat)

    program, out = jax.make_jaxpr(inner, return_shape=True)(leaves, h)
    inputs, outputs = (sum(a.size for a in jax.tree.leaves(t)) // examples for t in (h, out))
    width = max(a.dtype.itemsize for a in jax.tree.leaves((h, out)))
    column = bytes_inside(program.jaxpr) + width * (inputs + outputs) * examples
    chunk = int(np.clip(work // (2 * column), 1, min(inputs, outputs)))
    entries = width * inputs * outputs * examples
    return JacobianSize(outputs, inputs, copies * examples, chunk, entries * (copies + 2) + 2 * chunk * column)


def at_work(memory: int) -> int:
    """The bytes that one chunk may take: an eighth of the memory, and 128 MiB at most."""
    return min(AT_WORK, whole("memory", memory) // 8)


def check_memory(sizes: list, memory: int) -> None:
    """Refuse what does not fit, before any of it is computed."""
    total = sum(size.bytes for size in sizes if size is not None)
    if total <= memory:
        return
    index = max(range(len(sizes)), key=lambda i: sizes[i].bytes if sizes[i] else 0)
    most = sizes[index]
    raise ValueError(
        f"the Jacobians take {in_words(total)}, most of it in entry {index} of layers ({most.copies} of {most.outputs} "
        f"x {most.inputs}), expected at most memory = {in_words(memory)}: raise memory, or form none of them: "
        "gradjax.jacobians.singular_value_summary, gradjax.spectra.leading_log_singular_values"
    )


def bytes_inside(program) -> int:
    """Bytes of all that a program computes, the body of a loop counted once: what one tangent needs at most."""
    own = sum(_bytes(variable.aval) for equation in program.eqns for variable in equation.outvars)
    return own + sum(bytes_inside(inner) for equation in program.eqns for inner in _programs(equation.params))


def _programs(parameters: dict) -> list:
    """The programs within an equation: bodies of loops, branches, called functions."""
    values = itertools.chain.from_iterable(v if isinstance(v, (tuple, list)) else [v] for v in parameters.values())
    closed = [getattr(value, "jaxpr", value) for value in values]
    return [value for value in closed if hasattr(value, "eqns")]


def _bytes(aval) -> int:
    return int(np.prod(aval.shape)) * aval.dtype.itemsize if hasattr(aval, "dtype") else 0


def _first(entry):
    """The entry, or the first layer of a Stack."""
    return slice_of(entry, [leaf[0] for leaf in stacked_leaves(entry)]) if isinstance(entry, Stack) else entry
