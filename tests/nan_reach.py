"""Where a NaN may be seen, and where not: in what a layer makes of a sequence, a clipper of a gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from gradjax import layers

STEPS, WIDTH = 4, 6  # of a sequence, whose NaN stands at (PLACE, 0)
PLACE = 2
OWN = np.arange(STEPS)[:, None] == PLACE
LATER = np.arange(STEPS)[:, None] >= PLACE
EVERYTHING = np.ones((STEPS, 1), bool)
NEIGHBOURS = np.abs(np.arange(STEPS)[:, None] - PLACE) <= 1
UNIT = (np.arange(WIDTH) == 0)[None]


def over_time(cell):
    return layers.over_time(cell, every=True)


def _block(**options):
    return layers.transformer_block(0, WIDTH, 2, mlp="swiglu", **options)


REACHED = {  # a layer of (STEPS, WIDTH), and what the NaN reaches there
    "attention": (lambda: layers.attention(0, WIDTH, 2), EVERYTHING),
    "attention, causal": (lambda: layers.attention(0, WIDTH, 2, causal=True, qk_norm=True), LATER),
    "transformer, pre": (lambda: _block(norm="pre"), EVERYTHING),
    "transformer, post, causal": (lambda: _block(norm="post", causal=True), LATER),
    "feed forward": (lambda: layers.feed_forward(0, WIDTH), OWN),
    "convolution, zero": (lambda: layers.convolution(0, WIDTH, WIDTH, padding="zero"), NEIGHBOURS),
    "convolution, a ring": (lambda: layers.convolution(0, WIDTH, WIDTH, "tanh"), NEIGHBOURS),
    **{
        cell: (lambda cell=cell: over_time(layers.recurrent(0, cell, WIDTH, WIDTH)), LATER)
        for cell in ("rnn", "lstm", "gru")
    },
    "dense": (lambda: layers.at_each_step(layers.dense(0, WIDTH, WIDTH, "relu")), OWN),
    "weight norm": (lambda: layers.at_each_step(layers.weight_norm(layers.dense(0, WIDTH, WIDTH, "gelu"))), OWN),
    "layer norm": (lambda: layers.layer_norm(WIDTH), OWN),
    "rms norm": (lambda: layers.rms_norm(WIDTH), OWN),
    "batch norm": (lambda: layers.batch_norm(WIDTH), UNIT),
    "residual, batch norm": (lambda: layers.residual(layers.batch_norm(WIDTH), 0.5), UNIT),
    "residual": (lambda: layers.at_each_step(layers.residual(layers.dense(0, WIDTH, WIDTH), learned=True)), OWN),
    "residual, by unit": (lambda: layers.residual(jnp.tanh), OWN & UNIT),
    "gated": (lambda: layers.at_each_step(layers.gated(jax.random.key(0), WIDTH, jnp.tanh)), OWN),
    "dropout": (lambda: layers.dropout(0, 0.0), OWN & UNIT),
    "compose": (lambda: layers.compose([layers.rms_norm(WIDTH), jnp.sin]), OWN),
}

ENTRY = {"kernel": np.arange(6).reshape(2, 3) == 1, "bias": np.zeros(3, bool)}
COLUMN = {"kernel": np.arange(6).reshape(2, 3) % 3 == 1, "bias": np.zeros(3, bool)}
LEAF = {"kernel": np.ones((2, 3), bool), "bias": np.zeros(3, bool)}
ALL = {"kernel": np.ones((2, 3), bool), "bias": np.ones(3, bool)}
NONE = {"kernel": np.zeros((2, 3), bool), "bias": np.zeros(3, bool)}
RULES = {  # clipper -> where a NaN in the gradient of kernel[0, 1] is seen in the update
    **dict.fromkeys(("none", "value", "sign", "per_example_global_norm", "per_example_layer_norm"), ENTRY),
    **dict.fromkeys(("unit_norm", "adaptive"), COLUMN),
    **dict.fromkeys(("block_rms", "trust_ratio"), LEAF),
    **dict.fromkeys(("zero_nans", "apply_if_finite"), NONE),  # guards: an update of 0 instead, as they promise
}
