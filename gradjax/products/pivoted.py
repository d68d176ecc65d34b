"""The safe route: one layer at a time, eliminated with complete pivoting in wide numbers.

The product so far is kept as P = X · diag(d) · T with X and T well conditioned and every scale in d. A new layer is
first factored on its own, where its entries are still exact: J = A · diag(a) · B with |A|, |B| ≤ 1. Only then is it
combined: diag(a) (B X) diag(d) is a well-conditioned matrix between two scalings, and once it is eliminated in turn, A
takes its place at the left. Elimination commutes with the scaling of rows and of columns, so layers diag(phi') W and
W diag(c) keep what is small in them however many decades they span, where orthogonal reduction loses it to what is
large (Demmel, Gu, Eisenstat, Slapnicar, Veselic, Drmac 1999). A pivot is exactly zero when nothing is left, and only
then.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from gradjax.products import wide
from gradjax.products.wide import Wide

HIGHEST = lax.Precision.HIGHEST


class Graded(NamedTuple):
    """A product as left · diag(scale) · right."""

    left: Wide
    scale: Wide
    right: Array


def identity(width: int, dtype) -> Graded:
    """The empty product."""
    eye = jnp.eye(width, dtype=dtype)
    return Graded(wide.from_float(eye), wide.from_float(jnp.ones(width, dtype)), eye)


def eliminate(b: Wide, rank: Array | int) -> tuple[Wide, Wide, Wide]:
    """b = X · diag(d) · Y by Gaussian elimination with complete pivoting, stopped after `rank` pivots.

    Rows and columns stay where they are. Past the rank that the zero pattern allows only rounding is left, which might
    exceed a tiny value that is real.
    """
    rows, columns = b.mantissa.shape

    def step(rest: Wide, index: Array):
        flat = jnp.argmax(wide.size_key(rest))
        at_row, at_column = flat // columns, flat % columns
        row, column = rest[at_row], rest[:, at_column]
        pivot = wide.where(index < rank, row[at_column], wide.zeros_like(row[at_column]))
        x, y = wide.divide(column, pivot), wide.divide(row, pivot)
        rest = wide.subtract(rest, wide.multiply(x[:, None], row[None, :]))
        gone = (jnp.arange(rows) == at_row)[:, None] | (jnp.arange(columns) == at_column)[None, :]
        return wide.where(gone, wide.zeros_like(rest), rest), (x, pivot, y)

    _, (x, pivots, y) = lax.scan(step, b, jnp.arange(min(rows, columns), dtype=jnp.int32))
    return wide.transpose(x), pivots, y


def absorb(product: Graded, layer: Array, leads: Array, rank: Array) -> Graded:
    """layer · product, graded again, of rank `rank` at most; `leads` says which inputs of the layer lead anywhere."""
    product = _without_dead_ends(product, leads)
    left, scale, right = eliminate(wide.from_float(jnp.where(leads[None, :], layer, 0.0)), layer.shape[0])
    middle = wide.multiply(wide.matmul(right, product.left), scale[:, None])
    inner = regrade(Graded(middle, product.scale, product.right), rank)
    return regrade(inner._replace(left=wide.matmul(left, inner.left)), rank)


def regrade(product: Graded, rank: Array | int) -> Graded:
    """The same product, with a left factor of bounded entries and its scales apart."""
    left, scale, right = eliminate(wide.multiply(product.left, product.scale[None, :]), rank)
    return Graded(left, scale, jnp.matmul(wide.to_float(right), product.right, precision=HIGHEST))


def _without_dead_ends(product: Graded, leads: Array) -> Graded:
    """The product without the rows that lead nowhere: exact zeros are met where it would meet rounding."""
    left = wide.where(leads[:, None], product.left, wide.zeros_like(product.left))
    dropped = jnp.any((product.left.mantissa != 0) & ~leads[:, None])

    def drop(state):
        return False, regrade(product._replace(left=left), left.mantissa.shape[0])

    # a loop of one turn or none, which `vmap` runs only when some member needs it; a cond would always run
    return lax.while_loop(lambda state: state[0], drop, (dropped, product))[1]
