"""What an Adam-like optimizer did at a step, found by probing it: its decay rates, v̂, the gradients it was given.

Neither the rates nor the learning rate stand in its state: a moment shrinks by its rate when the gradient is zero.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.diagnosis.step import StepCase, rows_of, updated


class Adam(NamedTuple):
    """What an Adam-like optimizer did at this step: decay rates, v̂ by row, and the squared gradients it was given."""

    first_decay: float
    second_decay: float
    steps: int
    second: list
    squared: list


def adam_of(case: StepCase) -> Adam | None:
    """What the optimizer did, if its state before, behind and after a zero gradient is like Adam's."""
    before, after = _moments(case.opt_state), _moments(case.update[1])
    if before is None or after is None:
        return None
    zero = jax.tree.map(jnp.zeros_like, case.gradient)
    echo = _moments(updated(case.optimizer, zero, case.update[1], case.params)[1])
    if echo is None:
        return None
    second = _decay(after.nu, echo.nu)
    first = _decay(after.mu, echo.mu)
    old, new = ([np.asarray(a, np.float64) for a in rows_of(m.nu)] for m in (before, after))
    steps = int(after.count)
    squared = [np.maximum(n - second * o, 0) / (1 - second) for n, o in zip(new, old, strict=True)]
    corrected = [n / (1 - second**steps) for n in new]
    return Adam(first, second, steps, [jnp.asarray(v, jnp.float32) for v in corrected], squared)


def _moments(state) -> Any:
    """The node of an optimizer's state that holds mu, nu and count, as optax's Adam and its kin do."""

    def holds(node):
        return all(hasattr(node, name) for name in ("mu", "nu", "count"))

    found = [node for node in jax.tree.leaves(state, is_leaf=holds) if holds(node)]
    return found[0] if len(found) == 1 else None


def _decay(before, after) -> float:
    """By what a moment shrinks when the gradient is zero: its decay rate."""
    a = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in rows_of(before)])
    b = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in rows_of(after)])
    return float(a @ b) / max(float(a @ a), 1e-300)


def rate_of(case: StepCase) -> float:
    """The learning rate: its update over m̂ / √v̂ at a fresh state, where that is the gradient's sign."""
    fresh = rows_of(updated(case.optimizer, case.gradient, case.optimizer.init(case.params), case.params)[0])
    sizes = np.concatenate([np.abs(np.asarray(a, np.float64)).ravel() for a in fresh])
    return float(np.median(sizes[sizes > 0])) if np.any(sizes > 0) else 0.0


def refreshed(state, adam: Adam):
    """The optimizer's state with its second moment raised to the squares that it was last given."""

    def holds(node):
        return all(hasattr(node, name) for name in ("mu", "nu", "count"))

    def raised(node):
        if not holds(node):
            return node
        squares, weight = iter(adam.squared), 1 - adam.second_decay ** max(adam.steps - 1, 1)
        nu = jax.tree.map(lambda v: jnp.maximum(v, jnp.asarray(next(squares) * weight, v.dtype)), node.nu)
        return node._replace(nu=nu)

    return jax.tree.map(raised, state, is_leaf=holds)
