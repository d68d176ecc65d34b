"""The recording side: an optax wrapper whose state holds a ring of the last steps' norms.

Norms are kept as logarithms, right where their squares over- or underflow: just there the record is wanted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradjax.arguments import as_function, as_transformation
from gradjax.clipping import ClipState
from gradjax.numerics import is_inexact, norm_dtype
from gradjax.recorder.norms import row_log_norms
from gradjax.room import axis

KINDS = ("gradient", "update", "parameter")
BREAKS = ("", "parameter", "loss", "gradient", "update")  # in the order of cause and effect


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RecorderState:
    """The wrapped optimizer's state and the ring; `read` turns it into a `Record`."""

    inner: Any
    log_norms: Array  # (steps, kind, row), natural logs
    loss: Array  # (steps,)
    clipped: Array  # (steps,)
    written: Array  # how many steps went into the ring
    seen: Array  # how many steps there were
    stopped: Array  # 0, or the place in BREAKS of what held the first NaN or infinity
    names: tuple[str, ...] = field(metadata={"static": True}, default=())


def record(
    optimizer: optax.GradientTransformation,
    *,
    steps: int = 256,
    clip: optax.GradientTransformation | None = None,
    stacked: Callable[[str, Any], bool] = lambda name, leaf: False,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer, and a memory of its last steps in its state: the updates are those of the optimizer alone.

    It reads gradient, update and parameters once a step, and the update has to be written for that. A network of depth
    20 on two CPU cores, within `gradjax.training.train`, whose trace has the gradient's norms already: 3 % of a step at
    width 64 with batches of 128 and of 512; at width 256 it is 10 % with batches of 128, where the parameters do not
    fit the cache and a step is little more than reading them. In a bare loop it is 6, 4 and 12 %.

    Args:
        optimizer: any optax optimizer.
        steps: the length of the memory, at least 1; it takes 3 numbers a row and step.
        clip: a clip to run in front of the optimizer; the record says when it acted. gradjax's own clips inside the
            optimizer are noticed without this.
        stacked: `(name, leaf) -> bool`, which leaves hold one layer for each index of their first axis and so get a row
            for each.

    Returns:
        An optax transformation. Hand `value=loss` to its update, as `gradjax.training.train` does, to record that too.

    Raises:
        ValueError: steps below 1; no inexact leaf to record.

    >>> from gradjax.recorder import read
    >>> optimizer = record(optax.sgd(0.5))
    >>> w = {"w": jnp.array([3.0, 4.0])}
    >>> update, state = optimizer.update(w, optimizer.init(w), w)
    >>> print(read(state).log_gradients.round(3), read(state).log_ratios.round(3))
    [[1.609]] [[-0.693]]
    """
    steps, stacked = axis("steps", steps), as_function("stacked", stacked, "(name, leaf) -> bool")
    inner = optax.with_extra_args_support(as_transformation("optimizer", optimizer))
    front: Any = optax.identity() if clip is None else as_transformation("clip", clip)

    def init(params) -> Any:
        names, dtype, zero = _names(params, stacked), norm_dtype(params), jnp.zeros((), jnp.int32)
        if not names:
            raise ValueError("params holds no inexact array, expected at least one leaf to record")
        empty = jnp.full((steps, len(KINDS), len(names)), jnp.nan, dtype)
        states = (front.init(params), inner.init(params))
        lost = jnp.full(steps, jnp.nan, dtype)
        return RecorderState(states, empty, lost, jnp.zeros(steps, bool), zero, zero, zero, names)

    def update(updates: Any, state: Any, params: Any = None, *, value=None, **extra) -> Any:
        before, extra = state.inner, extra if value is None else {**extra, "value": value}
        parameter = _row(params, state, stacked)
        clipped, front_state = front.update(updates, before[0], params)
        result, inner_state = inner.update(clipped, before[1], params, **extra)
        after, result = (front_state, inner_state), _after(parameter, result)
        acted = (_clips(after) > _clips(before)) | _differ(updates, clipped)
        rows = jnp.stack([_row(updates, state, stacked), _row(result, state, stacked), parameter])
        broken = _first_broken(rows, params is not None, value)
        return result, _written(replace(state, inner=after), rows, jnp.nan if value is None else value, acted, broken)

    return optax.GradientTransformationExtraArgs(init, update)


def _names(params, stacked) -> tuple[str, ...]:
    names: list[str] = []
    for name, leaf in _leaves(params):
        names += [f"{name}[{i}]" for i in range(leaf.shape[0])] if stacked(name, leaf) else [name]
    return tuple(names)


def _leaves(tree) -> list[tuple[str, Any]]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in paths if is_inexact(leaf)]


def _row(tree, state: RecorderState, stacked) -> Array:
    """ln of the norm of every row of a tree; NaN where there is no tree."""
    dtype = state.log_norms.dtype
    if tree is None:
        return jnp.full(len(state.names), jnp.nan, dtype)
    leaves = [leaf if stacked(name, leaf) else leaf[None] for name, leaf in _leaves(tree)]
    return jnp.concatenate([log.astype(dtype) for log in row_log_norms(leaves)])


def _after(log_norms: Array, result):
    """The update unchanged, but known only once these norms are: no logarithm of a float is as large as 1e30.

    Parameters that are overwritten in place while their norm may yet be asked for are copied, all of them, every step.
    """
    never = jnp.any(log_norms == 1e30)
    return jax.tree.map(lambda leaf: jnp.where(never, 0, leaf) if is_inexact(leaf) else leaf, result)


def _first_broken(rows: Array, with_parameters: bool, value) -> Array:
    """The place in BREAKS of the first that holds a NaN or an infinity; −inf is the ln of an exact zero."""
    gradient, update, parameter = jnp.any(jnp.isnan(rows) | (rows == jnp.inf), axis=1)
    loss = False if value is None else ~jnp.isfinite(value)
    flags = jnp.array([False, parameter & with_parameters, loss, gradient, update])
    return jnp.argmax(flags).astype(jnp.int32)


def _written(state: RecorderState, rows: Array, loss, acted, broken) -> RecorderState:
    """The state with one step more in its ring, unless it has stopped."""
    place, go = state.written % len(state.loss), state.stopped == 0

    def put(ring, new):
        return ring.at[place].set(jnp.where(go, jnp.asarray(new).astype(ring.dtype), ring[place]))

    return replace(
        state,
        log_norms=put(state.log_norms, rows),
        loss=put(state.loss, loss),
        clipped=put(state.clipped, acted),
        written=jnp.where(go, state.written + 1, state.written),
        seen=state.seen + 1,
        stopped=jnp.where(go, broken, state.stopped),
    )


def nodes_of(tree, kind: type) -> list:
    """Every node of this kind in an optimizer's state, however it is chained."""
    found = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in found if isinstance(node, kind)]


def _clips(state):
    """How often the clips of this library within an optimizer have acted."""
    return sum(node.clipped for node in nodes_of(state, ClipState))


def _differ(before, after):
    """Whether a clip has changed a gradient; a NaN differs from itself and is no clip."""
    if before is after:
        return False
    pairs = zip(_leaves(before), _leaves(after), strict=True)
    return jnp.any(jnp.array([jnp.any((a != b) & ~jnp.isnan(a)) for (_, a), (_, b) in pairs]))
