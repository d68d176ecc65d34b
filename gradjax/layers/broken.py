"""A token that is not finite, in a sequence: what it reaches is NaN, what it does not reach stays as it was.

Inside a trace nothing can raise, and plain arithmetic carries a NaN further than the mathematics does: a weight of 0
times a NaN is a NaN, forward (a causal weight) and in reverse (a cotangent of 0, a row of a parameter's gradient).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def in_causal_order(layer: Callable[[Array], Array], h: Array) -> Array:
    """layer(h) of a sequence (tokens, width) whose tokens reach themselves and those behind them."""
    return _of_the_finite(layer, h, lambda one: jnp.cumsum(one, axis=0))


def token_by_token(layer: Callable[[Array], Array], h: Array) -> Array:
    """layer(h) of a sequence (tokens, width) whose tokens reach themselves alone."""
    return _of_the_finite(layer, h, lambda one: one)


def _of_the_finite(layer: Callable, h: Array, reach: Callable[[Array], Array]) -> Array:
    """layer(h), computed with 0 for every token that is not finite, and with NaN where `reach` lets such a one come.

    Selecting NaN would make finite what depends on the broken token, a derivative; a NaN as a factor would mark, in
    reverse, what has the cotangent 0. So the value is marked by a summand, which has no derivative, and every
    derivative by `_marked`. A loss that itself makes a NaN of the cotangent (0 times the slope of what is NaN) still
    marks all that came before: it has to select its tokens before it computes with them.
    """
    finite = jnp.isfinite(h).all(-1, keepdims=True)
    y = layer(jnp.where(finite, h, 0))
    reached = reach(jnp.where(finite, 0, 1)) > 0
    broken = reach(_marked(~finite, jnp.where(finite, 0, h)).sum(-1, keepdims=True).astype(y.dtype))
    return _marked(reached, y + broken) + jnp.where(reached, jnp.nan, 0).astype(y.dtype)


def _marked(broken: Array, y: Array) -> Array:
    """y itself where nothing is broken; elsewhere NaN for all but 0, and so for tangents and for cotangents.

    As the solution of I x = y, for which JAX lets the way to it be written, and the way back: no product does this.
    """
    kept = ~jnp.broadcast_to(broken, y.shape)

    def solve(_, right: Array) -> Array:
        return jnp.where(kept | (right == 0), right, jnp.nan)

    return jax.lax.custom_linear_solve(lambda x: x, y, solve, symmetric=True)
