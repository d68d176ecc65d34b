"""The causes that a single training step shows, whatever the model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.observe import cooled_function
from gradjax.diagnosis.optimizing import learning_rate, lost_update, stale_second_moment, widened
from gradjax.diagnosis.points import SAFE, SMALL, cuts, made_safe, singular
from gradjax.diagnosis.program import first_nonfinite
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.step import StepCase, gradient_of, log_norms, rows_of
from gradjax.diagnosis.step_scale import step_weight_scale
from gradjax.numerics import is_inexact

OPENED = ("stop_gradient", "round", "sign", "floor", "ceil")


def _input(case: StepCase) -> Finding | None:
    """NaN or infinity in the batch."""
    leaves = [(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(case.batch)[0] if is_inexact(leaf)]
    bad = {jax.tree_util.keystr(path): int(np.sum(~_finite(leaf))) for path, leaf in leaves}
    total = sum(bad.values())
    if not total:
        return None
    rows = bad_rows([leaf for _, leaf in leaves], case.examples)
    where = ", ".join(name or "it" for name, count in bad.items() if count)
    evidence = f"the batch holds {total} NaN or infinite values (in {where})" + (
        f", examples {rows[:5]}" if rows else ""
    )
    remedy = Remedy("replace them", None)
    if rows and len(rows) < (case.examples or 0):
        remedy = Remedy(
            f"leave these {len(rows)} examples out", len(rows), "batch", lambda batch: _without(batch, rows)
        )
    return Finding("non-finite input", None, evidence, {"count": total}, remedy)


def _parameter(case: StepCase) -> Finding | None:
    """NaN or infinity in a parameter."""
    bad = [row for row, leaf in enumerate(rows_of(case.params)) if not _finite(leaf).all()]
    if not bad:
        return None
    evidence = f"{len(bad)} of {len(case.names)} leaves hold a NaN or an infinity"
    remedy = Remedy("replace them by 0 (or go back to the last checkpoint that holds none)", 0.0, "params", _cleaned)
    return Finding("non-finite parameter", bad[0], evidence, {"leaves": len(bad)}, remedy)


def _precision(case: StepCase) -> Finding | str | None:
    """The same step in float32: whole there, not here; or an update that rounding swallows."""
    low = {str(leaf.dtype) for leaf in rows_of((case.params, case.batch))} & {"float16", "bfloat16"}
    if not low:
        return "nothing is in float16 or bfloat16"
    if _input(case) or _parameter(case):
        return "the batch or the parameters hold a NaN"
    value, gradient = gradient_of(case.loss, widened(case.params), widened(case.batch))
    here, there = log_norms(case.gradient), log_norms(gradient)
    fine = np.isfinite(value) and not np.any(np.isnan(there) | np.isposinf(there))
    broken = not np.isfinite(case.value) | np.any(np.isnan(here) | np.isposinf(here))
    with np.errstate(invalid="ignore"):
        off = np.isfinite(there) & ~(np.abs(here - there) < np.log(2))
    if not fine or not (broken or off.any()):
        return lost_update(case) if fine else None
    evidence = (
        f"in {sorted(low)[0]} " + ("a NaN or an infinity" if broken else "a gradient is lost") + ", in float32 neither"
    )
    both = Remedy("compute in float32 (32 bits)", 32.0, "params and batch", widened)
    return Finding("precision", int(np.flatnonzero(off)[0]) if off.any() else None, evidence, {"bits": 16.0}, both)


def _points(case: StepCase, untaken: bool) -> Finding | None:
    """A finite value whose gradient is not: the singular primitive that the gradient meets first."""
    logs = log_norms(case.gradient)
    if not np.isfinite(case.value) or not np.any(np.isnan(logs) | np.isposinf(logs)):
        return None
    points = singular(case.loss, case.params, case.batch)
    if not points or points[-1][2] != untaken:
        return None
    primitive, text, _ = points[-1]
    evidence = f"the value is finite, the gradient is not: the derivative of {text} is NaN or infinite at its operand"
    evidence += ", in a branch that a `where` does not take" if untaken else ""
    names = tuple({point[0] for point in points})
    cause = "untaken where branch" if untaken else "singular derivative"
    return Finding(cause, None, evidence, {"epsilon": SMALL}, _kept_off(primitive, names))


def _cut(case: StepCase) -> Finding | None:
    """Leaves whose gradient is exactly zero, also with zero parameters drawn anew."""
    if not np.isfinite(case.value) or (np.all(np.isneginf(log_norms(case.gradient))) and case.value == 0):
        return None
    silent = np.isneginf(log_norms(case.gradient)) & np.isneginf(log_norms(case.woken_gradient))
    dead = np.isfinite(case.seen.dead) & (case.seen.dead == 1)
    if not silent.any() or dead.any():
        return None
    row = int(np.flatnonzero(silent)[0])
    names = tuple(name for name in cuts(case.loss, case.params, case.batch) if name in OPENED)
    found = f"; the program holds `{'`, `'.join(names)}`, which pass no derivative" if names else ""
    evidence = f"{int(silent.sum())} of {len(silent)} leaves get a gradient of exactly zero{found}"
    remedy = Remedy("use these parameters, or leave them out")
    if names:
        remedy = Remedy(f"let the derivative pass `{'`, `'.join(names)}` (times 1)", 1.0, "loss_fn", _safe(names))
    return Finding("cut graph", row, evidence, {"leaves": int(silent.sum())}, remedy)


def _dead(case: StepCase) -> Finding | str | None:
    """See `gradjax.diagnosis.scales.dead_units`; the units are those of a `max` with zero."""
    seen = case.seen
    if not np.any(seen.positions > 1):
        return "no ReLU with more than one example"
    with np.errstate(invalid="ignore"):
        allowed = thresholds.dead_share(seen.widths)
        rows = np.flatnonzero((seen.positions > 1) & (seen.dead > allowed))
    if not rows.size:
        return None
    row = int(rows[np.argmax(seen.dead[rows])])
    evidence = f"{seen.dead[row]:.0%} of the units behind it answer no example; chance allows {allowed[row]:.0%}"
    remedy = Remedy("raise the biases behind this product until half of the units are on")
    return Finding("dead units", row, evidence, {"dead": float(seen.dead[row])}, remedy)


def _attention(case: StepCase) -> Finding | str | None:
    """See `gradjax.diagnosis.structure.attention_logits`."""
    sharp = [entry for entry in case.seen.attention if entry[0] >= 0]
    if not sharp:
        return "no attention in the program"
    row, opening, spread, keys = min(sharp, key=lambda entry: entry[1])
    if not opening < thresholds.flat():
        return None
    frozen = float(np.sqrt(2 * np.log(max(2.0, keys))))
    number = min(1.0, frozen / spread) / 2
    evidence = (
        f"logits of deviation {spread:.3g} over {int(keys)} keys freeze at {frozen:.3g}: 1 - sum p^2 = {opening:.2g}"
    )
    text = f"multiply the logits by {number:.3g} (query and key weights by its root, or normalize both)"
    remedy = Remedy(text, number, "loss_fn", lambda function: cooled_function(function, number))
    return Finding("attention logits", row, evidence, {"deviation": float(spread)}, remedy)


def _activation(case: StepCase) -> Finding | None:
    """The first primitive that makes a NaN or an infinity of finite numbers, where the loss is not finite."""
    if np.isfinite(case.value) or _input(case) or _parameter(case):
        return None
    found = first_nonfinite(case.loss, case.params, case.batch)
    primitive, text = found if found else ("?", "its program")
    rows = np.flatnonzero(case.seen.finite == 0)
    remedy = (
        _kept_off(primitive, (primitive,)) if primitive in SAFE else Remedy("give it smaller numbers, or more exponent")
    )
    evidence = f"{text} makes a NaN or an infinity of finite numbers"
    return Finding("non-finite activation", int(rows[0]) if rows.size else None, evidence, {}, remedy)


def _gradient(case: StepCase) -> Finding | None:
    """A gradient that is not finite although no primitive of the forward pass is singular."""
    logs = log_norms(case.gradient)
    bad = np.flatnonzero(np.isnan(logs) | np.isposinf(logs))
    if not bad.size or not np.isfinite(case.value) or singular(case.loss, case.params, case.batch):
        return None
    evidence = f"the gradients of {bad.size} leaves over- or underflow at a finite loss"
    return Finding("non-finite gradient", int(bad[-1]), evidence, {}, Remedy("widen the dtype, or rescale the loss"))


OF_STEP: dict[str, Callable] = {
    "non-finite input": _input,
    "non-finite parameter": _parameter,
    "precision": _precision,
    "untaken where branch": lambda case: _points(case, True),
    "singular derivative": lambda case: _points(case, False),
    "cut graph": _cut,
    "dead units": _dead,
    "weight scale": step_weight_scale,
    "attention logits": _attention,
    "learning rate": learning_rate,
    "stale second moment": stale_second_moment,
    "non-finite activation": _activation,
    "non-finite gradient": _gradient,
}


def _kept_off(primitive: str, names: tuple[str, ...]) -> Remedy:
    text = (
        f"keep the operand of `{primitive}` {SMALL:g} off its singular points (inside the `where`, where there is one)"
    )
    return Remedy(text, SMALL, "loss_fn", _safe(names))


def _safe(names: tuple[str, ...]) -> Callable:
    return lambda loss_fn: made_safe(loss_fn, names)


def _finite(leaf) -> np.ndarray:
    return np.asarray(jnp.isfinite(leaf))


def bad_rows(leaves: list, examples: int | None) -> list[int]:
    """Examples of the batch that hold a NaN or an infinity."""
    usable = [leaf for leaf in leaves if leaf.ndim and len(leaf) == examples]
    flags = [~_finite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in usable]
    return np.flatnonzero(np.any(flags, axis=0)).tolist() if flags else []


def _without(batch, rows: list[int]):
    return jax.tree.map(lambda leaf: jnp.asarray(np.delete(np.asarray(leaf), rows, axis=0)), batch)


def _cleaned(tree):
    def clean(leaf):
        return jnp.where(jnp.isfinite(leaf), leaf, jnp.zeros_like(leaf)) if is_inexact(leaf) else leaf

    return jax.tree.map(clean, tree)
