"""Causes that are a NaN or an infinity: where it comes in, which primitive makes it, and what takes it away."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from gradjax.chain import as_layers
from gradjax.diagnosis.case import Case, build
from gradjax.diagnosis.points import SAFE, SMALL, made_safe, singular
from gradjax.diagnosis.program import first_nonfinite
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.rewriting import safe_at
from gradjax.numerics import is_inexact

LOW = ("float16", "bfloat16")
LOST = float(np.log(2))  # a norm off by a factor of two has not one bit right


def input_(case: Case) -> Finding | None:
    """NaN or infinity in x."""
    leaves = [leaf for leaf in jax.tree.leaves(case.x) if is_inexact(leaf)]
    bad = sum(int(np.sum(~np.isfinite(_wide(leaf)))) for leaf in leaves)
    if not bad:
        return None
    rows = bad_examples(case.x) if case.examples is not None else []
    where = f" in examples {rows[:5]}" if rows else ""
    remedy = Remedy(f"leave these {len(rows)} examples out", len(rows), "x", lambda x: without(x, rows))
    if not rows or len(rows) == case.examples:
        remedy = Remedy("replace them by 0", 0.0, "x", _cleaned)
    return Finding("non-finite input", None, f"x holds {bad} NaN or infinite values{where}", {"count": bad}, remedy)


def parameter(case: Case) -> Finding | None:
    """NaN or infinity in a parameter."""
    rows = np.flatnonzero(case.of("finite_parameters") == 0)
    if not rows.size:
        return None
    text = "replace them by 0 (or go back to the last checkpoint that holds none)"
    remedy = Remedy(text, 0.0, "layers", lambda layers: [_cleaned(entry) for entry in as_layers(layers)])
    evidence = f"{rows.size} of {len(case.places)} layers hold a NaN or an infinity in their parameters"
    return Finding("non-finite parameter", int(rows[0]), evidence, {"layers": rows.size}, remedy)


def precision(case: Case) -> Finding | str | None:
    """True in float32, lost in float16 or bfloat16: the same network is measured again in float32."""
    floats = [leaf for leaf in jax.tree.leaves((case.entries, case.x)) if is_inexact(leaf)]
    low = {str(leaf.dtype) for leaf in floats} & set(LOW)
    if not low:
        return "nothing is in float16 or bfloat16"
    if input_(case) or parameter(case):
        return "the input or the parameters hold a NaN"
    again = build(_widened(case.entries), _widened(case.x), case.loss, case.examples, form=False)
    dtype, here, there = sorted(low)[0], case.measures.by_layer, again.measures.by_layer
    fine = np.all(there["finite"] * there["finite_gradient"]) and np.isfinite(again.measures.loss)
    kept = np.all(here["finite"] * here["finite_gradient"]) and np.isfinite(case.measures.loss)
    with np.errstate(invalid="ignore"):
        apart = np.abs(here["log_gradient"] - there["log_gradient"])
    off = (apart > LOST) & np.isfinite(there["log_gradient"])
    if not fine or (kept and not off.any()):
        return None
    bad = np.flatnonzero(off | (here["finite"] * here["finite_gradient"] == 0))
    evidence = f"in {dtype} " + ("a NaN or an infinity" if not kept else "a gradient is lost") + ", in float32 neither"
    remedy = Remedy("compute in float32 (32 bits)", 32.0, "layers", _in_float32)
    return Finding("precision", int(bad[0]) if bad.size else None, evidence, {"bits": 16.0}, remedy)


def singular_derivative(case: Case) -> Finding | None:
    """Forward finite, backward not, at a primitive whose derivative is infinite there: √0 and its kin."""
    return _singular(case, untaken=False)


def untaken_branch(case: Case) -> Finding | None:
    """The same inside a branch that a `where` does not take: its zero meets an infinite derivative, 0 · ∞ = NaN."""
    return _singular(case, untaken=True)


def activation(case: Case) -> Finding | None:
    """An activation that is not finite though what enters the layer, and its parameters, are."""
    if input_(case) or parameter(case):
        return None
    rows = np.flatnonzero(case.of("finite") == 0)
    layer, h, row = (case.loss, case.measures.output, None)
    if rows.size:
        row = int(rows[0])
        layer, h = case.layer_and_state(row)
    elif np.isfinite(case.measures.loss):
        return None
    found = first_nonfinite(layer, h)
    primitive, text = found if found else ("?", "its program")
    evidence = f"{text} makes a NaN or an infinity of finite numbers (largest entry {_largest(h):.3g})"
    remedy = Remedy("give this layer smaller numbers, or more exponent: no number alone does it")
    if primitive in SAFE:
        remedy = _kept_off(primitive, row)
    return Finding("non-finite activation", row, evidence, {"largest": _largest(h)}, remedy)


def gradient(case: Case) -> Finding | None:
    """A gradient that is not finite at finite activations, and no primitive of the forward pass is singular."""
    row = _first_bad_backward(case)
    if row is None or np.any(case.of("finite") == 0) or not np.isfinite(case.measures.loss):
        return None
    if _singular_points(case, row):
        return None
    evidence = "the gradient over- or underflows to a NaN or an infinity at finite activations"
    return Finding("non-finite gradient", None if row < 0 else row, evidence, {}, Remedy("widen the dtype, or rescale"))


def bad_examples(x) -> list[int]:
    """Examples (along the leading axis) that hold a NaN or an infinity."""
    flags = [~np.isfinite(_wide(leaf)).reshape(len(leaf), -1).all(axis=1) for leaf in _with_axis(x)]
    return np.flatnonzero(np.logical_or.reduce(flags)).tolist() if flags else []


def without(x, rows: list[int]):
    """The batch without these examples."""
    return jax.tree.map(lambda leaf: jnp.asarray(np.delete(np.asarray(leaf), rows, axis=0)), x)


def _with_axis(x) -> list:
    return [leaf for leaf in jax.tree.leaves(x) if is_inexact(leaf) and np.ndim(leaf)]


def _wide(leaf) -> np.ndarray:
    return np.asarray(leaf).astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)


def _cleaned(tree):
    def clean(leaf):
        return jnp.where(jnp.isfinite(leaf), leaf, jnp.zeros_like(leaf)) if is_inexact(leaf) else leaf

    return jax.tree.map(clean, tree)


def _largest(h) -> float:
    sizes = [np.max(np.abs(_wide(leaf)), initial=0) for leaf in jax.tree.leaves(h) if is_inexact(leaf)]
    return float(max(sizes, default=0.0))


def _widened(tree):
    def wide(leaf):
        return leaf.astype(jnp.float32) if is_inexact(leaf) and str(leaf.dtype) in LOW else leaf

    return jax.tree.map(wide, tree)


def _in_float32(layers) -> list:
    return [Partial(_widened), *_widened(as_layers(layers))]


def _first_bad_backward(case: Case) -> int | None:
    """The first row that a signal from the output meets whose gradient is not finite; −1: the loss itself."""
    if not np.isfinite(case.measures.log_cotangent) and case.measures.log_cotangent != -np.inf:
        return -1
    rows = np.flatnonzero(case.of("finite_gradient") == 0)
    return int(rows[-1]) if rows.size else None


def _singular_points(case: Case, row: int) -> list:
    layer, h = (case.loss, case.measures.output) if row < 0 else case.layer_and_state(row)
    return singular(lambda layer, h: layer(h), layer, h)


def _singular(case: Case, untaken: bool) -> Finding | None:
    row = _first_bad_backward(case)
    if row is None or np.any(case.of("finite") == 0) or not np.isfinite(case.measures.loss):
        return None
    points = _singular_points(case, row)
    if not points or points[-1][2] != untaken:
        return None
    primitive, text, _ = points[-1]
    evidence = f"the value is finite, the gradient is not: the derivative of {text} is NaN or infinite at its operand"
    evidence += ", in a branch that a `where` does not take" if untaken else ""
    cause = "untaken where branch" if untaken else "singular derivative"
    place = None if row < 0 else row
    return Finding(cause, place, evidence, {"epsilon": SMALL}, _kept_off(primitive, place))


def _kept_off(primitive: str, row: int | None) -> Remedy:
    text = (
        f"keep the operand of `{primitive}` {SMALL:g} off its singular points (inside the `where`, where there is one)"
    )
    if row is None:
        return Remedy(text, SMALL, "loss", lambda loss: made_safe(loss, (primitive,)))
    return Remedy(text, SMALL, "layers", lambda layers: safe_at(as_layers(layers), row, (primitive,)))
