"""Gradients inside a model that is no sequence of layers: at the points that it names, by adding zeros to them.

The model calls `h = point("name", h)` wherever something is to be known. There a zero is added, h + d at d = 0, and the
derivative by d is that by h: of the loss, and of the output, for all points in one pass back. Nothing is asked of the
model but that call, so branches, skips, several inputs and weights that are used twice are all allowed.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.errors import UnexpectedTracerError
from jax.flatten_util import ravel_pytree

from gradjax.arguments import as_function, flag, listed, numeric
from gradjax.chain.forward import describe
from gradjax.chain.verdict import raise_if
from gradjax.jacobians.plan import MEMORY, at_work, bytes_inside
from gradjax.numerics import HIGHEST, all_finite, is_inexact
from gradjax.room import in_words


class Taps(NamedTuple):
    """What was found at the named points, each an ordered dict by name, in the order of the forward pass.

    Args:
        output: of the model.
        activations: h at every point.
        signals: d loss / d h, of h's shape; None without a loss.
        jacobians: d output / d h, (outputs, size of h), both flattened in C order; None unless asked for.
    """

    output: Any
    activations: OrderedDict
    signals: OrderedDict | None
    jacobians: OrderedDict | None


def tap(
    model: Callable,
    x,
    loss: Callable | None = None,
    *,
    names: Sequence[str] | None = None,
    jacobians: bool = False,
    memory: int = MEMORY,
) -> Taps:
    """The derivatives of a loss, and of the output, by what stands at named points of a model: ∂ loss / ∂ h, ∂ f / ∂ h.

    Args:
        model: `model(x, point) -> output`, a pure function that calls `h = point("name", h)` at each point and goes on
            with what that returns; not within a `lax.scan`, `vmap` or `jit` of its own.
        x: whatever the model takes, any pytree.
        loss: output -> real scalar.
        names: which of the points; by default all.
        jacobians: whether to give ∂ f / ∂ h, by one pass back for every number of the output.
        memory: bytes that the Jacobians and the work on them may take.

    Raises:
        ValueError: no point, a name that is used twice, one in `names` that the model never calls, an h of integers, a
            loss that is no real scalar, Jacobians beyond `memory`, a derivative that is NaN or infinite (the first
            point that a signal from the output meets is named).

    >>> import jax.numpy as jnp
    >>> def model(x, point):
    ...     h = point("inside", 3 * x)
    ...     return h**2 + h  # used twice: no sequence
    >>> print(tap(model, jnp.array([1.0, 2.0]), jnp.sum).signals["inside"])
    [ 7. 13.]
    """
    if not callable(model):
        raise ValueError(f"model is {type(model).__name__}, expected a callable (x, point) -> output")
    jacobians = flag("jacobians", jacobians)
    shapes, chosen = _points(model, x, names)
    zeros = OrderedDict((name, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes[name])) for name in chosen)
    with jax.default_matmul_precision(HIGHEST):
        output, pullback, activations = jax.vjp(lambda zeros: _run(model, x, zeros), zeros, has_aux=True)
        signals = None if loss is None else pullback(_slope(loss, output))[0]
        rows = _jacobians(model, x, zeros, output, pullback, memory) if jacobians else None
    _raise_at_last(signals, "the loss")
    _raise_at_last(rows, "the output")
    return Taps(output, activations, signals, rows)


def _points(model: Callable, x, names) -> tuple[OrderedDict, list[str]]:
    """The shapes at all points, in the order of the forward pass, and the names that were chosen."""
    shapes = OrderedDict()

    def point(name, h):
        if not isinstance(name, str):
            raise ValueError(f"point is called with the name {name!r}, expected a string: point(name, h)")
        if name in shapes:
            raise ValueError(f"the name {name!r} is used at two points of the model, expected one name a point")
        h = jax.tree.map(lambda leaf: jnp.asarray(numeric(f"point {name!r}", leaf)), h)
        if not jax.tree.leaves(h) or not all(is_inexact(leaf) for leaf in jax.tree.leaves(h)):
            raise ValueError(f"point {name!r} holds {describe(h)}, expected real or complex arrays")
        shapes[name] = jax.eval_shape(lambda: h)
        return h

    jax.eval_shape(lambda x: model(x, point), x)
    if not shapes:
        raise ValueError('model calls no point, expected h = point("name", h) where something is to be known')
    chosen = list(shapes) if names is None else listed("names", names, "names")
    if unknown := [name for name in chosen if name not in shapes]:
        raise ValueError(f"names holds {unknown}, which model never calls; it has {list(shapes)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"names is {chosen}, expected each name once")
    return shapes, [name for name in shapes if name in chosen]


def _run(model: Callable, x, zeros: OrderedDict) -> tuple[Any, OrderedDict]:
    """The output with the zeros added, and the activations that they were added to."""
    found = OrderedDict()

    def point(name, h):
        if name in zeros:
            h = jax.tree.map(jnp.add, jax.tree.map(jnp.asarray, h), zeros[name])
            found[name] = h
        return h

    output = model(x, point)
    try:
        jax.tree.map(jnp.asarray, jax.tree.map(lambda a: a + 0, found))
    except UnexpectedTracerError as error:
        raise ValueError(
            f"a point among {list(found)} is called within a lax.scan, vmap or jit of the model's own, expected it "
            "outside of them: unroll the loop, or hand in the layers as a sequence (gradjax.chain.Stack)"
        ) from error
    return output, OrderedDict((name, found[name]) for name in zeros)


def _slope(loss: Callable, output):
    """d loss / d output, of a loss that is one real scalar."""
    as_function("loss", loss, "output -> real scalar")
    try:
        leaves = jax.tree.leaves(jax.eval_shape(loss, output))
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss does not give one real scalar of the output: {error}") from error
    if len(leaves) != 1 or leaves[0].shape != () or not jnp.issubdtype(leaves[0].dtype, jnp.floating):
        raise ValueError(f"loss returns {describe(leaves)}, expected one real scalar of shape ()")
    value, slope = jax.value_and_grad(loss)(output)
    raise_if(~jnp.isfinite(value), "the loss is NaN or infinite at the model's output")
    return slope


def _jacobians(model: Callable, x, zeros: OrderedDict, output, pullback: Callable, memory: int) -> OrderedDict:
    """Every row by one pass back through all points at once, in chunks that fit into the memory."""
    flat, unravel = ravel_pytree(output)
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(zeros)]
    column = bytes_inside(jax.make_jaxpr(lambda zeros: _run(model, x, zeros)[0])(zeros).jaxpr) + 2 * sum(sizes)
    chunk = max(1, min(flat.size, at_work(memory) // (2 * column)))
    if (needed := 2 * flat.size * sum(sizes) + 2 * chunk * column) > memory:
        raise ValueError(
            f"the Jacobians of {flat.size} outputs by {len(zeros)} points take {in_words(needed)}, expected at most "
            f"memory = {in_words(memory)}: raise memory, or choose fewer points by names"
        )

    def row(i):
        [by_name] = pullback(unravel(jnp.zeros_like(flat).at[i].set(1)))
        return OrderedDict((name, ravel_pytree(value)[0]) for name, value in by_name.items())

    return jax.lax.map(row, jnp.arange(flat.size), batch_size=chunk)


def _raise_at_last(found: OrderedDict | None, of_what: str) -> None:
    for name in reversed(found or {}):
        raise_if(
            ~all_finite(found[name]),  # pyright: ignore[reportOptionalSubscript]
            f"the derivative of {of_what} by point {name!r} is NaN or infinite, the first that a signal from the "
            "output meets",
        )
