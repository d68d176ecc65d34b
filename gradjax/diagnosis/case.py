"""One network on the table: its layers, what was measured of them, and what every cause asks of both."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradjax.chain import Layer, Stack, as_layer, depth_of, fold, layer_of
from gradjax.chain.stack import slice_of, stacked_leaves
from gradjax.diagnosis import thresholds
from gradjax.diagnosis.measure import Measures, measure
from gradjax.diagnosis.points import cuts
from gradjax.diagnosis.rewriting import with_parameters
from gradjax.diagnosis.units import Unit, is_tied, kernel_stds, recognized
from gradjax.numerics import is_inexact


@dataclass(frozen=True)
class DenseRow:
    """A recognized φ(h W + b) at one depth, a convolution or a cell's step too: deviations, ln of its squared gain."""

    row: int
    entry: int
    depth: int  # within the entry
    unit: Unit
    weight_std: float
    bias_std: float
    log_gain: float
    rows: tuple[int, ...]  # its own and those of the elementwise layers that belong to φ


@dataclass(frozen=True)
class Case:
    """Layers behind the door, the activation, and the measures; `woken` are those with zero parameters drawn anew."""

    entries: list
    x: Any
    loss: Layer
    examples: int | None
    units: list[Unit | None]
    measures: Measures
    woken: Measures

    @functools.cached_property
    def places(self) -> list[tuple[int, int]]:
        """(entry, depth within it) of every row."""
        return [(e, d) for e, entry in enumerate(self.entries) for d in range(depth_of(entry))]

    @property
    def depths(self) -> list[int]:
        """Rows of each entry."""
        return [depth_of(entry) for entry in self.entries]

    @functools.cached_property
    def widths(self) -> np.ndarray:
        """Units of each row's output: the length of its last axis."""
        after = [*self.measures.states[1:], self.measures.output]
        widths = []
        for entry, state, following in zip(self.entries, self.measures.states, after, strict=True):
            leaf = jax.tree.leaves(state if isinstance(entry, Stack) else following)[0]
            widths += [leaf.shape[-1] if leaf.ndim else 1] * depth_of(entry)
        return np.array(widths)

    @functools.cached_property
    def positions(self) -> np.ndarray:
        """How many values each unit of a row takes here: examples times positions."""
        sizes = []
        for entry, state in zip(self.entries, self.measures.states, strict=True):
            leaf = jax.tree.leaves(state)[0]
            shape = leaf.shape[1:] if isinstance(entry, Stack) else leaf.shape
            sizes += [int(np.prod(shape[:-1]))] * depth_of(entry)
        return np.array(sizes)

    def of(self, name: str, woken: bool = False) -> np.ndarray:
        """A measure by row; NaN where there is none."""
        by_layer = (self.woken if woken else self.measures).by_layer
        return by_layer.get(name, np.full(len(self.places), np.nan))

    @functools.cached_property
    def whole(self) -> np.ndarray:
        """Rows up to the first whose parameters or activation hold a NaN or an infinity, without it."""
        broken = (self.of("finite") == 0) | (self.of("finite_parameters") == 0)
        return np.cumsum(broken) == 0

    def layer_and_state(self, row: int):
        """The layer at a row, and the activation that entered it."""
        e, d = self.places[row]
        entry, state = self.entries[e], self.measures.states[e]
        if not isinstance(entry, Stack):
            return entry, state
        return slice_of(entry, [leaf[d] for leaf in stacked_leaves(entry)]), jax.tree.map(lambda a: a[d], state)

    def limit(self, rows) -> float:
        """What ln of a squared norm may change by over these rows: harmless, or no more than chance at this width."""
        rows = list(rows)
        return max(thresholds.HARMFUL, thresholds.chance(self.widths[rows], self.tied[rows]))

    @functools.cached_property
    def tied(self) -> np.ndarray:
        """Whether a row is a step through time, with the same weights as the one before."""
        return np.concatenate([np.full(depth_of(entry), is_tied(entry)) for entry in self.entries])

    def growth_of_signal(self, rows) -> float:
        """ln of the squared signal's growth on its way back through these rows; the activation's where that broke."""
        first, last = min(rows), max(rows)
        signal, below = self.of("log_signal", True), self.of("log_signal_below", True)
        if np.isfinite(signal[last]) and np.isfinite(below[first]):
            return 2 * float(below[first] - signal[last])
        sizes = self.of("log_activation")[first : last + 1]
        usual = sizes[np.isfinite(sizes)]
        return 2 * float(usual[-1] - usual[0]) if len(usual) > 1 else 0.0

    @functools.cached_property
    def normalizes(self) -> np.ndarray:
        """Whether a row takes the size out of what it is given, J h = 0; a saturated dense layer nearly does, too."""
        known = np.zeros(len(self.places), bool)
        known[[row for d in self.recognized for row in d.rows]] = True
        with np.errstate(invalid="ignore"):
            return (self.of("log_radial", True) < thresholds.radial(self.widths)) & ~known

    @functools.cached_property
    def residual(self) -> np.ndarray:
        """Whether a row is h + F(h): the trace of its J is its width, up to the tangents' own spread and rounding."""
        trace, branch = self.of("trace", True), self.of("log_branch", True)
        with np.errstate(invalid="ignore"):
            spread = np.exp(branch / 2) / np.sqrt(self.widths * self.positions)
            return np.abs(trace - 1) < thresholds.DEVIATIONS * spread + self.rounding

    @property
    def rounding(self) -> np.ndarray:
        """What rounding does to a row's trace: that of J v in the layer's dtype; a sum's add up like a random walk."""
        leaves = [leaf for leaf in jax.tree.leaves((self.x, self.entries)) if is_inexact(leaf)]
        own = max((float(jnp.finfo(leaf.dtype).eps) for leaf in leaves), default=0.0)
        return own + float(jnp.finfo(jnp.float32).eps) * np.sqrt(self.widths * self.positions)

    @functools.cached_property
    def cut_rows(self) -> np.ndarray:
        """Rows that respond to nothing and hold a primitive without a derivative."""
        rows = np.flatnonzero(self.of("dead", True) == 1)
        marks = np.zeros(len(self.places), bool)
        for row in rows:
            layer, h = self.layer_and_state(int(row))
            marks[row] = bool(cuts(lambda layer, h: layer(h), layer, h))
        return marks

    @functools.cached_property
    def recognized(self) -> list[DenseRow]:
        """Every layer of the form φ(h W + b), W a matrix or a convolution, and every step of such a cell."""
        found, row = [], 0
        for e, (entry, unit) in enumerate(zip(self.entries, self.units, strict=True)):
            depth = depth_of(entry)
            if unit is not None:
                for d, stds in enumerate(zip(*kernel_stds(entry, unit), strict=True)):
                    rows = (row + d, *(row + 1 + k for k in range(unit.following)))
                    gain = float(sum(self.of("log_gain", True)[r] for r in rows))
                    found.append(DenseRow(row + d, e, d, unit, float(stds[0]), float(stds[1]), gain, rows))
            row += depth
        return found

    @functools.cached_property
    def dense(self) -> list[DenseRow]:
        """Those whose scale matters: no readout, no zero, no normalization behind them."""
        last = len(self.places) - 1
        behind = np.append(self.normalizes, False)
        usable = [d for d in self.recognized if np.isfinite([d.log_gain, d.weight_std]).all() and d.weight_std > 0]
        return [d for d in usable if d.rows[-1] != last and not behind[d.rows[-1] + 1]]


