"""A whole program watched while it runs: what each parameter makes, which units are off, how open attention is.

The model is no sequence here, so an activation is what comes out of the product that a parameter enters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.observe import opening_of, softmaxes
from gradjax.diagnosis.program import evaluate

PRODUCTS = ("dot_general", "conv_general_dilated")
SAME = ("transpose", "convert_element_type", "reshape", "broadcast_in_dim", "squeeze", "copy", "slice")


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
    example: int | None = None  # the first with a NaN in the first activation that holds one


def observed(function: Callable, params, batch, rows: list, examples: int | None) -> Observed:
    """Run `function(params, batch)` equation by equation; `rows` are the parameter leaves in the order of rows."""
    closed = jax.make_jaxpr(function)(params, batch)
    names = ("log_activation", "finite", "dead", "saturated", "positions", "widths")
    empty: dict = {name: np.full(len(rows), np.nan) for name in names}
    seen = Observed(**empty)
    sharp, last = softmaxes(closed), [-1]  # the last parameter that entered a product
    owner, kept = {id(leaf): row for row, leaf in enumerate(rows)}, list(rows)

    def rule(eqn, inputs):
        name = eqn.primitive.name
        if name in SAME and id(inputs[0]) in owner:
            outputs = [eqn.primitive.bind(*inputs, **eqn.params)]
            owner[id(outputs[0])] = owner[id(inputs[0])]
            kept.extend(outputs)  # an id is free again once its array is gone
            return outputs
        if name in PRODUCTS:
            row = next((owner[id(value)] for value in inputs if id(value) in owner), None)
            if row is not None:
                last[0] = row
                outputs = [eqn.primitive.bind(*inputs, **eqn.params)]
                _see_activation(seen, row, outputs[0], examples)
                return outputs
        if id(eqn) in sharp:
            seen.attention.append((last[0], *np.asarray(opening_of(inputs[0], sharp[id(eqn)]), np.float64)))
        if last[0] >= 0 and name in ("max", "tanh"):
            _see_units(seen, last[0], name, inputs)
        return None

    evaluate(closed, jax.tree.leaves((params, batch)), rule, eager=True)
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
