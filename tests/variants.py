"""One list of networks drives the common tests: a line here adds every test to a new kind of layer."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import nnx
from jax.tree_util import Partial

from gradjax.chain import Coupled, Stack, unroll
from gradjax.layers import (
    batch_norm,
    block,
    dense,
    dropout,
    gated,
    layer_norm,
    residual,
    rms_norm,
    state_space,
    weight_norm,
)
from gradjax.layers import compose as in_one
from gradjax.networks import convnet, mlp, recurrent, transformer

KEY = jax.random.key(3)


@jax.custom_vjp
def reverse_only(h):
    """A smooth layer that forward mode cannot enter."""
    return jnp.sin(h)


reverse_only.defvjp(lambda h: (jnp.sin(h), jnp.cos(h)), lambda c, u: (c * u,))


def vector(dtype, n=6):
    return jax.random.normal(jax.random.key(11), (n,), dtype)


def with_mlp(activation):
    return lambda dtype: (mlp(KEY, [6, 7, 7, 7, 3], activation, "mean_field", "normal", dtype), vector(dtype))


def with_cell(cell):
    """A recurrent cell through five steps; the state of an LSTM, (h, c), is one activation."""

    def make(dtype):
        inputs = jax.random.normal(KEY, (5, 3), dtype)
        start = (jnp.zeros(4, dtype), jnp.full(4, 0.5, dtype)) if cell == "lstm" else vector(dtype, 4)
        return [unroll(recurrent(KEY, cell, 4, 3, kernel_init="mean_field", dtype=dtype), inputs)], start

    return make


def of_rank_two(dtype):
    """Activations of rank 2, mixed along both axes."""
    w = jax.random.normal(KEY, (3, 3), dtype)
    return [Partial(lambda w, h: jnp.tanh(w @ h), w), lambda h: jnp.sin(h.T)], vector(dtype, 12).reshape(3, 4)


def tied_and_plain(dtype):
    """Plain functions among Stacks, a branch that adds its input."""
    w = jax.random.normal(KEY, (9, 6, 6), dtype) / 3
    return [jnp.tanh, Stack(Partial(lambda w, h: h + jnp.tanh(h @ w), w)), lambda h: h[:4] * h[2:]], vector(dtype)


def normalized_batch(dtype):
    """A layer that couples the examples: the batch is the activation."""
    w = jax.random.normal(KEY, (3, 3), dtype)
    layers = [
        Partial(jnp.matmul, jnp.eye(4, dtype=dtype)),
        Coupled(lambda h: (h - h.mean(0, keepdims=True)) / jnp.std(h)),
        jnp.tanh,
    ]
    return [*layers, Partial(lambda w, h: h @ w, w)], vector(dtype, 12).reshape(4, 3)


def shortcuts(dtype):
    """A learnt skip around two layers, a gate around a normalized one, and shifts and gains that are no 0 and 1."""
    keys = jax.random.split(KEY, 4)
    branch = [dense(keys[0], 6, 4, "tanh", dtype=dtype), dense(keys[1], 4, 6, "gelu", dtype=dtype)]
    around = gated(keys[2], 6, [rms_norm(6, dtype=dtype), jnp.sin], gate_bias=0.5, dtype=dtype)
    norm = jax.tree.map(lambda leaf: leaf + 0.3, layer_norm(6, dtype=dtype))
    return [residual(branch, 0.7, learned=True, dtype=dtype), around, norm, jnp.tanh], vector(dtype)


def dropped(dtype):
    """Dropout in a Stack and alone, around weight normalization;"""
    keys = jax.random.split(KEY, 4)

    def one(key):
        return in_one([dropout(key, 0.3), weight_norm(dense(key, 6, 6, "tanh", dtype=dtype))])

    return [Stack(jax.vmap(one)(keys)), dropout(7, 0.2), dense(KEY, 6, 3, dtype=dtype)], vector(dtype)


def modes(dtype):
    """A linear recurrent unit through five steps, its state of pairs, and what reads it."""
    cell = state_space(KEY, 4, 3, dtype=dtype)
    inputs = jax.random.normal(KEY, (5, 3), dtype)
    return [unroll(cell, inputs)], vector(dtype, 8).reshape(2, 4)


def through_complex(dtype):
    """Complex activations within, holomorphic layers and one that is not; real ones go in and come out."""
    w = jax.random.normal(KEY, (4, 3, 3), dtype) / 2
    turn = Partial(lambda w, z: jnp.tanh(z @ jax.lax.complex(w[0], w[1])), w[:2])
    entrance = Partial(lambda w, h: jax.lax.complex(h[:3] @ w[0], h[3:] @ w[1]), w[2:])
    return [
        entrance,
        turn,
        jnp.conj,
        lambda z: jax.lax.complex(jnp.imag(z) ** 2, jnp.real(z)),
        lambda z: jnp.abs(z) ** 2,
    ], vector(dtype)


def coupled_blocks(dtype):
    """Batch-norm within everything that may hold it: the batch is the activation all the way."""
    keys = jax.random.split(KEY, 4)
    normalized = block(keys[0], 3, "batch_norm", dtype=dtype)
    layers = [Stack(jax.vmap(lambda key: residual(block(key, 3, "batch_norm", dtype=dtype), 0.5))(keys[:2]))]
    layers += [in_one([dense(keys[1], 3, 3, "tanh", dtype=dtype), batch_norm(3, dtype=dtype)])]
    return [*layers, gated(keys[2], 3, normalized, dtype=dtype)], vector(dtype, 12).reshape(4, 3)


def convolutional(taps, padding, kind):
    """Convolutions in, in blocks and to a mean over the positions."""

    def make(dtype):
        like = {"taps": taps, "padding": padding, "dtype": dtype, "bias_init": "normal"}
        shape = (6, 2) if len(taps) == 1 else (2, 3, 2)
        return convnet(KEY, (2, 3, 2), 4, kind, "tanh", **like), vector(dtype, 12).reshape(shape)

    return make


def with_attention(**options):
    """Three tokens through two transformer blocks."""

    def make(dtype):
        layers = transformer(KEY, depth=2, width=4, heads=2, tokens=3, hidden=5, dtype=dtype, **options)
        return layers, vector(dtype, 12).reshape(3, 4)

    return make


def equinox_model(dtype):
    keys = jax.random.split(KEY, 2)
    return [
        eqx.nn.Linear(6, 5, key=keys[0], dtype=dtype),
        eqx.nn.Lambda(jax.nn.gelu),
        eqx.nn.LayerNorm(5, dtype=dtype),
        eqx.nn.Linear(5, 2, key=keys[1], dtype=dtype),
    ], vector(dtype)


def nnx_model(dtype):
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(6, 5, rngs=rngs, dtype=dtype, param_dtype=dtype),
        nnx.BatchNorm(5, rngs=rngs, dtype=dtype, param_dtype=dtype),
        jnp.tanh,
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(5, 3, rngs=rngs, dtype=dtype, param_dtype=dtype),
    )
    model.eval()
    return model.layers, vector(dtype)


VARIANTS = {
    "mlp_tanh": with_mlp("tanh"),
    "mlp_relu": with_mlp("relu"),
    **{cell: with_cell(cell) for cell in ("rnn", "lstm", "gru")},
    "linear_recurrent_unit": modes,
    "dropped": dropped,
    "through_complex": through_complex,
    "of_rank_two": of_rank_two,
    "tied_and_plain": tied_and_plain,
    "normalized_batch": normalized_batch,
    "shortcuts": shortcuts,
    "coupled_blocks": coupled_blocks,
    "convolution_1d": convolutional((3,), "circular", "plain"),
    "convolution_2d": convolutional((3, 2), "zero", "fixup"),
    "pre_ln": with_attention(outputs=2, qk_norm=True),
    "post_ln": with_attention(norm="post", mlp="swiglu", causal=True, normalization="rms_norm"),
    "reverse_only": lambda dtype: ([reverse_only, Partial(jnp.multiply, vector(dtype)), jnp.tanh], vector(dtype)),
    "equinox": equinox_model,
    "nnx": nnx_model,
}


def compose(layers, x):
    """The network as plain Python, one call a layer: the reference that knows nothing of gradjax's folds."""
    for layer in layers:
        if isinstance(layer, Stack):
            for depth in range(len(layer)):
                x = slice_by_hand(layer, depth)(x)
        else:
            x = layer(x)
    return x


def slice_by_hand(stack, depth):
    leaves, structure = jax.tree.flatten(stack.layer)
    tied = stack.tied or (False,) * len(leaves)
    return structure.unflatten([leaf if t else leaf[depth] for leaf, t in zip(leaves, tied, strict=True)])