def build(entries, x, loss: Layer, examples: int | None, *, form: bool = True) -> Case:
    """Measure a network, twice where a signal is exactly zero: zero parameters (a zero head, ReZero) are no fault."""
    states = jax.eval_shape(lambda e, x: fold(e, x, lambda h, layer, _: (layer(h), h))[1], entries, x)
    single = [_single(entry, state, examples) for entry, state in zip(entries, states, strict=True)]
    units = recognized(entries, single)
    found = measure(loss, entries, x, units, examples=examples, form=form)
    woken, probe = found, loss
    if found.log_cotangent == -np.inf:
        probe = _probe(found.output)  # a loss at its minimum has no gradient: look along a random one
    zeros = np.isneginf(found.by_layer.get("log_signal_below", np.zeros(1)))
    silent = np.isneginf(found.by_layer["log_gradient"]) & np.isfinite(found.by_layer["log_parameter"])
    if probe is not loss or zeros.any() or silent.any():
        woken = measure(probe, [_awake(entry) for entry in entries], x, units, examples=examples, form=False)
    return Case(entries, x, loss, examples, units, found, woken)


def _single(entry, state, examples: int | None):
    """Shape and dtype of one example's activation, without the depth axis of a Stack."""

    def cut(leaf):
        drop = isinstance(entry, Stack) + (examples is not None and not layer_of(entry).coupled)
        return jax.ShapeDtypeStruct(leaf.shape[drop:], leaf.dtype)

    return jax.tree.map(cut, state)


def _probe(output) -> Layer:
    leaves = jax.tree.leaves(output)
    generator = np.random.default_rng(0)
    along = [jnp.asarray(generator.standard_normal(leaf.shape), leaf.dtype) for leaf in leaves]
    return as_layer(jax.tree_util.Partial(_along, along), index="loss")


def _along(directions, output):
    leaves = jax.tree.leaves(output)
    return sum(jnp.sum(jnp.real(a * b)) for a, b in zip(directions, leaves, strict=True))


def awake(leaves, stacked: bool) -> tuple:
    """The arrays with those that are all zero (at a depth) drawn anew, at the scale that keeps a signal's size."""
    generator, result = np.random.default_rng(0), []
    for leaf in leaves:
        axes = tuple(range(1 if stacked else 0, leaf.ndim))
        zero = jnp.all(leaf == 0, axis=axes, keepdims=True)
        rank = leaf.ndim - stacked
        scale = float(np.prod(leaf.shape[stacked:-1])) ** -0.5 if rank >= 2 else 0.3
        drawn = jnp.asarray(scale * generator.standard_normal(leaf.shape), leaf.dtype)
        result.append(jnp.where(jnp.broadcast_to(zero, leaf.shape), drawn, leaf))
    return tuple(result)


def _awake(entry):
    stacked = isinstance(entry, Stack) and not is_tied(entry)
    return with_parameters(entry, awake(layer_of(entry).parameters, stacked))
