"""Gradient flossing: how far a chain stretches directions, as a loss that training can push towards zero.

The singular values of a deep product cannot be differentiated by forming it: it over- or underflows. QR layer by layer
keeps k directions apart and adds up the logarithms of their stretches, which are of ordinary size and smooth in every
parameter. They are not the singular values of the product: the two differ by some nats in all, whatever the depth.
"""

import jax.numpy as jnp
from jax import Array

from gradjax.lyapunov import log_growths


def flossing_penalty(layers, x, count: int | None = None, *, key: Array | int = 0) -> Array:
    """The mean square of the leading directions' growth per layer, a loss that is 0 where none grows or shrinks.

    (1/k) Σ_i λ_i², λ_i = (1/L) Σ_l ln |(R_l)_ii| with J_l Q_(l−1) = Q_l R_l.

    Args:
        layers: a sequence of callable pytrees activation -> activation, or `gradjax.chain.unroll(cell, inputs)`.
        x: one activation (the first state); for a batch, `jax.vmap`.
        count: k, how many directions; by default all of them. Few keep a path for the gradient open and leave the
            network free to forget along the others.
        key: of the first directions, a key or a seed in [0, 2³²).

    Returns:
        A scalar, at least 0; infinite where a direction dies, and then without a derivative.

    Raises:
        ValueError: see `gradjax.lyapunov.log_growths`.

    Reference: Engelken (2023, arXiv:2312.17306), who minimizes it before and during training.

    >>> print(flossing_penalty([lambda h: h * jnp.e, lambda h: h * jnp.e], jnp.ones(3), 2).round(4))
    1.0
    """
    return jnp.mean(jnp.mean(log_growths(layers, x, count, key=key), axis=0) ** 2)
