"""Weight scale in a training step: the longest chain φ(h W + b) of its program against the critical line."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.criticality import critical_std, off_the_line, scale_finding
from gradjax.diagnosis.report import Finding
from gradjax.diagnosis.step import StepCase
from gradjax.diagnosis.trails import Product, longest
from gradjax.numerics import is_inexact

NO_CHAIN = (
    "no chain of three products with a parameter each, joined unit by unit, in the program: skip connections, "
    "normalization, attention or tied weights; hand its layers to `diagnose`"
)


def step_weight_scale(case: StepCase) -> Finding | str | None:
    """See `gradjax.diagnosis.scales.weight_scale`; the last product of a chain is a readout, whose size is free."""
    chain = longest(case.seen.products)
    layers = [p for p in chain[:-1] if np.isfinite(p.log_slope) and 0 < p.weight_std < np.inf]
    if len(layers) < 2:
        return NO_CHAIN
    gains = np.array([p.log_slope + 2 * np.log(p.weight_std) for p in layers])
    widths = np.array([p.width for p in layers])
    limit = max(thresholds.HARMFUL, thresholds.chance(widths, np.zeros(len(layers), bool)))
    found = off_the_line(_log_ratios(layers, gains), gains, limit, lambda: _growth_of_signal(case, chain))
    if found is None:
        return None
    places = {(p.weight.row, p.weight.depth) for p in layers}
    scaled = functools.partial(_scaled, places=places)
    return scale_finding(layers[0].weight.row, len(layers), found, "params", scaled)


def _log_ratios(layers: list[Product], gains: np.ndarray) -> np.ndarray:
    """ln σ_w over the critical σ_w at the layers' common bias scale."""
    usual = float(np.median([p.bias_std for p in layers]))
    critical = [critical_std(p.activation, usual, p.weight_std, g) for p, g in zip(layers, gains, strict=True)]
    return np.log([p.weight_std for p in layers]) - np.log(critical)


def _growth_of_signal(case: StepCase, chain: list[Product]) -> float:
    """ln of the squared signal's growth from the last product to the first; the activation's where that broke."""
    if np.isneginf(chain[0].log_signal) and np.isfinite(chain[-1].log_signal):
        rows = frozenset(p.weight.row for p in chain)
        chain = longest(case.watched_awake(rows).products)  # a zero head hides the rest
    first, last = chain[0].log_signal, chain[-1].log_signal
    if np.isfinite(first) and np.isfinite(last):
        return 2 * (first - last)
    usual = [p.log_input for p in chain if np.isfinite(p.log_input)]
    return 2 * (usual[-1] - usual[0]) if len(usual) > 1 else 0.0


def _scaled(params, factor: float, places: set[tuple[int, int | None]]):
    """The parameters with these leaves, or slices of them, multiplied."""
    leaves, structure = jax.tree.flatten(params)
    index = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]
    for row, depth in places:
        leaf = jnp.asarray(leaves[index[row]])
        by = jnp.asarray(factor, leaf.dtype)
        leaves[index[row]] = leaf * by if depth is None else leaf.at[depth].multiply(by)
    return structure.unflatten(leaves)
