"""Causes in how a network is put together: branches without 1/√L, exploding normalization, a cut, sharp attention."""

import jax
import numpy as np

from gradjax.chain import as_layers, fold, layer_of
from gradjax.diagnosis import thresholds
from gradjax.diagnosis.case import Case
from gradjax.diagnosis.observe import cooled, openness
from gradjax.diagnosis.points import cuts
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.rewriting import safe_at, with_branch_scale
from gradjax.numerics import HIGHEST
from gradjax.theory.normalization import batchnorm_gradient_rate


def branch_scale(case: Case) -> Finding | str | None:
    """Residual branches that add up: each block multiplies the squared gradient by 1 + b, all of them by e^Σ ln(1 + b).

    Blocks whose branch normalizes its input are left out: their b falls like 1/l by itself (Pre-LN).
    """
    with np.errstate(invalid="ignore"):
        own_size = case.of("log_branch_radial", True) > thresholds.radial(case.widths)
        rows = np.flatnonzero(case.residual & own_size & np.isfinite(case.of("log_branch", True)))
    rows = rows[np.isfinite(case.of("log_gain", True)[rows])]
    if len(rows) < 2:
        return "no residual blocks"
    gains, branches = case.of("log_gain", True)[rows], np.exp(case.of("log_branch", True)[rows])
    total, signal = float(gains.sum()), case.growth_of_signal(rows)
    if total <= case.limit(rows) or signal < case.limit(rows) * thresholds.HALF:
        return None
    scale = float(np.sum(branches) ** -0.5)
    evidence = f"{len(rows)} residual blocks multiply the squared gradient by e^{total:.1f}, "
    evidence += f"each branch adds {branches.mean():.3g}"
    remedy = Remedy(
        f"multiply every branch by {scale:.3g} = 1/sqrt(sum of what they add)", scale, "layers",
        lambda layers: with_branch_scale(layers, rows.tolist(), scale, skip=True),
    )  # fmt: skip
    return Finding("missing 1/sqrt(L)", int(rows[0]), evidence, {"log_growth": total, "scale": scale}, remedy)


def normalization(case: Case) -> Finding | str | None:
    """Normalization that divides the gradient by what it took out of the signal (Yang et al. 2019): a rate a layer.

    What counts is the gradient relative to the activation, |g| |h|: a normalization behind small activations has a
    large Jacobian that harms nobody.
    """
    rows = np.flatnonzero(case.normalizes & ~case.residual)
    if len(rows) < 2:
        return "no normalization in the layers' way (only around a skip connection)"
    span = np.arange(rows[0], rows[-1] + 1)
    signal, sizes = case.of("log_signal", True), case.of("log_activation", True)
    below = case.of("log_signal_below", True)
    growth = 2 * (below[span[0]] - signal[span[-1]] + _size_before(case, span[0]) - sizes[span[-1]])
    growth -= np.log(_count(case, span[-1]) / _count(case, span[0] - 1))
    if not growth > case.limit(span):
        return None
    rate, scale = float(np.exp(growth / len(rows))), float(len(rows) ** -0.5)
    evidence = f"{len(rows)} normalized layers multiply the squared gradient by e^{growth:.1f}, {rate:.3f} each"
    evidence += _theory_of_batch(case, rows)
    remedy = Remedy(
        f"a skip connection around each block, its branch times {scale:.3g} = 1/sqrt(L)", scale, "layers",
        lambda layers: with_branch_scale(layers, _square(case, span), scale, skip=False),
    )  # fmt: skip
    return Finding("normalization", int(rows[0]), evidence, {"rate": rate, "log_growth": float(growth)}, remedy)


