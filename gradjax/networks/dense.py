"""Fully connected networks: of any widths, and deep ones of one width with blocks of a chosen form."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradjax import activations, initializers
from gradjax.arguments import as_function, floating, listed
from gradjax.chain import Stack
from gradjax.layers import block, dense
from gradjax.numerics import as_key
from gradjax.room import axes, axis


def mlp(
    key: Array | int,
    sizes: Sequence[int],
    activation: str | Callable | Sequence = "tanh",
    kernel_init: str | Callable | Sequence = "lecun_normal",
    bias_init: str | Callable | Sequence = "zeros",
    dtype=jnp.float32,
    *,
    final_activation: str | Callable = "linear",
) -> list:
    """A multilayer perceptron, the layers h_l = φ(h_{l−1} W_l + b_l) for l = 1 … L.

    Args:
        key: a random key, or a seed in [0, 2³²).
        sizes: the widths (n_0, …, n_L), each at least 1.
        activation: φ of the hidden layers, by name (`gradjax.activations.ACTIVATIONS`) or callable; or a sequence
            of L − 1 of them.
        kernel_init, bias_init: by name (`gradjax.initializers.INITIALIZERS`) or `(key, shape, dtype) -> Array`; or a
            sequence of L of them. Kernels are (in, out); each layer draws from its own key, in a Stack too.
        dtype: of the parameters: a floating type.
        final_activation: φ of the last layer.

    Returns:
        A list of layers: consecutive layers of one shape, activation and initializer as one `Stack`.

    Raises:
        ValueError: fewer than two sizes, a width below 1, an unknown name, a sequence of the wrong length, a bad seed.

    >>> layers = mlp(0, [3, 5, 5, 5, 2], "relu")
    >>> [type(layer).__name__ for layer in layers]
    ['Partial', 'Stack', 'Partial']
    """
    key, sizes, dtype = as_key(key), _admit_sizes(sizes), floating(dtype)
    depth = len(sizes) - 1
    phis = [activations.resolve(a) for a in _one_a_layer("activation", activation, depth - 1)]
    phis.append(activations.resolve(final_activation))
    kernels = [initializers.resolve(a) for a in _one_a_layer("kernel_init", kernel_init, depth)]
    biases = [initializers.resolve(a) for a in _one_a_layer("bias_init", bias_init, depth)]
    plans = list(zip(sizes[:-1], sizes[1:], phis, kernels, biases, strict=True))
    keys, layers, start = jax.random.split(key, depth), [], 0
    for plan, run in groupby(plans):
        length = len(list(run))
        layers.append(_layers_alike(keys[start : start + length], plan, dtype))
        start += length
    return layers


def deep(
    key: Array | int,
    sizes: Sequence[int],
    depth: int,
    kind: str | Callable = "residual",
    activation: str | Callable = "tanh",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    layer: Callable = dense,
) -> list:
    """A deep network of one width: a fully connected layer in, a Stack of equal blocks, a linear readout.

    h_1 = φ(x W + b), h_{l+1} = block_l(h_l), f = h_L W' + b'

    Args:
        key: a random key, or a seed in [0, 2³²).
        sizes: (inputs, width, outputs), each at least 1.
        depth: layers from input to output, at least 3, those two included: the Stack has depth − 2.
        kind: of the blocks, a name of `gradjax.layers.BLOCKS`: plain; residual, sqrt_depth, over_depth (branch scale
            1, 1/√L, 1/L), pre_activation, post_activation, fixup, skip_init, rezero; gated; layer_norm, rms_norm,
            weight_norm, pre_norm; batch_norm and pre_batch_norm (which couple the examples: hand in batches, with
            `batch_axis=0`); or see `block`.
        activation, kernel_init, bias_init: of the first layer and the blocks, see `gradjax.layers.block`; the readout
            is drawn by `lecun_normal`.
        dtype: of the parameters.
        layer: draws the first layer and those of the blocks, with the arguments of `gradjax.layers.dense`.

    Returns:
        Three layers, the second a `Stack`.

    Raises:
        ValueError: not three sizes, a size below 1, a depth below 3, an unknown name, a bad seed.

    >>> layers = deep(0, (3, 5, 2), 10, "residual")
    >>> print(len(layers[1]), layers[2](layers[1](layers[0](jnp.ones(3)))).shape)
    8 (2,)
    """
    sizes, dtype, layer = _admit_sizes(sizes), floating(dtype), as_function("layer", layer, "like `dense`")
    if len(sizes) != 3:
        raise ValueError(f"sizes is {sizes}, expected three: (inputs, width, outputs)")
    depth = axis("depth", depth, 3)  # one layer in, one out, blocks between
    inputs, width, outputs = sizes
    keys, like = jax.random.split(as_key(key), depth), (activation, kernel_init, bias_init, dtype)
    first, last = layer(keys[0], inputs, width, *like), dense(keys[-1], width, outputs, dtype=dtype)
    options: Any = {"depth": depth - 2, "layer": layer}
    return [first, Stack(jax.vmap(lambda key: block(key, width, kind, *like, **options))(keys[1:-1])), last]


def _layers_alike(keys: Array, plan: tuple, dtype):
    """One layer, or a Stack of them, each drawn from its own key: orthogonal layer by layer."""
    inputs, outputs, activation, kernel_init, bias_init = plan

    def one(key):
        return dense(key, inputs, outputs, activation, kernel_init, bias_init, dtype)

    return one(keys[0]) if len(keys) == 1 else Stack(jax.vmap(one)(keys))


def _admit_sizes(sizes: Sequence[int]) -> list[int]:
    """The widths (n_0, …, n_L) as ints, at least two."""
    sizes = axes("sizes", sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes is {sizes}, expected at least two widths (n_0, ..., n_L)")
    return sizes


def _one_a_layer(name: str, candidates, depth: int) -> list:
    if isinstance(candidates, str) or callable(candidates):
        return [candidates] * depth
    candidates = listed(name, candidates, "names or callables")
    if len(candidates) != depth:
        raise ValueError(f"{name} has {len(candidates)} entries, expected one name or callable, or {depth}")
    return candidates
