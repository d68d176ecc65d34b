"""You are here: any network's layers as dots on the phase diagram of its activation.

A dense or convolutional layer stands at (weight_std, bias_std): the scales that theory means, measured from its
parameters as they are, so that trained weights have a place, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gradjax.chain import Stack, as_layers, layer_of
from gradjax.theory.meanfield import phase_diagram

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 60  # of the background in either direction


def layer_stds(layers: Any) -> tuple[np.ndarray, np.ndarray]:
    """The place of every layer that has a kernel: weight_std = sqrt(fan_in mean W²), bias_std = sqrt(mean b²).

    fan_in is the size of the kernel over its number of outputs, which is the length of the bias; without one, kernels
    are taken as (..., in, out).

    Args:
        layers: a sequence of callable pytrees, or a Stack (see `gradjax.chain.as_layers`).

    Returns:
        Two arrays, one entry for each such layer in their order; bias_std is 0 where there is no bias.

    Raises:
        ValueError: no layer has a kernel, a parameter of two or more dimensions.

    >>> import jax
    >>> from gradjax.networks import mlp
    >>> weight_stds, _ = layer_stds(mlp(jax.random.key(0), [8, 8], "tanh", "orthogonal"))
    >>> print(weight_stds.round(4))
    [1.]
    """
    places = []
    for entry in as_layers(layers):
        leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(layer_of(entry).parameters)]
        if isinstance(entry, Stack):
            tied = entry.tied or (False,) * len(leaves)
            rows = [[x if t else x[i] for x, t in zip(leaves, tied, strict=False)] for i in range(entry.depth)]
        else:
            rows = [leaves]
        places += [place for row in rows if (place := _place(row)) is not None]
    if not places:
        raise ValueError(
            "no layer has a kernel (a parameter of two or more dimensions): nothing to place on the diagram"
        )
    weight, bias = np.array(places).T
    return weight, bias


def _place(leaves: list[np.ndarray]) -> tuple[float, float] | None:
    kernels = [leaf for leaf in leaves if leaf.ndim >= 2 and leaf.size]
    if not kernels:
        return None
    kernel = max(kernels, key=np.size)
    biases = [leaf for leaf in leaves if leaf.ndim == 1 and leaf.size in (kernel.shape[0], kernel.shape[-1])]
    outputs = biases[0].size if biases else kernel.shape[-1]
    bias = float(np.sqrt(np.mean(biases[0] ** 2))) if biases else 0.0
    return float(np.sqrt(np.sum(kernel**2) / outputs)), bias


def draw_here(ax: Axes, activation: Any, layers: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draw the phase diagram of the activation around the layers' places, and the layers on it, numbered from 1.

    The background is log10 of chi_1, the factor a layer multiplies the squared gradient by; the line is where it is 1.

    Args:
        ax: the panel.
        activation: a callable, an `Activation`, or a name.
        layers: see `layer_stds`.

    Returns:
        The places, as `layer_stds`.
    """
    weight, bias = layer_stds(layers)
    weights, biases = np.linspace(0.1, 1.3 * weight.max() + 0.7, POINTS), np.linspace(0, 1.3 * bias.max() + 0.5, POINTS)
    with np.errstate(divide="ignore"):
        background(ax, weights, biases, np.log10(phase_diagram(activation, weights, biases).gain))
    ax.plot(weight, bias, "o-", color="black", markersize=4, linewidth=0.6, label="the layers")
    for index in {0, len(weight) - 1}:
        ax.annotate(f" {index + 1}", (weight[index], bias[index]))
    ax.set(xlabel="weight scale σw", ylabel="bias scale σb")
    return weight, bias


def background(ax: Axes, weights: np.ndarray, biases: np.ndarray, log_gain: np.ndarray, limit: float = 0.6) -> Any:
    """The diagram itself: log10 chi_1 (weights, biases) in colour, and the line where it is 0."""
    mesh = ax.pcolormesh(weights, biases, log_gain.T, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True)
    ax.contour(weights, biases, np.ma.masked_invalid(log_gain.T), levels=[0.0], colors="black", linewidths=1.2)
    ax.grid(False)
    return mesh
