"""Blocks: the hidden layers of a deep network of one width, in the forms that are compared.

Every form stands on the same fully connected layer φ(h W + b), so that each is one change to the plain network.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, tables
from gradjax.layers.composition import compose
from gradjax.layers.dense import dense
from gradjax.layers.gated import gated
from gradjax.layers.normalization import batch_norm, layer_norm, rms_norm
from gradjax.layers.residual import residual


def block(
    key: Array,
    width: int,
    kind: str | Callable = "plain",
    activation: str | Callable = "tanh",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
) -> Callable:
    """One hidden layer of constant width, a callable pytree (width,) → (width,), of the form that `kind` names.

    Args:
        key: a random key.
        width: units that enter and leave.
        kind: a name of `BLOCKS`, or a callable of the arguments that follow, in their order: `(key, width,
            activation, kernel_init, bias_init, dtype) -> layer`.
        activation: φ, by name (`gradjax.activations.ACTIVATIONS`) or callable.
        kernel_init, bias_init: by name (`gradjax.initializers.INITIALIZERS`) or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.

    Raises:
        ValueError: an unknown name; the known ones are listed.

    >>> layer = block(jax.random.key(0), 2, "residual", "linear", "identity")
    >>> print(layer(jnp.array([1.0, 2.0])))
    [2. 4.]
    """
    make = tables.resolve(BLOCKS, kind, "block")
    return make(key, width, activations.resolve(activation), kernel_init, bias_init, dtype)


def _plain(key, width, activation, kernel_init, bias_init, dtype):
    return dense(key, width, width, activation, kernel_init, bias_init, dtype)


def _residual(*arguments):
    return residual(_plain(*arguments))


def _normalized(norm, key, width, activation, kernel_init, bias_init, dtype):
    """The normalization stands before φ, where it sets the size of what φ is given."""
    inner = dense(key, width, width, "linear", kernel_init, bias_init, dtype)
    return compose([inner, norm(width, dtype=dtype), Partial(activation)])


def _pre_norm(norm, key, width, *arguments):
    """The normalization stands in the branch, first: the way past it multiplies by nothing."""
    return residual([norm(width, dtype=arguments[-1]), _plain(key, width, *arguments)])


def _gated(key, width, activation, kernel_init, bias_init, dtype):
    gate_key, key = jax.random.split(key)
    return gated(gate_key, width, _plain(key, width, activation, kernel_init, bias_init, dtype), dtype=dtype)


BLOCKS: dict[str, Callable] = {
    "plain": _plain,
    "residual": _residual,
    "gated": _gated,
    "layer_norm": partial(_normalized, layer_norm),
    "rms_norm": partial(_normalized, rms_norm),
    "batch_norm": partial(_normalized, batch_norm),
    "pre_norm": partial(_pre_norm, layer_norm),
}
