"""The largest singular values of a network's Jacobian by jvp and vjp alone, at any depth."""

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.chain import linearize
from gradjax.leading.iteration import Route, admitted, leading_values


def leading_log_singular_values(
    layers, x, k: int, *, tolerance: float = 1e-6, passes: int | None = None, key: Array | int = 0
) -> Array:
    """The k largest singular values of the input–output Jacobian at x, in log: ln σ_1 ≥ … ≥ ln σ_k.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`).
        x: one activation; for a batch, `jax.vmap`.
        k: how many, from 1 to the smaller of inputs and outputs.
        tolerance: in ln σ: passes are doubled until two results in a row differ by less. Outside a trace only.
        passes: a fixed number of passes instead, 1 to 1024; inside a trace 16 unless given.
        key: of the first block, a key or a seed in [0, 2³²).

    Returns:
        (k,), descending; −inf beyond the rank, to rounding. Memory: the activations, and (k + 8) · width.

    Raises:
        ValueError: see `gradjax.chain.admit`; k out of range; no agreement within 1024 passes (a spectrum so flat
            that its values at k and k + 9 are within 1 %: raise `tolerance`, k, or form the Jacobian).

    Source: Rutishauser (1970), simultaneous iteration; Halko, Martinsson, Tropp (2011, arXiv:0909.4061).

    >>> import jax.numpy as jnp
    >>> values = leading_log_singular_values([lambda h: h * jnp.array([1.0, 8.0, 2.0])], jnp.ones(3), 2)
    >>> print((values / jnp.log(2.0)).round(4))
    [3. 1.]
    """
    entries, x, k, tolerance, passes = admitted(layers, x, k, tolerance, passes)
    return leading_values(PRODUCTS, entries, x, k, tolerance=tolerance, limit=0.0, passes=passes, key=key)


def _forward(layer, h, block: Array, _) -> tuple[Array, Array]:
    return jax.vmap(linearize(layer, h).jvp, 1, 1)(block), jnp.array(False)


def _backward(layer, h, block: Array, _) -> tuple[Array, Array]:
    return jax.vmap(linearize(layer, h).vjp, 1, 1)(block), jnp.array(False)


PRODUCTS = Route(_forward, _backward, reverse=False, name="leading", failure="")
