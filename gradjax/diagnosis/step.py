"""Any training step on the table: a loss function, its parameters, a batch, and the optimizer if there is one."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.arguments import arrays, listed
from gradjax.diagnosis.case import awake
from gradjax.diagnosis.observing import Observed, observed
from gradjax.numerics import is_inexact


@dataclass(frozen=True)
class StepCase:
    """What every cause asks of a step; rows are the floating leaves of the parameters."""

    loss: Callable  # (params, batch) -> scalar
    params: Any
    batch: Any
    optimizer: Any
    opt_state: Any
    names: tuple[str, ...]
    value: float
    gradient: Any
    seen: Observed
    examples: int | None

    @functools.cached_property
    def update(self) -> Any:
        """The optimizer's update and the state behind it."""
        return updated(self.optimizer, self.gradient, self.opt_state, self.params)

    @functools.cached_property
    def woken_gradient(self):
        """The gradient with parameters that are exactly zero drawn anew: a zero head hides the rest."""
        return gradient_of(self.loss, self._woken(range(len(self.names))), self.batch)[1]

    def watched_awake(self, rows) -> Observed:
        """What is seen with those of these rows drawn anew that are exactly zero."""
        woken = self._woken(rows)
        gradient = gradient_of(self.loss, woken, self.batch)[1]
        return observed(self.loss, woken, self.batch, gradient, self.examples)

    def _woken(self, rows):
        leaves, structure = jax.tree.flatten(self.params)
        drawn = enumerate(awake([leaf for leaf in leaves if is_inexact(leaf)], False))
        new = [next(drawn) if is_inexact(leaf) else (None, leaf) for leaf in leaves]
        chosen = [a if row in rows else leaf for leaf, (row, a) in zip(leaves, new, strict=True)]
        return structure.unflatten(chosen)


def updated(optimizer, gradient, state, params) -> tuple:
    """The optimizer's update and its state behind it."""
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        return optimizer.update(gradient, state, params)


def rows_of(tree) -> list:
    """The floating leaves, in order."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]


def log_norms(tree) -> np.ndarray:
    """ln of each row's norm; −inf for a zero, NaN with a NaN. On the host in float64: nothing over- or underflows."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        wide = [np.asarray(leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf) for leaf in rows_of(tree)]
        return np.array([np.log(np.sum(np.abs(leaf.astype(np.complex128)) ** 2)) / 2 for leaf in wide])


def step_case(loss_fn: Callable, params, batch, optimizer, opt_state, key, names: Sequence[str] | None) -> StepCase:
    """Run the step once and watch it; refused where the loss is no real scalar."""
    params, batch = (jax.tree.map(_as_array, arrays(n, tree)) for n, tree in (("params", params), ("batch", batch)))
    if not callable(loss_fn):
        raise ValueError(f"loss_fn is {type(loss_fn).__name__}, expected a callable (params, batch) -> scalar")
    if not rows_of(params):
        raise ValueError("params holds no floating array, expected at least one leaf to differentiate")
    loss = Scalar(loss_fn, key)
    try:
        shape = jax.eval_shape(loss, params, batch)
    except (TypeError, ValueError) as error:
        raise ValueError(f"loss_fn does not give one real scalar of params and batch: {error}") from error
    if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"loss_fn returns {shape}, expected one real scalar (or a tuple that begins with it)")
    names = _names(params, names)
    value, gradient = gradient_of(loss, params, batch)
    lengths = {np.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if np.ndim(leaf)}
    examples = lengths.pop() if len(lengths) == 1 else None
    if optimizer is not None and opt_state is None:
        opt_state = optimizer.init(params)
    seen = observed(loss, params, batch, gradient, examples)
    return StepCase(loss, params, batch, optimizer, opt_state, names, float(value), gradient, seen, examples)


@functools.partial(jax.jit, static_argnums=0)
def gradient_of(loss: Callable, params, batch):
    """The loss and its gradient with respect to the floating leaves; zeros elsewhere."""
    return jax.value_and_grad(loss, allow_int=True)(params, batch)


class Scalar:
    """(params, batch) ↦ the loss alone; equal to every other of the same function and key, so jit compiles once."""

    def __init__(self, loss_fn: Callable, key):
        self.loss_fn, self.key = loss_fn, key

    def __call__(self, params, batch):
        out = self.loss_fn(params, batch) if self.key is None else self.loss_fn(params, batch, self.key)
        return out[0] if isinstance(out, (tuple, list)) else out

    def __hash__(self):
        return hash((id(self.loss_fn), id(self.key)))

    def __eq__(self, other):
        return isinstance(other, Scalar) and other.loss_fn is self.loss_fn and other.key is self.key


def _as_array(leaf):
    return jnp.asarray(leaf) if isinstance(leaf, (np.ndarray, float, int)) else leaf


def _names(params, names: Sequence[str] | None) -> tuple[str, ...]:
    paths = [(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0] if is_inexact(leaf)]
    if names is None:
        return tuple(jax.tree_util.keystr(path) for path, _ in paths)
    names = listed("names", names)
    if len(names) != len(paths):
        raise ValueError(f"names has {len(names)} entries, expected {len(paths)}, one for each floating leaf of params")
    return tuple(str(name) for name in names)
