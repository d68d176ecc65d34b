"""A whole program watched while it runs: what each parameter makes, which units are off, how open attention is.

The model is no sequence here, so an activation is what comes out of the product that a parameter enters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.chains import PRODUCTS, Follower, Product
from gradjax.diagnosis.observe import opening_of, softmaxes
from gradjax.diagnosis.program import evaluate, is_call, steps
from gradjax.numerics import is_inexact


@dataclass
class Observed:
    """By row of the parameters: ln of the activation, whether it is finite, dead and saturated shares; attention."""

    log_activation: np.ndarray
    finite: np.ndarray
    dead: np.ndarray
    saturated: np.ndarray
    positions: np.ndarray
    widths: np.ndarray
    attention: list = field(default_factory=list)  # (row, 1 - sum p^2, deviation of the logits, keys)
    products: list[Product] = field(default_factory=list)
    example: int | None = None  # the first with a NaN in the first activation that holds one


def observed(function: Callable, params, batch, gradient, examples: int | None) -> Observed:
    """Run `function(params, batch)` equation by equation, at the loss's gradient with respect to params."""
    closed = jax.make_jaxpr(function)(params, batch)
    rows, follower = [leaf for leaf in jax.tree.leaves(params) if is_inexact(leaf)], Follower()
    names = ("log_activation", "finite", "dead", "saturated", "positions", "widths")
    empty: dict = {name: np.full(len(rows), np.nan) for name in names}
    seen = Observed(**empty)
    seen.products = follower.products
    sharp, last = softmaxes(closed), [-1]  # the last parameter that entered a product

    def rule(eqn, inputs):
        name = eqn.primitive.name
        if name == "scan":
            return steps(eqn, inputs, rule, follower.taken, follower.joined)
        if is_call(eqn):
            return None
        if id(eqn) in sharp:
            seen.attention.append((last[0], *np.asarray(opening_of(inputs[0], sharp[id(eqn)]), np.float64)))
        if last[0] >= 0 and name in ("max", "tanh"):
            _see_units(seen, last[0], name, inputs)
        row = next((w.row for value in inputs if (w := follower.weights.get(value)) is not None), None)
        outputs = follower.followed(eqn, inputs)
        if name in PRODUCTS and row is not None:
            last[0] = row
            _see_activation(seen, row, outputs[0], examples)
        return outputs

    leaves = jax.tree.leaves((params, batch))
    follower.begin(rows, [leaf for leaf in jax.tree.leaves(gradient) if is_inexact(leaf)], jax.tree.leaves(batch))
    follower.bypass(follower.origins(evaluate(closed, leaves, rule, eager=True)))
    return seen


def _see_activation(seen: Observed, row: int, out, examples: int | None) -> None:
    wide = np.asarray(out.astype(jnp.float32) if out.dtype == jnp.bfloat16 else out).astype(np.float64)
    finite = np.isfinite(wide)
    seen.finite[row] = finite.all()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        seen.log_activation[row] = np.log(np.mean(wide**2)) / 2
    if not finite.all() and seen.example is None and examples and wide.ndim and len(wide) == examples:
        bad = np.flatnonzero(~finite.reshape(examples, -1).all(axis=1))
        seen.example = int(bad[0]) if bad.size < examples else None


def _see_units(seen: Observed, row: int, name: str, inputs: list) -> None:
    z = inputs[0]
    if getattr(z, "ndim", 0) < 1:
        return
    z = np.asarray(z.astype(jnp.float32)).reshape(-1, z.shape[-1])
    if name == "tanh":
        seen.saturated[row] = np.mean(1 - np.tanh(z) ** 2 < thresholds.flat())
    elif np.ndim(inputs[1]) == 0 and float(inputs[1]) == 0:
        seen.dead[row], seen.positions[row], seen.widths[row] = np.mean((z <= 0).all(axis=0)), *z.shape
