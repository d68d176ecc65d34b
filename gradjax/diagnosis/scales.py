"""Causes of size: weights off the critical line, one layer unlike the rest, saturated and dead units, the input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.chain import Stack, as_layers, layer_of
from gradjax.diagnosis import thresholds
from gradjax.diagnosis.case import Case, DenseRow
from gradjax.diagnosis.criticality import critical_std, off_the_line, scale_finding
from gradjax.diagnosis.gated import gated_scale
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.rewriting import by_depth, with_parameter
from gradjax.numerics import is_inexact

NO_DENSE = "no layers of the form φ(h W + b), convolutions and cells included"


def weight_scale(case: Case) -> Finding | str | None:
    """Weights off their critical scale, that of mean field theory or, for a cell with gates, the measured one."""
    found, gated = _off_the_line(case), gated_scale(case)
    if isinstance(found, Finding) or isinstance(gated, str):
        return found
    return gated


def _off_the_line(case: Case) -> Finding | str | None:
    """Every layer's weights off the critical line of their activation, by one factor (Poole et al. 2016)."""
    dense = case.dense
    if len(dense) < 2:
        return NO_DENSE
    rows, gains = [row for d in dense for row in d.rows], np.array([d.log_gain for d in dense])
    found = off_the_line(_log_ratios(dense), gains, case.limit(rows), lambda: case.growth_of_signal(rows))
    if found is None:
        return None
    return scale_finding(
        dense[0].row, len(dense), found, "layers", lambda layers, factor: _scaled(layers, dense, factor)
    )


def layer_imbalance(case: Case) -> Finding | str | None:
    """One layer whose weights are e³ times or more off where the others stand, relative to their critical line."""
    dense = case.dense
    if len(dense) < 3:
        return NO_DENSE
    ratios = _log_ratios(dense)
    apart = ratios - np.median(ratios)
    odd = int(np.argmax(np.abs(apart)))
    if 2 * abs(apart[odd]) <= thresholds.HARMFUL:
        return None
    factor, row = float(np.exp(-apart[odd])), dense[odd].row
    evidence = (
        f"its weights are {np.exp(apart[odd]):.3g} times what the other layers' are, relative to the critical ones"
    )
    remedy = Remedy(
        f"multiply its weights by {factor:.3g}", factor, "layers", lambda layers: _scaled(layers, [dense[odd]], factor)
    )
    return Finding("layer imbalance", row, evidence, {"factor": float(np.exp(apart[odd]))}, remedy)


def saturation(case: Case) -> Finding | str | None:
    """Units held where their activation is flat by their biases: E φ'² is lost, layer by layer."""
    # the biases of a cell are not all that enters beside its state
    dense = [d for d in case.recognized if d.unit.kind != "cell" and 0 < d.weight_std < np.inf]
    dense = [d for d in dense if d.log_gain < np.inf and d.rows[-1] < len(case.places) - 1]
    if not dense:
        return NO_DENSE
    slopes = np.array([d.log_gain - 2 * np.log(d.weight_std) for d in dense])  # ln E φ'², which may round to -inf
    share = np.array([_largest(case.of("saturated")[list(d.rows)]) for d in dense])
    by_bias = np.array([d.bias_std > d.weight_std * _size_into(case, d.row) for d in dense])
    # of a convolution the share is not measured; where φ is flat on one side alone a unit is dead
    flat = by_bias & (slopes < 0) & ((share > thresholds.HALF) | np.isnan(share))
    flat &= [bool(f and _is_flat_on_both_sides(d.unit.activation)) for f, d in zip(flat, dense, strict=True)]
    lost = -float(slopes[flat].sum())
    if lost <= case.limit([d.row for d in dense]):
        return None
    worst = int(np.argmin(np.where(flat, slopes, np.inf)))
    # the variances of all the layers' biases then add up to one, as branches do at 1/sqrt(L)
    factor = len(dense) ** -0.5 / max(dense[i].bias_std for i in np.flatnonzero(flat))
    chosen = [d for d, f in zip(dense, flat, strict=True) if f]
    units = "units" if np.isnan(share[worst]) else f"{share[worst]:.0%} of the units"
    evidence = f"biases of size {dense[worst].bias_std:.3g} hold {units} flat: e^-{lost:.1f} is lost"
    remedy = Remedy(
        f"multiply the biases of {len(chosen)} layers by {factor:.3g}", factor, "layers",
        lambda layers: _scaled(layers, chosen, factor, bias=True),
    )  # fmt: skip
    return Finding("saturation", dense[worst].row, evidence, {"saturated": float(share[worst])}, remedy)


def dead_units(case: Case) -> Finding | str | None:
    """More units that answer no example than a layer without a bias has: half, and the chance of its width."""
    dead, positions = case.of("dead", True), case.positions  # a zero head responds to nothing, too
    if not np.any(positions > 1):
        return "one example: half of the units of a healthy ReLU layer are off at it"
    allowed = thresholds.dead_share(case.widths)
    rows = np.flatnonzero((positions > 1) & np.isfinite(dead) & (dead > allowed) & ~case.cut_rows & case.whole)
    if not rows.size:
        return None
    row = int(rows[np.argmax(dead[rows])])
    evidence = (
        f"{dead[row]:.0%} of its units answer no example; chance allows {allowed[row]:.0%} at width {case.widths[row]}"
    )
    return Finding("dead units", row, evidence, {"dead": float(dead[row])}, _revival(case, row))


