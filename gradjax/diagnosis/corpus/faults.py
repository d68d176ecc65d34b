"""Faults by kind: each builds a patient from a generator, which draws strength, place and weights.

Strengths are as theory counts harm: a total of ln squared gradient of 9 to 36, where 6 is the end of trainability, so
that no fault is drawn that is none.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from gradjax.diagnosis.corpus.patients import (
    DEPTH,
    EXAMPLES,
    INPUTS,
    LAST,
    OUTPUTS,
    STEPS,
    WIDTH,
    Patient,
    inputs,
    plain,
    square,
    subject,
    through_time,
    with_kernels,
    with_leaf,
)
from gradjax.diagnosis.corpus.patients import seed_of as seed
from gradjax.diagnosis.corpus.steps import STEP_FAULTS
from gradjax.networks import convnet, deep, transformer

INITS = {"relu": "he_normal", "tanh": "lecun_normal", "gelu": "he_normal"}
ALL = tuple(range(DEPTH + 1))


def _network(rng, activation: str | None = None) -> tuple[str, list]:
    name = activation or ("relu", "tanh")[int(rng.integers(2))]
    return name, plain(rng, name, INITS[name])


def _weights(activation: str, sign: int, rng) -> Patient:
    """All hidden kernels off by a factor that costs e^±9 to e^±36 over the depth (tanh, too large: σ_w of 2.5 to 6)."""
    factor = np.exp(sign * rng.uniform(9, 36) / (2 * DEPTH))
    if activation == "tanh" and sign > 0:
        factor = rng.uniform(2.5, 6.0)
    layers = with_kernels(_network(rng, activation)[1], factor)
    return Patient(
        f"{activation} weights too {'large' if sign > 0 else 'small'}", "weight scale", ALL, subject(rng, layers)
    )


def _convolution(sign: int, rng) -> Patient:
    """All kernels of a convolutional ReLU network off by a factor that costs e^±9 to e^±36 over the depth."""
    factor = float(np.exp(sign * rng.uniform(9, 36) / (2 * DEPTH)))
    first, blocks, readout = convnet(seed(rng), (3, WIDTH, OUTPUTS), DEPTH + 2, "plain", "relu", "he_normal")
    layers = [_times_kernels(first, factor), _times_kernels(blocks, factor), readout]
    rows = tuple(range(DEPTH + 1))
    return Patient("convolution", "weight scale", rows, subject(rng, layers, inputs(rng, (4, 8, 3))))


def _cell(sign: int, rng) -> Patient:
    """A vanilla cell through time: g of 4 to 8, or weights that cost e^-36 to e^-60 where e^±27 is chance."""
    gain = float(rng.uniform(4, 8) if sign > 0 else 1.5 * np.exp(-rng.uniform(36, 60) / (2 * STEPS)))
    return Patient("cell", "weight scale", tuple(range(STEPS)), through_time(rng, gain))


def _gates(kind: str, low: float, high: float, rng) -> Patient:
    """An LSTM or GRU with g beyond the edge of chaos, which is near 3."""
    return Patient(kind, "weight scale", tuple(range(STEPS)), through_time(rng, float(rng.uniform(low, high)), kind))


def _times_kernels(tree, factor: float):
    """Every kernel, multiplied."""

    def scaled(path, leaf):
        return leaf * jnp.asarray(factor, leaf.dtype) if "kernel" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(scaled, tree)


def _imbalance(sign: int, rng) -> Patient:
    """One layer's kernel off by e^±4 to e^±7."""
    _, layers = _network(rng, "relu")
    row = int(rng.integers(1, LAST + 1))
    factor = float(np.exp(sign * rng.uniform(4, 7)))
    layers = with_leaf(layers, row, "kernel", lambda w: w * factor)
    return Patient(f"one layer too {'large' if sign > 0 else 'small'}", "layer imbalance", (row,), subject(rng, layers))


def _saturated(rng) -> Patient:
    """Some layers of a tanh network with biases of size 10 to 100."""
    _, layers = _network(rng, "tanh")
    rows = tuple(sorted(rng.choice(np.arange(1, LAST + 1), size=int(rng.integers(5, 9)), replace=False).tolist()))
    size = float(np.exp(rng.uniform(np.log(10), np.log(100))))
    for row in rows:
        draw = jnp.asarray(size * rng.standard_normal(WIDTH), jnp.float32)
        layers = with_leaf(layers, row, "bias", lambda b, draw=draw: b + draw)
    return Patient("saturated tanh", "saturation", rows, subject(rng, layers))


def _dead(rng) -> Patient:
    """A ReLU layer whose biases are −10 to −100."""
    _, layers = _network(rng, "relu")
    row, shift = int(rng.integers(1, LAST + 1)), float(np.exp(rng.uniform(np.log(10), np.log(100))))
    return Patient("dead ReLU", "dead units", (row,), subject(rng, with_leaf(layers, row, "bias", lambda b: b - shift)))


def _residual(rng) -> Patient:
    """Residual blocks whose branches keep the size of what they are given: no 1/√L."""
    layers = deep(seed(rng), (INPUTS, WIDTH, OUTPUTS), DEPTH + 2, "residual", "relu", "he_normal")
    return Patient("residual without 1/sqrt(L)", "missing 1/sqrt(L)", ALL, subject(rng, layers))


def _normalized(kind: str, activation: str, depth: int, rng) -> Patient:
    """A deep network of normalized layers without skip connections."""
    layers = deep(seed(rng), (INPUTS, WIDTH, OUTPUTS), depth, kind, activation)
    return Patient(f"deep {kind} {activation}", "normalization", tuple(range(depth)), subject(rng, layers))


