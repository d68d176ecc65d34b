"""Layers: pure functions `apply(parameters, activation)`, made callable pytrees by `jax.tree_util.Partial`."""

from gradjax.layers.attention import Attention, attention, attention_logits
from gradjax.layers.blocks import BLOCKS, block
from gradjax.layers.composition import compose
from gradjax.layers.convolution import Convolution, convolution, pool
from gradjax.layers.dense import Dense, dense
from gradjax.layers.dropout import Dropout, dropout, redraw
from gradjax.layers.feed_forward import FEED_FORWARDS, FeedForward, feed_forward
from gradjax.layers.gated import gated, gates, through_gates
from gradjax.layers.normalization import Normalization, batch_norm, layer_norm, rms_norm
from gradjax.layers.recurrent import at_each_step, initial_state, over_time, recurrent
from gradjax.layers.residual import residual
from gradjax.layers.state_space import StateSpace, state_space
from gradjax.layers.supervised import close_heads, open_heads, supervised
from gradjax.layers.transformer import ARRANGEMENTS, transformer_block
from gradjax.layers.weight_norm import WeightNorm, weight_norm

__all__ = [
    "ARRANGEMENTS",
    "BLOCKS",
    "FEED_FORWARDS",
    "Attention",
    "Convolution",
    "Dense",
    "Dropout",
    "FeedForward",
    "Normalization",
    "StateSpace",
    "WeightNorm",
    "at_each_step",
    "attention",
    "attention_logits",
    "batch_norm",
    "block",
    "close_heads",
    "compose",
    "convolution",
    "dense",
    "dropout",
    "feed_forward",
    "gated",
    "gates",
    "initial_state",
    "layer_norm",
    "open_heads",
    "over_time",
    "pool",
    "recurrent",
    "redraw",
    "residual",
    "rms_norm",
    "state_space",
    "supervised",
    "through_gates",
    "transformer_block",
    "weight_norm",
]
