"""Cells with gates through time: by measurement, the weights on their state are too large where gradients explode.

Theory has no critical line for an LSTM or a GRU at any width and input, but one side of it is known: small weights do
no harm, since an open gate carries the gradient at any weights (Chen, Pennington, Schoenholz 2018, arXiv:1806.05394;
see `gradjax.theory.recurrent.gate_gain`), and a gate that forgets is the cell's own business. Large ones make it
chaotic (Can, Krishnamurthy, Schwab 2020, arXiv:2002.00025). So the edge is measured: the factor on these weights at
which a random signal from the end keeps its size on its way back through all steps.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.chain import Layer, Stack, as_layers, depth_of, fold, layer_of
from gradjax.chain.stack import slice_of, stacked_leaves
from gradjax.diagnosis.case import Case
from gradjax.diagnosis.measure import backward
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.rewriting import starts, with_parameter
from gradjax.diagnosis.units import is_tied
from gradjax.numerics import HIGHEST, is_inexact

HALVINGS = 12  # of an interval of ln factor that is as long as the growth by step: the factor to 0.1 %
WIDENINGS = 5  # twice as long each: weights that much smaller do nothing any more
NO_CELL = "no cell whose state is multiplied by a matrix"


def gated_scale(case: Case) -> Finding | str | None:
    """The weights on the state of an LSTM, a GRU or the like, where the signal explodes on its way back."""
    reason: str | None = NO_CELL
    for index, (entry, first) in enumerate(zip(case.entries, starts(case.entries), strict=True)):
        kernels = state_kernels(entry, case.measures.states[index]) if case.units[index] is None else []
        if not kernels:
            continue
        reason, rows = None, range(first, first + depth_of(entry))
        growth, limit = case.growth_of_signal(rows), case.limit(rows)
        factor = _edge(entry, case.measures.states[index], kernels, growth) if growth > limit else None
        if factor is not None:
            return _finding(index, rows, kernels, factor, growth, limit)
    return reason


def _finding(index: int, rows: range, kernels: list[int], factor: float, growth: float, limit: float) -> Finding:
    evidence = (
        f"the weights on its state are {1 / factor:.3g} times those at which a signal keeps its size: the squared "
        f"gradient explodes by e^{growth:.1f} over {len(rows)} steps, where {limit:.1f} would be harmless or chance"
    )
    numbers = {"factor": 1 / factor, "log_growth": growth, "limit": limit}
    remedy = Remedy(
        f"multiply the weights on the state by {factor:.3g}", factor, "layers",
        lambda layers: _scaled(layers, index, kernels, factor),
    )  # fmt: skip
    return Finding("weight scale", rows[0], evidence, numbers, remedy)


def _scaled(layers, index: int, kernels: list[int], factor: float) -> list:
    entries = as_layers(layers)
    for kernel in kernels:
        entries[index] = with_parameter(entries[index], kernel, lambda old, _: old * factor)
    return entries


def _edge(entry: Stack, states, kernels: list[int], growth: float) -> float | None:
    """A factor below 1 at which the signal just does not grow; None where the weights are not what makes it grow."""
    start = jax.tree.map(lambda a: a[0], states)
    step, own = growth / depth_of(entry), tuple(kernels)
    tried = [-step * 2**k for k in range(WIDENINGS)]
    low = next((log for log in tried if float(_growth(own, entry, start, log)) <= 0), None)
    if low is None:
        return None
    high = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_growth(own, entry, start, middle)) <= 0 else (low, middle)
    return float(np.exp(low))


@functools.partial(jax.jit, static_argnums=0)
def _growth(kernels: tuple[int, ...], entry, start, log_factor) -> Array:
    """ln of a random signal's squared growth back through all steps, the kernels times a factor given by its ln."""
    with jax.default_matmul_precision(HIGHEST):
        for kernel in kernels:
            entry = with_parameter(entry, kernel, lambda old, _: old * jnp.exp(log_factor).astype(old.dtype))
        out, states = fold([entry], start, lambda h, layer, _: (layer(h), h))
        _, behind = fold([entry], (_drawn(out), jnp.zeros((), jnp.int32)), backward, states, reverse=True)
    return 2 * (behind[0]["log_signal_below"][0] - behind[0]["log_signal"][-1])


def state_kernels(entry, states) -> list[int]:
    """Parameters that meet the state in a product: without it they do nothing, with one unit of it they move many."""
    if not is_tied(entry) or not all(is_inexact(leaf) for leaf in jax.tree.leaves(states)):
        return []
    layer = slice_of(entry, [leaf[0] for leaf in stacked_leaves(entry)])
    h = _drawn(jax.tree.map(lambda a: a[0], states))
    own = [(i, p) for i, p in enumerate(layer_of(entry).parameters) if entry.tied[i] and jnp.ndim(p) > 1]
    return [i for i, p in own if _meets_the_state(layer, i, p, h)]


def _meets_the_state(layer: Layer, index: int, parameter, h) -> bool:
    leaves, structure = jax.tree.flatten(h)
    direction = _drawn(parameter)

    def moved(changed: list) -> np.ndarray:
        """By how much each unit moves with the parameter, at another state."""

        def call(p):
            return layer.with_parameters((*layer.parameters[:index], p, *layer.parameters[index + 1 :]))(
                structure.unflatten(changed)
            )

        tangents = jax.tree.leaves(jax.jvp(call, (parameter,), (direction,))[1])
        return np.concatenate([np.ravel(np.asarray(t, np.float64)) for t in tangents])

    for place, leaf in enumerate(leaves):
        one = jnp.zeros_like(leaf).at[(0,) * leaf.ndim].set(1)
        without, alone = ([*leaves[:place], new, *leaves[place + 1 :]] for new in (jnp.zeros_like(leaf), one))
        # of what multiplies a memory unit by unit, one unit answers
        if not np.any(moved(without)) and np.count_nonzero(moved(alone)) > len(leaves):
            return True
    return False


def _drawn(tree):
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(generator.standard_normal(jnp.shape(a)), jnp.asarray(a).dtype), tree)
