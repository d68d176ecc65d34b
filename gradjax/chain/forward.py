"""Running a chain: what is refused before any computing, one fold over depth, and its hidden states."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import as_function, flag, is_number, numeric, said
from gradjax.chain.door import Layer, is_parameter
from gradjax.chain.stack import Stack, as_layers, depth_of, layer_of, slice_of, stacked_leaves, type_of_entry
from gradjax.chain.whole import check_whole
from gradjax.numerics import is_concrete, is_inexact


def fold(entries, carry, step: Callable, along: list | None = None, reverse: bool = False) -> tuple[Any, list]:
    """Carry a value through the layers: `carry, y = step(carry, layer, a)`, a scan inside every Stack.

    Args:
        entries: what `as_layers` returns.
        carry: the value at the first layer (at the last, if `reverse`).
        step: `(carry, Layer, along) -> (carry, y)`.
        along: one pytree an entry, with a leading depth axis where the entry is a Stack.
        reverse: from the last layer to the first.

    Returns:
        The last carry and one y an entry, with a leading depth axis where the entry is a Stack.
    """
    if not isinstance(entries, (list, tuple)) or not all(isinstance(entry, (Layer, Stack)) for entry in entries):
        raise ValueError(f"entries is {said(entries)}, expected what `as_layers` returns")
    as_function("step", step, "(carry, Layer, along) -> (carry, y)")
    along, reverse = [None] * len(entries) if along is None else along, flag("reverse", reverse)
    ys: list = [None] * len(entries)
    for i in reversed(range(len(entries))) if reverse else range(len(entries)):
        entry = entries[i]
        if isinstance(entry, Stack):
            body = _scanned(entry, step)
            carry, ys[i] = jax.lax.scan(body, carry, (stacked_leaves(entry), along[i]), reverse=reverse)
        else:
            carry, ys[i] = step(carry, entry, along[i])
    return carry, ys


def _scanned(stack: Stack, step: Callable) -> Callable:
    return lambda carry, xs: step(carry, slice_of(stack, xs[0]), xs[1])


def forward(entries, x):
    """The output of entries that have passed the door: f(x) = f_L(… f_1(x))."""
    return fold(entries, x, lambda h, layer, _: (layer(h), None))[0]


def run(layers, x):
    """The network's output at one activation x: f(x) = f_L(… f_1(x)).

    >>> import jax.numpy as jnp
    >>> print(run([lambda h: 2 * h, lambda h: h + 1], jnp.array(3.0)))
    7.0
    """
    return forward(*admit(layers, x))


def hidden_states(layers, x) -> tuple[Any, list]:
    """The output and, for each entry of `layers`, the activation that enters it (with a depth axis for a Stack)."""
    return fold(*admit(layers, x), lambda h, layer, _: (layer(h), h))


def is_differentiable(h) -> bool:
    """Whether every leaf of the activation is real or complex; token ids are not."""
    return all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(h))


def over_examples(function: Callable, entries, x, mapping: Callable = jax.vmap):
    """function(entries, x), mapped over the examples where the layers are; where one is coupled the batch is one x.

    `mapping` is `jax.vmap`, or for what would take too much memory together `one_by_one`.
    """
    layers = [layer_of(entry) for entry in entries]
    if not all(layer.mapped for layer in layers):
        return function(entries, x)
    single = [_with_layer(entry, replace(layer_of(entry), mapped=False)) for entry in entries]
    return mapping(lambda one: function(single, one))(x)


def one_by_one(function: Callable) -> Callable:
    """The function over the leading axis of its argument, one after the other: `jax.lax.map`."""
    return lambda xs: jax.lax.map(function, xs)


def admit(layers, x, batch_axis: int | None = None, parameters: Callable = is_parameter, model: Callable | None = None):
    """Layers and activation as every analysis takes them; refused, with the layer's index, before any computing.

    Args:
        layers: see `as_layers`.
        x: one activation, an array or a pytree of arrays; with `batch_axis=0` a batch of them.
        batch_axis: None (one example) or 0: every layer that is not `Coupled` is mapped over the examples.
        parameters: see `as_layers`.
        model: the whole model as one callable: the layers' composition must give its output at x.

    Returns:
        `(entries, x)`: `Layer`s and `Stack`s, and x as JAX arrays.

    Raises:
        ValueError: empty layers, shapes that do not fit (the layer is named), a layer that raises, returns no real
            activation, changes its own leaves or, within a Stack, the activation's shape; NaN or infinity in x; a
            model that is another network than the layers.
    """
    if batch_axis is not None and not (is_number(batch_axis) and batch_axis == 0):
        raise ValueError(f"batch_axis is {said(batch_axis)}, expected None (one example) or 0 (examples first)")
    entries = as_layers(layers, parameters)
    x = as_activation(x)
    if batch_axis == 0:
        entries = [_batched(entry) for entry in entries]
        if len({np.shape(leaf)[:1] for leaf in jax.tree.leaves(x)} - {()}) != 1:
            raise ValueError("x has no common leading batch axis, expected one with batch_axis=0")
    index, h = 0, jax.eval_shape(lambda a: a, x)
    for entry in entries:
        h = _check_entry(entry, h, index)
        index += depth_of(entry)
    if model is not None:
        _check_model(as_function("model", model, "activation -> output"), entries, x, batch_axis)
    return entries, x


def _check_model(model: Callable, entries, x, batch_axis: int | None) -> None:
    """Refuse layers that are another network than the model, which takes the whole batch where a layer couples it."""
    mapped = batch_axis == 0 and all(layer_of(entry).mapped for entry in entries)

    def outputs():
        by_entry = fold(entries, x, lambda h, layer, _: (layer(h),) * 2)[1]
        for entry, h in zip(entries, by_entry, strict=True):
            yield from ([_at(h, i) for i in range(depth_of(entry))] if isinstance(entry, Stack) else [h])

    check_whole(jax.vmap(model) if mapped else model, x, forward(entries, x), outputs, describe)


def _at(tree, index: int):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def as_activation(x, finite: bool = True):
    """x as JAX arrays without weak types; refused where a leaf is no array or empty, or (if `finite`) holds a NaN."""
    leaves = jax.tree.leaves(x)
    if not leaves:
        raise ValueError("x is empty, expected an array (or a pytree of arrays)")
    for leaf in leaves:
        if not isinstance(leaf, (jax.Array, np.ndarray, float, int, complex, np.generic)):
            raise ValueError(f"x holds a {type(leaf).__name__}, expected arrays")
        if isinstance(leaf, (np.ndarray, np.generic)):
            numeric("x", leaf)
    x = jax.tree.map(lambda leaf: jax.lax.convert_element_type(jnp.asarray(leaf), jnp.asarray(leaf).dtype), x)
    if any(leaf.size == 0 for leaf in jax.tree.leaves(x)):
        raise ValueError(f"x has shapes {[leaf.shape for leaf in jax.tree.leaves(x)]}, expected no empty axis")
    for leaf in jax.tree.leaves(x):
        if (
            finite and is_concrete(leaf) and is_inexact(leaf)
        ):  # NumPy, for inside a trace jnp makes a tracer of a constant too
            bad = int(np.sum(~np.isfinite(np.asarray(leaf).astype(complex))))
            if bad:
                raise ValueError(f"x holds {bad} NaN or infinite values of {leaf.size}, expected finite ones")
    return x


def _batched(entry: type_of_entry) -> type_of_entry:
    layer = layer_of(entry)
    return _with_layer(entry, replace(layer, mapped=not layer.coupled))


def _with_layer(entry: type_of_entry, layer: Layer) -> type_of_entry:
    return replace(entry, layer=layer) if isinstance(entry, Stack) else layer


def _check_entry(entry: type_of_entry, h, index: int):
    where = f"layers[{index}]" if depth_of(entry) == 1 else f"layers[{index}] to [{index + depth_of(entry) - 1}]"
    probe = entry if isinstance(entry, Layer) else jax.eval_shape(_first, entry)
    try:
        out, mutated = _abstract_call(probe, h)
    except Exception as error:
        raise ValueError(f"{where} does not accept an activation {describe(h)}: {_reason(error)}") from error
    if mutated:
        raise ValueError(
            f"{where} changes its own leaves when called (statistics or a random stream), expected a pure function of "
            "the activation: put the module into evaluation mode with .eval() first"
        )
    arrays = jax.tree.leaves(out)
    if not arrays or not all(jnp.issubdtype(a.dtype, jnp.inexact) for a in arrays):
        raise ValueError(f"{where} returns {describe(out)}, expected real or complex arrays")
    if any(a.size == 0 for a in arrays):
        raise ValueError(f"{where} returns {describe(out)}, expected no empty axis")
    if isinstance(entry, Stack) and (jax.tree.structure(out) != jax.tree.structure(h) or describe(out) != describe(h)):
        raise ValueError(
            f"{where} is a Stack that maps {describe(h)} to {describe(out)}, expected the same shape and dtype at "
            "every depth: hand such layers in as a list, or cast x to the layers' dtype"
        )
    return out


def _first(stack: Stack):
    return slice_of(stack, [leaf[0] for leaf in stacked_leaves(stack)])


def _abstract_call(layer: Layer, h):
    """The output's shapes, and whether the call has changed the leaves of the copy it ran on."""
    mutated = False

    def call(layer, h):
        nonlocal mutated
        copy = layer.rebuild()
        before = jax.tree.leaves(copy)
        out = layer.apply(copy, h)
        after = jax.tree.leaves(copy)
        mutated = len(before) != len(after) or any(a is not b for a, b in zip(before, after, strict=True))
        return out

    return jax.eval_shape(call, layer, h), mutated


def describe(tree) -> str:
    """Shapes and dtypes in a few characters: float32[3,4]."""
    parts = [_described(leaf) for leaf in jax.tree.leaves(tree)]
    return parts[0] if len(parts) == 1 else "(" + ", ".join(parts) + ")"


def _described(leaf) -> str:
    is_array = hasattr(leaf, "dtype") and hasattr(leaf, "shape")
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" if is_array else type(leaf).__name__


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
