"""The fully connected layer: h ↦ φ(h W + b)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax import activations, initializers
from gradjax.arguments import floating
from gradjax.numerics import as_key
from gradjax.room import axis


@dataclass(frozen=True)
class Dense:
    """The pure function (parameters, h) ↦ φ(h W + b); equal to every other with the same φ, so jit compiles once."""

    activation: Callable[[Array], Array]

    def __call__(self, parameters: dict[str, Array], h: Array) -> Array:
        z = h @ parameters["kernel"]
        return self.activation(z + jnp.broadcast_to(parameters["bias"], z.shape))  # positions or tokens may lead


def dense(
    key: Array,
    inputs: int,
    outputs: int,
    activation: str | Callable = "linear",
    kernel_init: str | Callable = "lecun_normal",
    bias_init: str | Callable = "zeros",
    dtype=jnp.float32,
) -> Partial:
    """A fully connected layer, the callable pytree h ↦ φ(h W + b).

    Args:
        key: a random key, or a seed in [0, 2³²).
        inputs, outputs: widths, at least 1; the kernel W is (inputs, outputs).
        activation: φ, elementwise, by name (`gradjax.activations.ACTIVATIONS`) or callable.
        kernel_init, bias_init: by name (`gradjax.initializers.INITIALIZERS`) or `(key, shape, dtype) -> Array`.
        dtype: of the parameters.

    >>> layer = dense(jax.random.key(0), 2, 2, "relu", "identity")
    >>> print(layer(jnp.array([3.0, -1.0])))
    [3. 0.]
    """
    inputs, outputs, dtype = axis("inputs", inputs), axis("outputs", outputs), floating(dtype)
    kernel_init, bias_init = initializers.resolve(kernel_init), initializers.resolve(bias_init)
    kernel_key, bias_key = jax.random.split(as_key(key))
    parameters = {
        "kernel": kernel_init(kernel_key, (inputs, outputs), dtype),
        "bias": bias_init(bias_key, (outputs,), dtype),
    }
    return Partial(Dense(activations.resolve(activation)), parameters)
