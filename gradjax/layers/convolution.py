"""The convolution: one small kernel at every position of a line or a plane, h ↦ φ(h ∗ W + b).

It is written as one matrix product of the patches with the kernel, not as XLA's convolution: under `vmap` over kernels
(how networks are compared and Jacobians of parameters are taken) that becomes a grouped convolution, several times
slower on a CPU, and it knows no circular padding.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, initializers
from gradjax.arguments import choice, floating, is_number, numeric
from gradjax.numerics import as_key
from gradjax.room import axes, axis

PADDINGS = {"circular": "wrap", "zero": "constant"}  # our name: that of jnp.pad


@dataclass(frozen=True)
class Convolution:
    """The pure function (parameters, h) ↦ φ(h ∗ W + b), with as many positions out as in.

    Args:
        activation: φ, elementwise.
        padding: 'circular' (the line is a ring, the plane a torus) or 'zero'.
    """

    activation: Callable[[Array], Array]
    padding: str

    def __call__(self, parameters: dict[str, Array], h: Array) -> Array:
        kernel = parameters["kernel"]
        *taps, inputs, outputs = kernel.shape
        if h.ndim != len(taps) + 1 or h.shape[-1] != inputs:
            raise ValueError(f"the activation has shape {h.shape}, expected {len(taps)} axes of positions and {inputs}")
        z = patches(h, tuple(taps), self.padding) @ kernel.reshape(-1, outputs)
        return self.activation(z + jnp.broadcast_to(parameters["bias"], z.shape))


def patches(h: Array, taps: tuple[int, ...], padding: str) -> Array:
    """What the kernel sees at every position, (*positions, taps · channels): k of them around each.

    An even k reaches one further ahead than back, as in XLA; jax's delta-orthogonal centre is that tap.

    >>> print(patches(jnp.array([[1.0], [2.0], [3.0]]), (3,), "circular"))
    [[3. 1. 2.]
     [1. 2. 3.]
     [2. 3. 1.]]
    """
    positions = h.shape[:-1]
    widths = [((k - 1) // 2, k // 2) for k in taps]
    wide = jnp.pad(h, [*widths, (0, 0)], mode=PADDINGS[padding])
    shifts = itertools.product(*map(range, taps))
    return jnp.concatenate([jax.lax.slice(wide, (*s, 0), _end(s, positions, h.shape[-1])) for s in shifts], axis=-1)


def _end(start: tuple[int, ...], positions: tuple[int, ...], channels: int) -> tuple[int, ...]:
    return (*(s + n for s, n in zip(start, positions, strict=True)), channels)


def convolution(
    key: Array,
    inputs: int,
    outputs: int,
    activation: str | Callable = "linear",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    taps: int | tuple[int, ...] = 3,
    padding: str = "circular",
) -> Partial:
    """A convolution, the callable pytree h ↦ φ(h ∗ W + b) of (*positions, inputs) → (*positions, outputs).

    Its arguments are those of `dense`, so that `functools.partial(convolution, taps=…)` stands wherever that does.

    Args:
        key: a random key, or a seed in [0, 2³²).
        inputs, outputs: channels, at least 1; the kernel W is (*taps, inputs, outputs).
        activation: φ, elementwise, by name (`gradjax.activations.ACTIVATIONS`) or callable.
        kernel_init, bias_init: by name (`gradjax.initializers.INITIALIZERS`) or `(key, shape, dtype) -> Array`.
            'delta_orthogonal' makes the layer's Jacobian orthogonal times φ', 'mean_field' is the Gaussian beside it.
        dtype: of the parameters.
        taps: the kernel's extent: a number or (k,) on a line, (k, k') on a plane.
        padding: 'circular' or 'zero'.

    Raises:
        ValueError: an unknown padding, an extent or a number of channels below 1; when called, an activation of
            another rank or number of channels.

    Reference: Xiao et al. (2018), arXiv:1806.05393, for the circular convolution and its isometry.

    >>> layer = convolution(jax.random.key(0), 1, 1, "relu", "ones")
    >>> print(layer(jnp.array([[1.0], [0.0], [0.0], [2.0]]))[:, 0])
    [3. 1. 2. 3.]
    """
    inputs, outputs, dtype = axis("inputs", inputs), axis("outputs", outputs), floating(dtype)
    extent = (axis("taps", taps),) if is_number(taps) else tuple(axes("taps", taps))
    if len(extent) not in (1, 2):
        raise ValueError(f"taps is {taps!r}, expected one or two extents: (k,) on a line, (k, k') on a plane")
    padding = choice("padding", padding, tuple(PADDINGS))
    kernel_init, bias_init = initializers.resolve(kernel_init), initializers.resolve(bias_init)
    kernel_key, bias_key = jax.random.split(as_key(key))
    parameters = {
        "kernel": kernel_init(kernel_key, (*extent, inputs, outputs), dtype),
        "bias": bias_init(bias_key, (outputs,), dtype),
    }
    return Partial(Convolution(activations.resolve(activation), padding), parameters)


def pool(h: Array) -> Array:
    """The mean over all positions: (*positions, channels) → (channels,).

    >>> print(pool(jnp.array([[1.0, 0.0], [3.0, 4.0]])))
    [2. 2.]
    """
    h = jnp.asarray(numeric("h", h))
    if h.ndim < 1 or not h.size:
        raise ValueError(f"h has shape {h.shape}, expected (*positions, channels) with no empty axis")
    return jnp.mean(h, axis=tuple(range(h.ndim - 1)))
