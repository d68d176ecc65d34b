"""Convolutional networks: a convolution in, a Stack of equal blocks, the mean over all positions, a readout."""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.layers import compose, convolution, pool
from gradjax.networks.dense import deep


def convnet(
    key: Array | int,
    sizes: Sequence[int],
    depth: int,
    kind: str | Callable = "plain",
    activation: str | Callable = "tanh",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    taps: int | tuple[int, ...] = 3,
    padding: str = "circular",
) -> list:
    """A deep convolutional network of constant channels, f = mean_positions(h_{L−1}) W' + b'.

    Args:
        key: a random key, or a seed in [0, 2³²).
        sizes: (input channels, channels, outputs), each at least 1.
        depth: layers from input to output, at least 3: the Stack has depth − 2.
        kind: of the blocks, see `gradjax.networks.deep`.
        activation, kernel_init, bias_init, dtype: see `gradjax.networks.deep`. 'delta_orthogonal' is for channels that
            do not shrink.
        taps, padding: see `gradjax.layers.convolution`; two taps make it a network on a plane.

    Returns:
        Three layers, the second a `Stack`; an activation is (*positions, channels).

    Raises:
        ValueError: see `gradjax.networks.deep` and `gradjax.layers.convolution`.

    Reference: Xiao et al. (2018), arXiv:1806.05393.

    >>> layers = convnet(0, (1, 4, 3), 10, taps=(3, 3))
    >>> print(layers[2](layers[1](layers[0](jnp.ones((5, 6, 1))))).shape)
    (3,)
    """
    layer = partial(convolution, taps=taps, padding=padding)
    first, blocks, readout = deep(key, sizes, depth, kind, activation, kernel_init, bias_init, dtype, layer=layer)
    return [first, blocks, compose([Partial(pool), readout])]


def resnet(
    key: Array | int,
    sizes: Sequence[int],
    depth: int,
    kind: str | Callable = "pre_activation",
    activation: str | Callable = "relu",
    kernel_init: str | Callable = "he_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    taps: int | tuple[int, ...] = (3, 3),
    padding: str = "zero",
) -> list:
    """A residual convolutional network on a plane: `convnet` with the defaults of He et al. (2016, arXiv:1603.05027).

    Arguments, result and errors as in `convnet`; kinds with a skip connection are residual, sqrt_depth, over_depth,
    pre_activation, post_activation, fixup, skip_init, rezero, pre_norm and pre_batch_norm.

    >>> layers = resnet(0, (1, 4, 3), 10, "fixup")
    >>> print(layers[2](layers[1](layers[0](jnp.ones((5, 6, 1))))).shape)
    (3,)
    """
    return convnet(key, sizes, depth, kind, activation, kernel_init, bias_init, dtype, taps=taps, padding=padding)
