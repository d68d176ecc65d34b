"""Simultaneous iteration on PᵀP, P a product of linear maps that follow the layers one way or the other.

A block of k + 8 vectors goes through all maps and back through their transposes, made orthonormal after each of them,
so that nothing over- or underflows at any depth; the triangular factors that this leaves are a product of small
matrices with the same leading singular values, which `gradjax.products` takes. A pass shrinks the error in ln σ_i by
(σ_{k+9} / σ_i)⁴: one or two passes where the network is deep, many where its spectrum is flat.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.arguments import real, whole
from gradjax.chain import Stack, admit, depth_of, fold
from gradjax.chain.forward import describe, forward, is_differentiable
from gradjax.chain.verdict import raise_at_first, raise_where_forward_breaks
from gradjax.numerics import HIGHEST, as_key, is_concrete, norm_dtype, real_size
from gradjax.products import Runs, log_singular_values
from gradjax.products.factors import LOOSEST

OVERSAMPLE = 8
PASSES_IN_A_TRACE = 16
MOST_PASSES = 1024


class Route(NamedTuple):
    """How a block of columns passes one layer: `(layer, activation, block, limit) -> (block, whether it failed)`."""

    there: Callable
    back: Callable  # the transposed map
    reverse: bool  # whether the product begins at the last layer
    name: str  # of the values
    failure: str  # what to say of a layer that could not be passed


def admitted(layers, x, k: int, tolerance: float, passes: int | None) -> tuple[list, Array, int, float, int | None]:
    """The layers behind the door, from the first real activation on, that activation, and the numbers as they are.

    Raises:
        ValueError: see `gradjax.chain.admit`; a NaN or infinite activation; a layer that works in 16 bits; k,
            tolerance or passes out of range.
    """
    k, tolerance = whole("k", k), real("tolerance", tolerance, "(0, inf)")
    passes = None if passes is None else whole("passes", passes, 1, MOST_PASSES)
    entries, x = admit(layers, x)
    if not is_differentiable(x):
        entries, x = entries[1:], entries[0](x)
    raise_where_forward_breaks(entries, x)
    _refuse_16_bits(entries, x)
    most = min(real_size(x), real_size(jax.eval_shape(lambda x: forward(entries, x), x)))
    if k > most:
        raise ValueError(f"k is {k}, expected 1 <= k <= {most}, the number of singular values")
    return entries, x, k, min(tolerance, LOOSEST), passes


def _refuse_16_bits(entries, h) -> None:
    index = 0
    for entry in entries:
        h = jax.eval_shape(entry, h)
        if any(leaf.dtype.itemsize < 4 for leaf in jax.tree.leaves(h)):
            raise ValueError(
                f"layers[{index}] returns {describe(h)}, expected float32 or float64: in 16 bits rounding hides which "
                "directions a network passes; cast x and the layers' weights with .astype"
            )
        index += depth_of(entry)


def leading_values(
    route: Route, entries, x, k: int, *, tolerance: float, limit: float, passes: int | None, key
) -> Array:
    """ln of the k largest singular values of the route's product, descending."""
    states = _states(entries, x)
    block = jax.random.normal(as_key(key), (real_size(x), min(k + OVERSAMPLE, real_size(x))), norm_dtype(x))
    if passes is not None or not is_concrete((entries, x, block)):
        passes = PASSES_IN_A_TRACE if passes is None else passes
        return _values(route, entries, _iterate(entries, states, block, passes, limit, route=route), k)
    return _until_they_agree(route, entries, states, block, k, tolerance, limit)


def _until_they_agree(route: Route, entries, states, block, k: int, tolerance: float, limit: float) -> Array:
    before, count = None, 1
    while count <= MOST_PASSES:
        found = _iterate(entries, states, block, count, limit, route=route)
        values, block = _values(route, entries, found, k), found[0]
        # where both are −inf they agree
        if before is not None and bool(jnp.all((values == before) | (jnp.abs(values - before) < tolerance))):
            return values
        before, count = values, 2 * count
    raise ValueError(
        f"the {route.name} {k} values do not agree to tolerance={tolerance} within {MOST_PASSES} passes: the spectrum "
        "is flat around them; raise tolerance or k, or form it with gradjax.spectra.jacobian_spectrum"
    )


def _values(route: Route, entries, found: tuple, k: int) -> Array:
    """The values that the small factors hold; NaN where a layer failed and nothing can be raised."""
    _, factors, failed = found
    raise_at_first(entries, failed, route.failure)
    runs = [r if isinstance(e, Stack) else r[None] for e, r in zip(entries, factors, strict=True)]
    if route.reverse:
        runs = [run[::-1] for run in reversed(runs)]
    values = log_singular_values(Runs(tuple(runs)))[:k]
    return jnp.where(jnp.any(jnp.concatenate([jnp.atleast_1d(f) for f in failed])), jnp.nan, values)


@jax.jit
def _states(entries, x) -> list:
    """The activation that enters each layer."""
    with jax.default_matmul_precision(HIGHEST):
        return fold(entries, x, lambda h, layer, _: (layer(h), h))[1]


@functools.partial(jax.jit, static_argnames="route")
def _iterate(entries, states, block, passes, limit, *, route: Route) -> tuple[Array, list, list]:
    """`passes` times there and back; the block that then goes there, what this leaves of each layer, which failed."""

    def pass_there(block):
        def step(block, layer, h):
            block, failed = route.there(layer, h, block, limit)
            block, factor = _orthonormal(block)
            return block, (factor, failed)

        last, kept = fold(entries, _orthonormal(block)[0], step, states, reverse=route.reverse)
        return last, [factor for factor, _ in kept], [failed for _, failed in kept]

    def once(_, carry):
        def step(block, layer, h):
            block, failed = route.back(layer, h, block, limit)
            return _orthonormal(block)[0], failed

        block, before = carry
        last, _, there = pass_there(block)
        first, back = fold(entries, last, step, states, reverse=not route.reverse)
        # each counts: what a layer cannot pass is gone from the block afterwards, which then passes
        return _padded(first, block.shape[1]), jax.tree.map(lambda a, b, c: a | b | c, before, there, back)

    with jax.default_matmul_precision(HIGHEST):
        none = [jnp.zeros(entry.depth if isinstance(entry, Stack) else (), bool) for entry in entries]
        block, before = jax.lax.fori_loop(0, passes, once, (block, none))
        _, factors, failed = pass_there(block)
    return block, factors, jax.tree.map(jnp.logical_or, before, failed)


def _orthonormal(block: Array) -> tuple[Array, Array]:
    """Q and R of the block; a row of R at the level of rounding is zero: that direction did not get through."""
    q, r = jnp.linalg.qr(block)
    rounding = 8 * block.shape[0] * float(jnp.finfo(block.dtype).eps)
    sizes = jnp.max(jnp.abs(r), axis=0, initial=0)[: r.shape[0]]
    lost = jnp.abs(jnp.diagonal(r)) <= rounding * sizes
    return q, jnp.where(lost[:, None], 0, r)


def _padded(block: Array, columns: int) -> Array:
    """Behind a bottleneck the block is narrower: zero columns, which the next pass makes orthonormal, fill it up."""
    return jnp.pad(block, ((0, 0), (0, columns - block.shape[1])))
