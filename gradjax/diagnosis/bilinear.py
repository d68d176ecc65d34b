"""Which layers are h ↦ φ(A(W) h + b), A linear in the kernel W: convolutions of any layout, steps of a vanilla cell.

Mean field theory speaks of them as of dense layers, with the number of weights that meet in one unit as the fan-in. No
layout is assumed (channels first or last, stride, padding, groups): A(V) h is the derivative by W at W = 0 in the
direction V, over φ′(b), and the layer is tried at random V, b and h. Parameters beside W and b (what multiplies the
input of a cell) are set to zero meanwhile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.chain import Layer

STEEP = 1e-3  # |φ′| that may be divided by


class Trial(NamedTuple):
    """A layer with one of its parameters taken as the kernel W, one as the bias b (or none), the rest zero."""

    layer: Layer
    kernel: int
    bias: int | None
    h: Array
    weights: Array
    biases: Array

    def __call__(self, w, b, h) -> Array:
        """φ(A(W) h + b)."""
        parameters = [jnp.zeros_like(p) for p in self.layer.parameters]
        parameters[self.kernel] = w
        if self.bias is not None:
            parameters[self.bias] = b.reshape(parameters[self.bias].shape)
        return self.layer.with_parameters(tuple(parameters))(h)


def fan_in(layer: Layer, h, kernel: int, bias: int | None) -> int | None:
    """How many weights meet in one unit of φ(A(W) h + b); None where the layer is not of that form."""
    trial = _trial(layer, h, kernel, bias)
    try:
        out = jax.eval_shape(trial, trial.weights, trial.biases, trial.h)
        if not isinstance(out, jax.ShapeDtypeStruct) or not out.ndim:
            return None
        return _meeting(trial) if (_is_linear(trial) if bias is None else _is_unit(trial)) else None
    except (TypeError, ValueError):  # a layer that wants other numbers than these
        return None


def drive(layer: Layer, h, kernel: int, bias: int) -> Array:
    """The mean square of what enters φ beside A(W) h: the bias and what the other parameters make of their input.

    It is linear in them, so it is the derivative by all of them at b = ½ over φ′(½).
    """
    trial = _trial(layer, h, kernel, bias)
    zero = [jnp.zeros_like(p) for p in layer.parameters]
    direction = list(layer.parameters)
    direction[kernel] = zero[kernel]
    half = [*zero[:bias], jnp.full_like(zero[bias], 0.5), *zero[bias + 1 :]]

    def call(parameters):
        return layer.with_parameters(tuple(parameters))(trial.h)

    ones = [*zero[:bias], jnp.ones_like(zero[bias]), *zero[bias + 1 :]]
    moved, slope = (jax.jvp(call, (half,), (along,))[1] for along in (direction, ones))
    return jnp.mean((moved / slope) ** 2)


def _trial(layer: Layer, h, kernel: int, bias: int | None) -> Trial:
    generator = np.random.default_rng(0)
    w = layer.parameters[kernel]
    b = jnp.zeros(1, w.dtype) if bias is None else layer.parameters[bias].reshape(-1)
    # above zero, where no activation of a ReLU's kind is flat
    biases = 0.1 + np.abs(generator.standard_normal(b.shape))
    weights = generator.standard_normal(w.shape) * (w.shape[-1] / w.size) ** 0.5
    x = generator.standard_normal(h.shape)
    return Trial(
        layer, kernel, bias, jnp.asarray(x, h.dtype), jnp.asarray(weights, w.dtype), jnp.asarray(biases, b.dtype)
    )


def _is_linear(trial: Trial) -> bool:
    """Without a bias: whether the layer is A(W) h itself."""
    w, b, h = trial.weights, trial.biases, trial.h
    out = trial(w, b, h)
    moved = jax.jvp(lambda w: trial(w, b, h), (jnp.zeros_like(w),), (w,))[1]
    return _equal(out, moved, out) and _equal(trial(w, b, 2 * h), 2 * out, out) and bool(jnp.any(out != 0))


def _is_unit(trial: Trial) -> bool:
    w, b, h = trial.weights, trial.biases, trial.h
    zero = jnp.zeros_like(w)
    flat = trial(zero, b, h)
    axis = _channels(flat, len(b))
    if axis is None or not bool(jnp.all(trial(zero, b, 2 * h) == flat)):  # a skip connection, or a gate
        return False
    mixed = jnp.where(jnp.arange(len(b)) % 2, b, b[::-1] + 0.3)
    profile, other = (jnp.moveaxis(a, axis, -1).reshape(-1, len(b))[0] for a in (flat, trial(zero, mixed, h)))
    slope = jax.jvp(lambda b: trial(zero, b, h), (b,), (jnp.ones_like(b),))[1]
    if not bool(jnp.all(profile[1::2] == other[1::2])) or not bool(jnp.all(jnp.abs(slope) > STEEP)):
        return False  # not each unit by itself
    own, twice = (jax.jvp(lambda w, x=x: trial(w, b, x), (zero,), (w,))[1] / slope for x in (h, 2 * h))
    if not _equal(twice, 2 * own, own) or not bool(jnp.any(own != 0)):
        return False
    place = [size // 2 for size in flat.shape]
    at = tuple(slice(None) if a == axis else p for a, p in enumerate(place))
    return _equal(trial(w, b, h)[at], trial(zero, b + own[at], h)[at], jnp.ones(()))


def _channels(flat: Array, count: int) -> int | None:
    """The axis along which b stands in φ(b), the same at every position."""
    for axis, size in enumerate(flat.shape):
        rows = jnp.moveaxis(flat, axis, -1).reshape(-1, size)
        if size == count and bool(jnp.all(rows == rows[:1])):
            return axis
    return None


def _meeting(trial: Trial) -> int:
    """The weights that the unit in the middle depends on: at an edge with zeros around it there are fewer."""

    def middle(w):
        out = trial(w, trial.biases, trial.h)
        return out[tuple(size // 2 for size in out.shape)]

    return int(jnp.sum(jax.grad(middle)(jnp.zeros_like(trial.weights)) != 0))


def _equal(a: Array, b: Array, scale: Array) -> bool:
    tolerance = 256 * float(jnp.finfo(a.dtype).eps) * max(1.0, float(jnp.max(jnp.abs(scale))))
    return bool(jnp.max(jnp.abs(a - b)) <= tolerance)
