"""ln of the norm of every row of many leaves, in one pass over them where nothing over- or underflows.

A norm that is always right scales by the largest entry first, which costs a second pass; here that is done for those
leaves alone that need it. What a step of training records is bounded by how often it reads the parameters.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from gradjax.numerics import log_norm, norm_dtype


def row_log_norms(leaves) -> tuple[Array, ...]:
    """ln of the Euclidean norm of leaf[i], for every leaf and i: ½ ln Σ |leaf[i]|², right wherever a square is not.

    Args:
        leaves: inexact arrays, each (rows, …).

    Returns:
        For each leaf (rows,), at least float32: −inf for exact zeros, inf with an infinity, NaN with a NaN.

    >>> print(row_log_norms([jnp.array([[3.0, 4.0], [3e30, 4e30]])])[0] - jnp.log(jnp.array([5.0, 5e30])))
    [0. 0.]
    """
    return _norms(tuple(leaves))


def joined(log_norms: Array) -> Array:
    """ln of the norm of parts together, from those of the parts: ½ ln Σ e^(2·log), over the last axis.

    >>> print(joined(jnp.log(jnp.array([3.0, 4.0]))).round(4) == jnp.log(5.0).round(4))
    True
    """
    peak = jax.lax.stop_gradient(jnp.max(log_norms, axis=-1))
    shift = jnp.where(jnp.isfinite(peak), peak, 0)  # −inf − (−inf) would be NaN
    total = jnp.sum(jnp.exp(2 * (log_norms - shift[..., None])), axis=-1)
    return jnp.where(total > 0, shift + jnp.log(jnp.where(total > 0, total, 1)) / 2, peak)


@jax.custom_jvp
def _norms(leaves: tuple) -> tuple[Array, ...]:
    return _batchable(leaves)


@_norms.defjvp
def _norms_jvp(primals, tangents):
    (leaves,), (moves,), logs = primals, tangents, _norms(*primals)

    def along(leaf, move, log):  # ⟨leaf, move⟩/norm², 0 at zero; dividing twice keeps the quotients ordinary
        ordinary = jnp.isfinite(log)
        size = jnp.exp(jnp.where(ordinary, log, 0)).reshape(-1, *[1] * (leaf.ndim - 1))
        product = (jnp.conj(leaf) / size) * (move / size)
        return jnp.where(ordinary, jnp.sum(jnp.real(product).reshape(len(leaf), -1), axis=1), 0).astype(log.dtype)

    return logs, tuple(along(*trio) for trio in zip(leaves, moves, logs, strict=True))


@custom_vmap
def _batchable(leaves: tuple) -> tuple[Array, ...]:
    squares = [_squares(leaf) for leaf in leaves]
    plain = [jnp.all(_ordinary(square)) for square in squares]

    def carefully():
        pairs = zip(leaves, squares, plain, strict=True)
        return tuple(
            jax.lax.cond(good, _half_log, lambda s, x=leaf: _careful(x, s), square) for leaf, square, good in pairs
        )

    # one branch where all is well: a branch for each leaf costs a program for each
    return jax.lax.cond(jnp.all(jnp.array(plain)), lambda: tuple(map(_half_log, squares)), carefully)


@_batchable.def_vmap
def _members_as_rows(size, batched, leaves):
    """Under vmap a branch would become a selection, and both ways be gone for every member: its axis joins the rows."""
    whole = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(leaves, batched[0], strict=True)]
    rows = _batchable(tuple(leaf.reshape(size * leaf.shape[1], *leaf.shape[2:]) for leaf in whole))
    return tuple(row.reshape(size, -1) for row in rows), (True,) * len(rows)


def _squares(leaf) -> Array:
    """Σ |leaf[i]|², axis by axis from the first, for the last one then adds whole vectors."""
    parts = (jnp.real(leaf), jnp.imag(leaf)) if jnp.iscomplexobj(leaf) else (leaf,)
    wide = [part.astype(norm_dtype(leaf)) for part in parts]
    squares = sum((part * part for part in wide[1:]), start=wide[0] * wide[0])
    while squares.ndim > 1:
        squares = jnp.sum(squares, axis=1)
    return squares


def _ordinary(squares) -> Array:
    info = jnp.finfo(squares.dtype)
    return (squares > float(info.tiny) ** 0.5) & (squares < float(info.max))


def _half_log(squares) -> Array:
    return jnp.log(squares) / 2


def _careful(leaf, squares) -> Array:
    """Of the rows that need it alone: another's would move by a last bit with what stands in this one, a NaN say."""
    return jnp.where(_ordinary(squares), _half_log(squares), jax.vmap(log_norm)(leaf.reshape(len(leaf), -1)))
