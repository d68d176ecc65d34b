"""Weight normalization: the length of what a unit is given by is a parameter of its own, W = g V / |V| by column."""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import said


def weight_norm(layer: Partial) -> Partial:
    """A layer whose kernel is g V / |V| for each unit, the callable pytree h ↦ φ(h (g V / |V|) + b).

    At the start g = |V|, so it computes what the layer did. The gradient by V has no part along V: its length grows
    under gradient descent and the direction learns the more slowly for it. Where |V| = 0 the unit has no direction: it
    gives φ(b), and V has the gradient 0 rather than NaN.

    Args:
        layer: what `dense` or `convolution` made: a Partial of a function and parameters with a 'kernel' whose last
            axis counts the units.

    Raises:
        ValueError: a layer without such a kernel.

    Reference: Salimans and Kingma (2016), arXiv:1602.07868.

    >>> import jax
    >>> from gradjax.layers import dense
    >>> layer = weight_norm(dense(jax.random.key(0), 2, 1, kernel_init="ones"))
    >>> print(f"{layer.args[0]['gain'][0]:.4f} {layer(jnp.array([1.0, 2.0]))[0]:.4f}")
    1.4142 3.0000
    """
    parameters = layer.args[0] if isinstance(layer, Partial) and len(layer.args) == 1 else None
    if not isinstance(parameters, dict) or "kernel" not in parameters:
        raise ValueError(
            f"layer is {said(layer)}, expected what dense or convolution makes: parameters with a 'kernel'"
        )
    rest = {name: leaf for name, leaf in parameters.items() if name != "kernel"}
    direction = parameters["kernel"]
    return Partial(WeightNorm(layer.func), rest | {"direction": direction, "gain": _length(direction)[0]})


@dataclass(frozen=True)
class WeightNorm:
    """The layer's own function, given g V / |V| for its kernel."""

    function: Callable

    def __call__(self, parameters: dict[str, Array], h: Array) -> Array:
        direction = parameters["direction"]
        length, there = _length(direction)
        scale = jnp.where(there, parameters["gain"] / length, 0)
        kernel = direction * jnp.broadcast_to(scale, direction.shape)
        rest = {name: leaf for name, leaf in parameters.items() if name not in ("direction", "gain")}
        return self.function(rest | {"kernel": kernel}, h)


def _length(direction: Array) -> tuple[Array, Array]:
    """|V| of each unit, and whether it is not 0; 1 where it is, for √ has no derivative there."""
    squares = jnp.sum(direction * direction, axis=tuple(range(direction.ndim - 1)))
    there = squares > 0
    return jnp.sqrt(jnp.where(there, squares, 1)), there
