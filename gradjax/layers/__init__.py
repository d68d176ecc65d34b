"""Layers: pure functions `apply(parameters, activation)`, made callable pytrees by `jax.tree_util.Partial`."""

from gradjax.layers.blocks import BLOCKS, block
from gradjax.layers.composition import compose
from gradjax.layers.dense import Dense, dense
from gradjax.layers.gated import gated
from gradjax.layers.normalization import Normalization, batch_norm, layer_norm, rms_norm
from gradjax.layers.residual import residual

__all__ = [
    "BLOCKS",
    "Dense",
    "Normalization",
    "batch_norm",
    "block",
    "compose",
    "dense",
    "gated",
    "layer_norm",
    "residual",
    "rms_norm",
]