def _attention(rng) -> Patient:
    """Query and key weights of one transformer block 8 to 25 times too large."""
    layers = transformer(seed(rng), depth=4, width=32, heads=2, tokens=16, kernel_init="lecun_normal", outputs=4)
    factor, row = float(rng.uniform(8, 25)), int(rng.integers(4))

    def grown(path, leaf):
        name = jax.tree_util.keystr(path)
        return leaf.at[row].multiply(factor) if "'query'" in name or "'key'" in name else leaf

    layers[1] = jax.tree_util.tree_map_with_path(grown, layers[1])
    return Patient("attention logits", "attention logits", (row + 1,), subject(rng, layers, inputs(rng, (4, 16, 32))))


def _inserted(kind: str, cause: str, function: Callable, rng) -> Patient:
    """A layer without parameters put before or behind the Stack."""
    _, layers = _network(rng, "relu")  # one program a kind and place
    place = (1, 2)[int(rng.integers(2))]
    row = 1 if place == 1 else LAST + 1
    return Patient(kind, cause, (row,), subject(rng, [*layers[:place], Partial(function), *layers[place:]]))


def _root_of_positive(h):
    return jnp.where(h > 0, jnp.sqrt(h), h)


def _log_of_positive(h):
    return jnp.where(h > 0, jnp.log1p(jnp.log(h) * 0 + h), h)


def _norm_of_zero(h):
    return h + jnp.sqrt(jnp.sum((h - h) ** 2))


def _own_ratio(h):
    return h * ((h - h[:1]) / (h - h[:1]))


def _steep(h):
    return h + jnp.exp(1e4 * (1.5 + jnp.abs(h)))


def _rounded(h):
    return jnp.round(4 * h) / 4


def _input(kind: str, change: Callable, cause: str, rng) -> Patient:
    _, layers = _network(rng)
    x = np.array(rng.standard_normal((EXAMPLES, INPUTS)), np.float32)
    return Patient(kind, cause, None, subject(rng, layers, jnp.asarray(change(x, rng))))


def _one_entry(value: float, x, rng):
    x[rng.integers(len(x)), rng.integers(INPUTS)] = value
    return x


def _sized(sign: int, x, rng):
    return x * np.float32(np.exp(sign * rng.uniform(4, 9)))


def _parameter(rng) -> Patient:
    """A NaN or an infinity in one entry of one kernel."""
    _, layers = _network(rng)
    row, value = int(rng.integers(1, LAST + 1)), (jnp.nan, jnp.inf)[int(rng.integers(2))]
    place = tuple(rng.integers(WIDTH, size=2).tolist())
    layers = with_leaf(layers, row, "kernel", lambda w: w.at[place].set(value))
    return Patient("NaN parameter", "non-finite parameter", (row,), subject(rng, layers))


def _half(rng) -> Patient:
    """A healthy ReLU network in float16 whose inputs make its squares overflow at 65 504."""
    layers = plain(rng, "relu", "he_normal", jnp.float16)
    x = inputs(rng, dtype=jnp.float16) * jnp.float16(rng.uniform(5, 10))
    last = with_leaf(layers, 0, "kernel", lambda w: w)
    return Patient(
        "float16 overflow", "precision", None, {"layers": [*last, Partial(_squared)], "x": x, "loss": square}
    )


def _squared(h):
    return (64 * h) ** 2 / 4096


FAULTS: dict[str, Callable[[np.random.Generator], Patient]] = {
    "relu weights too large": partial(_weights, "relu", 1),
    "relu weights too small": partial(_weights, "relu", -1),
    "tanh weights too large": partial(_weights, "tanh", 1),
    "tanh weights too small": partial(_weights, "tanh", -1),
    "convolutions too large": partial(_convolution, 1),
    "convolutions too small": partial(_convolution, -1),
    "cell weights too large": partial(_cell, 1),
    "cell weights too small": partial(_cell, -1),
    "LSTM weights too large": partial(_gates, "lstm", 16.0, 32.0),
    "GRU weights too large": partial(_gates, "gru", 8.0, 16.0),
    "one layer too large": partial(_imbalance, 1),
    "one layer too small": partial(_imbalance, -1),
    "saturated tanh": _saturated,
    "dead ReLU": _dead,
    "residual without 1/sqrt(L)": _residual,
    "deep batch_norm relu": partial(_normalized, "batch_norm", "relu", 30),
    "deep batch_norm gelu": partial(_normalized, "batch_norm", "gelu", 40),
    "attention logits": _attention,
    "sqrt in a where": partial(_inserted, "sqrt in a where", "untaken where branch", _root_of_positive),
    "log in a where": partial(_inserted, "log in a where", "untaken where branch", _log_of_positive),
    "sqrt of zero": partial(_inserted, "sqrt of zero", "singular derivative", _norm_of_zero),
    "zero over zero": partial(_inserted, "zero over zero", "non-finite activation", _own_ratio),
    "exp overflow": partial(_inserted, "exp overflow", "non-finite activation", _steep),
    "stop_gradient": partial(_inserted, "stop_gradient", "cut graph", jax.lax.stop_gradient),
    "round": partial(_inserted, "round", "cut graph", _rounded),
    "NaN input": partial(_input, "NaN input", partial(_one_entry, np.nan), "non-finite input"),
    "infinite input": partial(_input, "infinite input", partial(_one_entry, np.inf), "non-finite input"),
    "input too large": partial(_input, "input too large", partial(_sized, 1), "input scale"),
    "input too small": partial(_input, "input too small", partial(_sized, -1), "input scale"),
    "NaN parameter": _parameter,
    "float16 overflow": _half,
    **STEP_FAULTS,
}