def cut_graph(case: Case) -> Finding | None:
    """Zero gradient where the signal behind is not zero, also with zero parameters drawn anew, and no dead unit."""
    signal, below = case.of("log_signal", True), case.of("log_signal_below", True)
    gradient, parameters = case.of("log_gradient", True), case.of("log_parameter", True)
    alive = np.isfinite(signal)
    silent = alive & (np.isneginf(below) | (np.isneginf(gradient) & np.isfinite(parameters)))
    all_dead = (case.of("dead", True) == 1) & ~case.cut_rows
    rows = np.flatnonzero(silent & ~all_dead)
    if not rows.size:
        return None
    row = int(rows[-1])
    layer, h = case.layer_and_state(row)
    names = tuple(cuts(lambda layer, h: layer(h), layer, h))
    text = f": its program holds `{'`, `'.join(names)}`, which pass no derivative" if names else ""
    evidence = f"the signal from the output reaches it and its gradient is exactly zero{text}"
    remedy = Remedy("use these parameters, or leave them out")
    usable = tuple(name for name in names if name in ("stop_gradient", "round", "sign", "floor", "ceil"))
    if usable:
        what = f"let the derivative of the operand pass `{'`, `'.join(usable)}` (times 1)"
        remedy = Remedy(what, 1.0, "layers", lambda layers: safe_at(as_layers(layers), row, usable))
    return Finding("cut graph", row, evidence, {}, remedy)


def attention_logits(case: Case) -> Finding | str | None:
    """Softmaxes of attention that have frozen on one key: 1 − Σ p², the size of their Jacobian, e³ below one.

    Gaussian logits of deviation s over T keys freeze at s = √(2 ln T) (the random energy model: Derrida 1981), and
    1 − Σ p² then falls like √(2 ln T) / s.
    """
    found = _openness(case)
    if found is None:
        return "no attention in the layers"
    opening, spread, keys = found
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(opening < thresholds.flat())
    if not rows.size:
        return None
    row = int(rows[np.argmin(opening[rows])])
    factor = float(np.sqrt(2 * np.log(max(2.0, keys[row]))) / spread[row])
    evidence = (
        f"logits of deviation {spread[row]:.3g} over {int(keys[row])} keys freeze at "
        f"{np.sqrt(2 * np.log(max(2.0, keys[row]))):.3g}: 1 - sum p^2 = {opening[row]:.2g}"
    )
    text = f"multiply these logits by {min(1.0, factor) / 2:.3g} (query and key weights by its root, or normalize both)"
    number = min(1.0, factor) / 2
    remedy = Remedy(text, number, "layers", lambda layers: cooled(as_layers(layers), rows.tolist(), number))
    return Finding("attention logits", row, evidence, {"deviation": float(spread[row])}, remedy)


def _openness(case: Case) -> tuple | None:
    """For each row how open its attention is, its logits' deviation, its keys; None without any. Not of the readout."""
    found = _openings(case.entries, case.x)
    if all(part is None for part in found):
        return None
    rows = [
        np.full((case_depth, 3), np.nan) if part is None else np.asarray(part, np.float64).reshape(-1, 3)
        for part, case_depth in zip(found, case.depths, strict=True)
    ]
    table = np.concatenate(rows)
    table[-1] = np.nan  # a classifier that is sure of itself is no fault
    return tuple(table.T)


@jax.jit
def _openings(entries, x):
    with jax.default_matmul_precision(HIGHEST):
        return fold(entries, x, lambda h, layer, _: (layer(h), openness(lambda layer, h: layer(h), layer, h)))[1]


def _size_before(case: Case, row: int) -> float:
    """ln of the root mean square of what enters a row."""
    if row:
        return float(case.of("log_activation", True)[row - 1])
    leaves = jax.tree.leaves(case.x)
    return float(np.log(np.mean([np.mean(np.asarray(leaf, np.float64) ** 2) for leaf in leaves]))) / 2


def _count(case: Case, row: int) -> float:
    return float(case.widths[row]) if row >= 0 else float(jax.tree.leaves(case.x)[0].shape[-1])


def _square(case: Case, span: np.ndarray) -> list[int]:
    """The rows of a span that keep the activation's shape: only those can have a skip connection around them."""
    return [int(row) for row in span if np.isfinite(case.of("trace", True)[row]) and case.normalizes[row]]


def _theory_of_batch(case: Case, rows: np.ndarray) -> str:
    """What theory gives a batch-norm of this batch, as words; nothing for other normalizations."""
    entry = case.entries[case.places[int(rows[0])][0]]
    if not layer_of(entry).coupled or not case.examples or case.examples < 4:
        return ""
    least, relu = (batchnorm_gradient_rate(name, case.examples) for name in ("linear", "relu"))
    return f" (batch-norm of {case.examples} examples: at least {least:.3f} in theory, {relu:.3f} with ReLU)"
