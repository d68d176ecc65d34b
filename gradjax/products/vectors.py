"""Singular vectors of long products, on request: they cost a second pass, which the values alone do not need."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.products.covariant import complete
from gradjax.products.derivative import vectors
from gradjax.products.factors import Runs, check_factors, check_tolerance
from gradjax.products.plan import make_segments, provable_ranks
from gradjax.products.prepared import prepared
from gradjax.products.spectrum import finite_or_identity, make_plan


def singular_vectors(factors, *, tolerance: float = 1e-9):
    """ln sigma, U and V^T of the product: orthonormal columns, orthonormal rows, each pair with its log scale.

    Args:
        factors, tolerance: as in `log_singular_values`.

    Returns (k,), (n_L, k), (k, n_0), with any batch axes before them. Where values coincide the vectors are one choice
    of many; those of a value that is zero complete the others.

    >>> import numpy as np
    >>> logs, left, right = singular_vectors(np.array([[[0.0, 2.0], [3.0, 0.0]]] * 2))
    >>> logs.round(6).tolist(), np.abs(left @ np.diag(np.exp(logs)) @ right).round(6).tolist()
    ([1.791759, 1.791759], [[6.0, 0.0], [0.0, 6.0]])
    """
    checked = check_factors(factors)
    tolerance = check_tolerance(tolerance)
    chain, dtype = prepared(checked, (checked.depth,)), checked.runs.arrays[0].dtype
    with chain.precision():
        ends = (checked.widths[0], checked.widths[-1])
        found = _vectors(
            chain.runs, chain.ranks, ends=ends, depths=chain.depths, tolerance=tolerance, twice=chain.twice
        )
    if checked.numpy:
        return tuple(np.asarray(part, dtype) for part in found)
    return tuple(jnp.asarray(part, dtype) for part in found)


@functools.partial(jax.jit, static_argnames=("ends", "depths", "tolerance", "twice"))
def _vectors(runs: Runs, ranks, *, ends, depths, tolerance, twice) -> tuple:
    def one(runs: Runs, ranks) -> tuple:
        safe, finite = finite_or_identity(runs)
        segments = make_segments(safe, depths)
        ranks = provable_ranks(segments) if ranks is None else ranks
        plan = make_plan(tolerance, segments, ranks, twice)
        logs, left, right = vectors(segments, ranks, plan)
        count = min(ends)
        logs = jnp.pad(logs, (0, max(count - logs.shape[0], 0)), constant_values=-jnp.inf)[:count]
        left, right = (_true_columns(v, logs, width) for v, width in ((left, ends[1]), (right, ends[0])))
        return tuple(jnp.where(finite, part, jnp.nan) for part in (logs, left, right.T))

    ranks = None if ranks is None else jnp.asarray(ranks, jnp.int32)
    for _ in runs.arrays[0].shape[:-3]:
        one = jax.vmap(one, in_axes=(0, None if ranks is None else 0))
    return one(runs, ranks)


def _true_columns(columns: Array, logs: Array, width: int) -> Array:
    """The vectors of nonzero values without the padding, completed to an orthonormal set for all values."""
    padded = jnp.pad(columns, ((0, 0), (0, max(logs.shape[0] - columns.shape[1], 0))))[:width, : logs.shape[0]]
    return complete(jnp.where(jnp.isfinite(logs)[None, :], padded, 0.0))
