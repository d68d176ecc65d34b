"""Which layers are h ↦ φ(h W + b), whoever wrote them: found by trying them on random weights, not by their type.

Mean field theory speaks of such layers. A layer with one matrix and at most one vector among its parameters is tried:
with W = 0 and b = z it gives φ(z); it is one of them if φ acts on each unit alone and the layer at random W, b and h
gives φ(h W + b), or φ(W h + b) as Equinox and PyTorch lay their kernels out. Convolutions and the steps of a vanilla
recurrent cell are tried by `gradjax.diagnosis.bilinear`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.activations import ACTIVATIONS
from gradjax.chain import Layer, Stack, depth_of, layer_of
from gradjax.chain.stack import slice_of, stacked_leaves
from gradjax.diagnosis import bilinear
from gradjax.layers.dense import Dense


@dataclass(frozen=True)
class Unit:
    """A recognized layer: which of its parameters is the kernel, which the bias, how many weights meet, and its φ.

    `kind` is 'dense', 'transposed' (φ(W h + b)), 'convolution', or 'cell' (a step through time, its weights tied);
    `activation` is that of the layer itself; `following` says how many entries behind it belong to φ too.
    """

    kernel: int
    bias: int | None
    kind: str
    fan_in: int
    activation: Callable[[Array], Array]
    following: int = 0


def recognized(entries, states) -> list[Unit | None]:
    """For each entry the dense layer that it is, with the elementwise entries behind it as part of its φ.

    Args:
        entries: behind the door.
        states: shape and dtype of the activation that enters each (without depth or batch axis).
    """
    layers = [replace(_slice(entry), mapped=False) for entry in entries]
    units = [
        _as_cell(layer, h) if is_tied(entry) else _as_unit(layer, h) or _as_convolution(layer, h)
        for layer, h, entry in zip(layers, states, entries, strict=True)
    ]
    for index, unit in enumerate(units):
        if unit is not None and unit.activation is ACTIVATIONS["linear"] and not isinstance(entries[index], Stack):
            units[index] = _with_following(unit, layers[index + 1 :])
    return units


def is_tied(entry) -> bool:
    """Whether the entry is one layer many times: a cell through time."""
    return isinstance(entry, Stack) and any(entry.tied or ())


def kernel_stds(entry, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """σ_w = √(fan_in · mean W²) and σ_b of a recognized entry, (depth,) each; a cell's σ_b counts its input, too."""
    if unit.kind == "cell":
        weight, bias = (np.sqrt(np.asarray(a, np.float64)) for a in _of_cell(entry, unit.kernel, unit.bias))
        return np.broadcast_to(unit.fan_in**0.5 * weight, bias.shape), bias
    parameters = layer_of(entry).parameters
    kernels, depth = np.asarray(parameters[unit.kernel], np.float64), depth_of(entry)
    stds = np.sqrt(unit.fan_in * np.mean(kernels.reshape(depth, -1) ** 2, axis=1))
    if unit.bias is None:
        return stds, np.zeros_like(stds)
    biases = np.asarray(parameters[unit.bias], np.float64)
    return stds, np.sqrt(np.mean(biases.reshape(depth, -1) ** 2, axis=1))


@partial(jax.jit, static_argnums=(1, 2))
def _of_cell(entry: Stack, kernel: int, bias: int) -> tuple[Array, Array]:
    """The mean square of the weights and, step by step, of what enters φ beside the state."""
    own = layer_of(entry).parameters
    h = jnp.zeros(own[bias].size, own[kernel].dtype)

    def one(leaves):
        return bilinear.drive(replace(slice_of(entry, leaves), mapped=False), h, kernel, bias)

    return jnp.mean(own[kernel] ** 2), jax.lax.map(one, stacked_leaves(entry))


def _slice(entry) -> Layer:
    return slice_of(entry, [leaf[0] for leaf in stacked_leaves(entry)]) if isinstance(entry, Stack) else entry


def _as_unit(layer: Layer, h) -> Unit | None:
    shapes = [jnp.shape(p) for p in layer.parameters]
    kernels = [i for i, shape in enumerate(shapes) if len(shape) == 2]
    biases = [i for i, shape in enumerate(shapes) if len(shape) == 1]
    if layer.coupled or len(kernels) != 1 or len(biases) > 1 or len(shapes) != len(kernels + biases) or not _is_real(h):
        return None
    kernel, bias = kernels[0], (biases[0] if biases else None)
    for transposed in (False, True):
        inputs = shapes[kernel][1 if transposed else 0]
        if h.ndim and h.shape[-1] == inputs and _is_dense(layer, h, kernel, bias, transposed):
            kind = "transposed" if transposed else "dense"
            return Unit(kernel, bias, kind, inputs, _activation(layer, h, kernel, bias))
    return None