def _revival(case: Case, row: int) -> Remedy:
    """Their own mean taken out of the biases, where there are biases."""
    for dense in case.recognized:
        place = dense.unit.bias
        if row in dense.rows and place is not None and dense.bias_std > 0:
            up = -_mean_bias(case, dense, place)
            text = f"add {up:.3g} to the biases of this layer"
            return Remedy(text, up, "layers", partial(_shifted, dense=dense, place=place, amount=up))
    return Remedy("raise the biases of this layer until half of the units are on")


def input_scale(case: Case) -> Finding | str | None:
    """Inputs far from size 1 that no normalization takes in: beyond six depth scales at the door."""
    leaves = [leaf for leaf in jax.tree.leaves(case.x) if is_inexact(leaf)]
    values = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in leaves]) if leaves else np.zeros(0)
    if not values.size:
        return "the input is no real array"
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        log_size = float(np.log(np.mean(values**2))) / 2
    if not np.isfinite(log_size) or 2 * abs(log_size) <= thresholds.HARMFUL or _takes_the_size_out(case):
        return None
    factor = float(np.exp(-log_size))
    evidence = f"the root mean square of x is {np.exp(log_size):.3g}, where 1 is expected and e^±3 does little harm"
    remedy = Remedy(f"multiply the input by {factor:.3g}", factor, "x", lambda x: jax.tree.map(_times(factor), x))
    return Finding("input scale", None, evidence, {"size": float(np.exp(log_size))}, remedy)


def _takes_the_size_out(case: Case) -> bool:
    """Whether the input meets a normalization no later than behind its first layer with parameters."""
    with_parameters = np.flatnonzero(case.of("log_parameter") > -np.inf)
    first = int(with_parameters[0]) if with_parameters.size else 0
    last = max([first, *(d.rows[-1] for d in case.recognized if d.row == first)])
    return bool(case.normalizes[: last + 2].any())


def _mean_bias(case: Case, dense: DenseRow, place: int) -> float:
    entry = case.entries[dense.entry]
    bias = np.asarray(layer_of(entry).parameters[place], np.float64)
    return float(np.mean(bias[dense.depth] if isinstance(entry, Stack) and dense.unit.kind != "cell" else bias))


def _times(factor: float):
    return lambda leaf: leaf * factor if is_inexact(leaf) else leaf


def _log_ratios(dense: list[DenseRow]) -> np.ndarray:
    """ln σ_w over the critical σ_w at the layers' common bias scale."""
    biases: dict = {}
    for d in dense:
        biases.setdefault((d.unit.activation, d.unit.kind), []).append(d.bias_std)
    usual = {kind: float(np.median(stds)) for kind, stds in biases.items()}
    critical = [
        critical_std(d.unit.activation, usual[d.unit.activation, d.unit.kind], d.weight_std, d.log_gain) for d in dense
    ]
    return np.log([d.weight_std for d in dense]) - np.log(critical)


def _size_into(case: Case, row: int) -> float:
    return float(np.exp(case.of("log_activation")[row - 1])) if row else 1.0


def _is_flat_on_both_sides(activation) -> bool:
    return all(abs(float(jax.grad(activation)(jnp.float32(z)))) < thresholds.flat() for z in (-100.0, 100.0))


def _largest(values: np.ndarray) -> float:
    """Of those that were measured; NaN where none was."""
    usual = values[np.isfinite(values)]
    return float(usual.max()) if usual.size else float("nan")


def _scaled(layers, dense: list[DenseRow], factor: float, bias: bool = False) -> list:
    entries = as_layers(layers)
    for index in {d.entry for d in dense}:
        own = [d for d in dense if d.entry == index]
        place = own[0].unit.bias if bias else own[0].unit.kernel
        if place is None:
            continue
        entries[index] = with_parameter(entries[index], place, _multiplied(own, factor))
    return entries


def _multiplied(own: list[DenseRow], factor: float):
    def change(old, stacked: bool):
        first = own[0].row - own[0].depth
        factors = np.ones(len(old) if stacked else 1, np.float32)
        factors[[d.row - first if stacked else 0 for d in own]] = factor
        return old * by_depth(factors, old.ndim, stacked).astype(old.dtype)

    return change


def _shifted(layers, dense: DenseRow, place: int, amount: float) -> list:
    def change(old, stacked: bool):
        amounts = np.zeros(len(old) if stacked else 1, np.float32)
        amounts[dense.depth if stacked else 0] = amount
        return old + by_depth(amounts, old.ndim, stacked).astype(old.dtype)

    entries = as_layers(layers)
    entries[dense.entry] = with_parameter(entries[dense.entry], place, change)
    return entries
