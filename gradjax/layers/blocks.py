"""Blocks: the hidden layers of a deep network of one width, in the forms that are compared.

Every form stands on the same layer φ(h W + b), fully connected or a convolution, so that each is one change to the
plain network.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, tables
from gradjax.arguments import as_function, floating, whole
from gradjax.layers.branches import Plan, fixup, ordered, rezero, scaled, skip_init
from gradjax.layers.composition import compose
from gradjax.layers.dense import dense
from gradjax.layers.gated import gated
from gradjax.layers.normalization import batch_norm, layer_norm, rms_norm
from gradjax.layers.residual import residual
from gradjax.layers.weight_norm import weight_norm
from gradjax.numerics import as_key
from gradjax.room import axis


def block(
    key: Array,
    width: int,
    kind: str | Callable = "plain",
    activation: str | Callable = "tanh",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
    *,
    depth: int = 1,
    layer: Callable = dense,
) -> Callable:
    """One hidden layer of constant width, a callable pytree that keeps the activation's shape, as `kind` names it.

    Args:
        key: a random key, or a seed in [0, 2³²).
        width: units that enter and leave.
        kind: a name of `BLOCKS`, or a callable of the arguments that follow, in their order: `(key, width,
            activation, kernel_init, bias_init, dtype) -> layer`.
        activation: φ, by name (`gradjax.activations.ACTIVATIONS`) or callable.
        kernel_init, bias_init: by name (`gradjax.initializers.INITIALIZERS`) or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.
        depth: blocks that the network will have: 'sqrt_depth', 'over_depth' and 'fixup' divide by it.
        layer: draws what the block is made of, with the arguments of `dense`: `functools.partial(convolution, taps=3)`
            makes blocks of convolutions.

    Raises:
        ValueError: an unknown name; the known ones are listed. A depth below 1.

    >>> layer = block(jax.random.key(0), 2, "residual", "linear", "identity")
    >>> print(layer(jnp.array([1.0, 2.0])))
    [2. 4.]
    """
    make = tables.resolve(BLOCKS, kind, "block")
    width, depth, dtype, key = axis("width", width), whole("depth", depth), floating(dtype), as_key(key)
    layer = as_function("layer", layer, "like `dense`")
    like = (activations.resolve(activation), kernel_init, bias_init, dtype)
    return make(key, Plan(width, *like, depth, layer)) if isinstance(kind, str) else make(key, width, *like)


def _plain(key, plan):
    return plan.draw(key)


def _normalized(norm, key, plan):
    """The normalization stands before φ, where it sets the size of what φ is given."""
    return compose([plan.draw(key, "linear"), norm(plan.width, dtype=plan.dtype), Partial(plan.activation)])


def _pre_norm(norm, key, plan):
    """The normalization stands in the branch, first: the way past it multiplies by nothing."""
    return residual([norm(plan.width, dtype=plan.dtype), plan.draw(key)])


def _gated(key, plan):
    gate_key, key = jax.random.split(key)
    return gated(gate_key, plan.width, plan.draw(key), dtype=plan.dtype)


def _weight_norm(key, plan):
    return weight_norm(plan.draw(key))


BLOCKS: dict[str, Callable] = {  # name: (key, Plan) -> layer
    "plain": _plain,
    "residual": partial(scaled, 0.0),
    "sqrt_depth": partial(scaled, 0.5),
    "over_depth": partial(scaled, 1.0),
    "pre_activation": partial(ordered, True),
    "post_activation": partial(ordered, False),
    "fixup": fixup,
    "skip_init": skip_init,
    "rezero": rezero,
    "gated": _gated,
    "layer_norm": partial(_normalized, layer_norm),
    "rms_norm": partial(_normalized, rms_norm),
    "batch_norm": partial(_normalized, batch_norm),
    "weight_norm": _weight_norm,
    "pre_norm": partial(_pre_norm, layer_norm),
    "pre_batch_norm": partial(_pre_norm, batch_norm),
}