def _as_convolution(layer: Layer, h) -> Unit | None:
    """A layer with one kernel of more than two axes, and at most one bias."""
    ranks = [jnp.ndim(p) for p in layer.parameters]
    if layer.coupled or len(ranks) not in (1, 2) or max(ranks) < 3 or not _is_real(h):
        return None
    kernel = int(np.argmax([jnp.size(p) * (jnp.ndim(p) > 2) for p in layer.parameters]))
    bias = 1 - kernel if len(ranks) == 2 else None
    meeting = bilinear.fan_in(layer, h, kernel, bias)
    if not meeting:
        return None
    return Unit(kernel, bias, "convolution", meeting, _activation(layer, h, kernel, bias))


def _as_cell(layer: Layer, h) -> Unit | None:
    """A step h ↦ φ(h W + u U + b): W is the kernel of which the answer depends on the state, b has its size."""
    if not _is_real(h) or h.ndim != 1:
        return None
    sizes, n = [jnp.size(p) for p in layer.parameters], h.shape[0]
    for kernel, bias in itertools.product(range(len(sizes)), repeat=2):
        if (sizes[kernel], sizes[bias]) == (n * n, n) and kernel != bias:
            meeting = bilinear.fan_in(layer, h, kernel, bias)
            if meeting:
                return Unit(kernel, bias, "cell", meeting, _activation(layer, h, kernel, bias))
    return None


def _is_real(h) -> bool:
    return hasattr(h, "dtype") and jnp.issubdtype(h.dtype, jnp.floating)


def _is_dense(layer: Layer, h, kernel: int, bias: int | None, transposed: bool) -> bool:
    generator = np.random.default_rng(0)
    shape, dtype = layer.parameters[kernel].shape, layer.parameters[kernel].dtype
    outputs = shape[0 if transposed else 1]
    w = generator.standard_normal(shape) / shape[1 if transposed else 0] ** 0.5
    b, other = generator.standard_normal((2, outputs))
    x = generator.standard_normal(h.shape)
    z = (x.reshape(-1, h.shape[-1])[0] @ (w.T if transposed else w)) + (0 if bias is None else b)

    def call(w, b, x=x):
        parameters = [jnp.asarray(w, dtype)] * len(layer.parameters)
        if bias is not None:
            parameters[bias] = jnp.asarray(b, layer.parameters[bias].dtype)
        out = layer.with_parameters(tuple(parameters))(jnp.asarray(x, h.dtype))
        return np.asarray(out, np.float64).reshape(-1, out.shape[-1])[0] if out.ndim else np.zeros(0)

    try:
        tolerance, out = 64 * float(jnp.finfo(dtype).eps), call(w, b)
        if out.shape != (outputs,):
            return False
        if bias is None:
            return bool(np.allclose(out, z, atol=tolerance, rtol=tolerance))
        mixed = np.where(np.arange(outputs) % 2, z, other)
        phi, phi_mixed, elsewhere = call(0 * w, z), call(0 * w, mixed), call(0 * w, z, 2 * x)
    except (TypeError, ValueError):  # a layer that wants other numbers than these is no dense layer
        return False
    alone = np.array_equal(phi[1::2], phi_mixed[1::2]) and np.array_equal(phi, elsewhere)  # no skip connection
    return alone and bool(np.allclose(out, phi, atol=tolerance, rtol=tolerance))


def _activation(layer: Layer, h, kernel: int, bias: int | None) -> Callable:
    if bias is None:
        return ACTIVATIONS["linear"]
    function = getattr(layer.rebuild(), "func", None)
    if isinstance(function, Dense):
        return function.activation
    outputs = layer.parameters[bias].shape

    def phi(z):
        parameters = [jnp.zeros(p.shape, z.dtype) for p in layer.parameters]
        parameters[bias] = jnp.broadcast_to(z, outputs)
        return layer.with_parameters(tuple(parameters))(jnp.zeros(h.shape, z.dtype)).reshape(-1)[0]

    return _named(phi)


def _with_following(unit: Unit, layers: list[Layer]) -> Unit:
    """The unit with the elementwise layers behind it, up to the first that has parameters."""
    count = 0
    while count < len(layers) and not layers[count].parameters and _is_elementwise(layers[count]):
        count += 1
    if not count:
        return unit

    def phi(z):
        for layer in layers[:count]:
            z = layer(z)
        return z

    return replace(unit, activation=_named(phi), following=count)


def _is_elementwise(layer: Layer) -> bool:
    z = jnp.asarray(np.random.default_rng(1).standard_normal(8), jnp.float32)
    try:
        return not layer.coupled and bool(jnp.all(layer(z) == jnp.stack([layer(one) for one in z])))
    except Exception:  # it wants another shape than one number: whatever it raises, it is not elementwise
        return False


def _named(phi: Callable) -> Callable:
    """The activation of the table that phi equals, so that theory's caches know it; phi itself where there is none."""
    points = jnp.linspace(-3.0, 3.0, 13, dtype=jnp.float32)
    values = np.array([float(phi(point)) for point in points])
    for known in ACTIVATIONS.values():
        if np.allclose(values, np.asarray(known(points)), atol=1e-6, rtol=1e-6):
            return known
    return phi
