"""Lyapunov exponents by running QR: how fast each direction grows a step, through depth or through time.

A frame of k orthonormal vectors is carried along: each step multiplies it by the layer's Jacobian and makes it
orthonormal again, J Q = Q' R. The mean of ln |R_ii| over the steps tends to the i-th exponent. At any finite depth it
is not ln σ_i / depth (that is `gradjax.spectra.jacobian_spectrum`): the two differ by some nats in all, and only the
limit is the same.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.arguments import whole
from gradjax.chain import Stack, admit, depth_of, fold, linearize
from gradjax.chain.forward import is_differentiable
from gradjax.chain.verdict import raise_at_first
from gradjax.numerics import HIGHEST, as_key, norm_dtype, real_size

BLOCKS = 16  # means of so many stretches of steps tell the error, for neighbouring steps are not independent


class Exponents(NamedTuple):
    """The exponents, per step, descending in the limit of many steps, and the standard error of each."""

    values: Array
    errors: Array


def log_growths(layers, x, count: int | None = None, *, key: Array | int = 0) -> Array:
    """The growth of each direction of a running orthonormal frame, step by step: ln |R_ii| of J_l Q_{l-1} = Q_l R.

    Their sum over the steps is ln of the volume growth, exactly; their mean over many steps is the Lyapunov spectrum.

    Args:
        layers: a sequence of callable pytrees activation -> activation (see `gradjax.chain.as_layers`), or
            `gradjax.chain.unroll(cell, inputs)` for growth through time.
        x: one activation (the first state); for a batch, `jax.vmap`.
        count: how many directions, from 1 to the narrowest activation; by default all of them.
        key: of the first frame, a key or a seed in [0, 2^32).

    Returns:
        (steps, count), natural logs, -inf where a direction dies. Differentiable where none does.

    Raises:
        ValueError: see `gradjax.chain.admit`; a NaN or infinite derivative (the layer is named); count out of range;
            an integer x (embed it first).

    Reference: Benettin, Galgani, Giorgilli, Strelcyn (1980), Meccanica 15; of networks: Engelken, Wolf, Abbott
    (2023, arXiv:2006.02427).

    >>> import jax.numpy as jnp
    >>> growths = log_growths([lambda h: 3 * h, lambda h: h / 3], jnp.ones(2))
    >>> print((growths / jnp.log(3.0)).round(4))
    [[ 1.  1.]
     [-1. -1.]]
    """
    entries, x = admit(layers, x)
    if not is_differentiable(x):
        raise ValueError("x holds integers, which have no derivative; pass the first real activation instead")
    size, narrowest = _sizes(entries, x)
    count = narrowest if count is None else count
    if not whole("count", count) <= narrowest:
        raise ValueError(f"count is {count!r}, expected 1 <= count <= {narrowest}, the narrowest activation")
    growths = _log_growths(entries, x, jax.random.normal(as_key(key), (size, int(count)), norm_dtype(x)))
    # not where the activation overflows: of a linear chain the growth is known nevertheless
    broken = jnp.any(jnp.isnan(growths), axis=1)
    flags = jnp.split(broken, np.cumsum([depth_of(entry) for entry in entries])[:-1])
    raise_at_first(entries, flags, "gives a NaN or infinite derivative")
    return growths


def lyapunov_exponents(layers, x, count: int | None = None, *, transient: int = 0, key: Array | int = 0) -> Exponents:
    """The leading Lyapunov exponents: mean growth per step of each direction of a running frame, natural logs.

    λ_i ≈ mean of ln |R_ii| over the steps behind the transient; its error from the means of 16 stretches.

    Args:
        layers, x, count, key: as `log_growths`.
        transient: steps left out at the beginning, while the frame turns to where it belongs.

    Raises:
        ValueError: as `log_growths`; fewer than 16 steps behind the transient.

    >>> import jax.numpy as jnp
    >>> from jax.tree_util import Partial
    >>> from gradjax.chain import Stack
    >>> halving = Stack(Partial(jnp.multiply, jnp.full((64, 2), 0.5)))
    >>> print((lyapunov_exponents([halving], jnp.ones(2)).values / jnp.log(2.0)).round(4))
    [-1. -1.]
    """
    transient = whole("transient", transient, 0)
    growths = log_growths(layers, x, count, key=key)
    steps = growths.shape[0] - transient
    if steps < BLOCKS:
        raise ValueError(
            f"transient={transient!r} leaves {steps} of {growths.shape[0]} steps; expected at least {BLOCKS} left"
        )
    behind = growths[transient:]
    stretches = behind[steps % BLOCKS :].reshape(BLOCKS, -1, growths.shape[1]).mean(axis=1)
    return Exponents(behind.mean(axis=0), stretches.std(axis=0, ddof=1) / BLOCKS**0.5)


@jax.jit
def _log_growths(entries, x, frame: Array) -> Array:
    with jax.default_matmul_precision(HIGHEST):
        start = x, jnp.linalg.qr(frame)[0]
        _, growths = fold(entries, start, _step)
    parts = [g if isinstance(entry, Stack) else g[None] for entry, g in zip(entries, growths, strict=True)]
    return jnp.concatenate(parts)


def _step(carry, layer, _):
    h, frame = carry
    frame, factor = jnp.linalg.qr(jax.vmap(linearize(layer, h).jvp, 1, 1)(frame))
    return (layer(h), frame), jnp.log(jnp.abs(jnp.diagonal(factor)))


def _sizes(entries, x) -> tuple[int, int]:
    """How many real numbers the first activation holds, and how many the smallest of all does."""
    sizes, h = [real_size(x)], x
    for entry in entries:
        h = jax.eval_shape(entry, h)
        sizes.append(real_size(h))
    return sizes[0], min(sizes)
