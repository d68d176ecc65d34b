"""Log singular values of a long matrix product, every one of them, each with a bound on its error."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.products import jacobi, pivoted, wide
from gradjax.products.factors import Checked, Runs, check_depths, check_factors, check_tolerance
from gradjax.products.pattern import generic_ranks, reached_rows
from gradjax.products.plan import make_plan

PROBES = 3  # runs with every entry moved by one rounding unit, beside the run that is reported
SAFETY = 30.0  # the bound over the root mean square of what the probes moved
LOST = 1.0  # a value that rounding may move by more nats than this says nothing


def log_singular_values(factors, *, tolerance: float = 1e-9):
    """All log singular values of factors[-1] … factors[1] factors[0], in descending order: ln sigma.

    Args:
        factors: (..., depth, n, n), or a sequence of (n_l, n_{l-1}) matrices, the first applied first; or `Runs`.
            float32 or float64.
        tolerance: absolute error asked for in ln sigma (nats), positive.

    >>> import numpy as np
    >>> log_singular_values(np.array([[[2.0, 0.0], [0.0, 1e-200]]] * 2)).round(6).tolist()
    [1.386294, -921.034037]
    """
    return log_singular_values_with_error(factors, tolerance=tolerance)[0]


def log_singular_values_with_error(factors, *, tolerance: float = 1e-9):
    """All log singular values of the product, and a bound on the error of each: (ln sigma, |error|), nats.

    >>> import numpy as np
    >>> values, errors = log_singular_values_with_error([np.array([[3.0, 4.0], [0.0, 0.0]])])
    >>> values.round(6).tolist(), errors[1].item()
    ([1.609438, -inf], 0.0)
    """
    checked = check_factors(factors)
    values, errors = _prefixes(checked, (checked.depth,), check_tolerance(tolerance))
    return values[..., 0, :], errors[..., 0, :]


def prefix_log_singular_values(factors, depths, *, tolerance: float = 1e-9):
    """Log singular values after each of `depths` factors, and their bounds: two arrays (..., len(depths), k), nats.

    Args:
        factors: as in `log_singular_values`.
        depths: how many factors, counted from the first, to multiply for each row: numbers from 1 to the depth.
        tolerance: absolute error asked for in ln sigma (nats), positive.

    Rows of depths with fewer singular values than the longest end in NaN.

    >>> import numpy as np
    >>> prefix_log_singular_values([np.eye(2), 2 * np.eye(2)], [1, 2])[0].round(6).tolist()
    [[0.0, 0.0], [0.693147, 0.693147]]
    """
    checked = check_factors(factors)
    return _prefixes(checked, check_depths(depths, checked.depth), check_tolerance(tolerance))


def _prefixes(checked: Checked, depths: tuple[int, ...], tolerance: float):
    """Both arrays for the depths in the caller's order, as NumPy where NumPy came."""
    ascending = tuple(sorted(set(depths)))
    rows = np.array([ascending.index(d) for d in depths])
    counts = tuple(checked.count(d) for d in ascending)
    run = functools.partial(_measure, depths=ascending, counts=counts, tolerance=tolerance)
    if not checked.numpy:
        values, errors = run(checked.runs, _ranks(checked))
        return values[..., rows, :], errors[..., rows, :]
    with jax.enable_x64(checked.runs.arrays[0].dtype == np.float64):
        values, errors = (np.asarray(a) for a in run(checked.runs, _ranks(checked)))
    return values[..., rows, :], errors[..., rows, :]


def _ranks(checked: Checked):
    """The generic rank of every prefix from the concrete zero pattern, (..., depth); None inside a trace."""
    if checked.concrete is None:
        return None
    batch = checked.concrete[0].shape[:-3]
    nonzero = [(run != 0).reshape(-1, *run.shape[-3:]) for run in checked.concrete]
    ranks = [generic_ranks([run[i] for run in nonzero]) for i in range(math.prod(batch))]
    return np.array(ranks, np.int32).reshape(*batch, checked.depth)


@functools.partial(jax.jit, static_argnames=("depths", "counts", "tolerance"))
def _measure(runs: Runs, ranks, *, depths, counts, tolerance) -> tuple[Array, Array]:
    """Values and bounds of every member of a batch, (..., len(depths), k)."""
    batch = runs.arrays[0].shape[:-3]
    members = jax.tree.map(lambda run: run.reshape(-1, *run.shape[-3:]), runs)
    if ranks is None:
        ranks = jax.vmap(_provable_ranks)(members)
    ranks = jnp.asarray(ranks, jnp.int32).reshape(math.prod(batch), -1)
    values, errors = jax.vmap(functools.partial(_member, depths=depths, counts=counts))(members, ranks)
    return values.reshape(*batch, *values.shape[1:]), errors.reshape(*batch, *errors.shape[1:])


def _provable_ranks(runs: Runs) -> Array:
    """What a trace can prove of each prefix's rank: the narrowest layer so far, counting reached rows only."""
    reached = jnp.any(runs.arrays[0][0] != 0, axis=0)
    counts = [jnp.sum(reached, dtype=jnp.int32)[None]]
    for run in runs.arrays:
        rows = reached_rows(run, reached)
        counts.append(jnp.sum(rows, axis=1, dtype=jnp.int32))
        reached = rows[-1]
    return jax.lax.cummin(jnp.concatenate(counts))[1:]


def _member(runs: Runs, ranks: Array, *, depths, counts) -> tuple[Array, Array]:
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(run)) for run in runs.arrays]))
    safe = jax.tree.map(lambda run: jnp.where(finite, run, jnp.eye(*run.shape[1:], dtype=run.dtype)), runs)
    measured = jax.vmap(lambda jitter: _values(safe, depths, ranks, jitter))(jnp.arange(PROBES + 1))
    rows = [_row(m, ranks[d - 1], c, max(counts)) for m, d, c in zip(measured, depths, counts, strict=True)]
    values, errors = (jnp.stack(a) for a in zip(*rows, strict=True))
    return jnp.where(finite, values, jnp.nan), jnp.where(finite, errors, jnp.nan)


def _values(runs: Runs, depths, ranks: Array, jitter: Array) -> list[Array]:
    """ln sigma after each depth by the safe route."""
    plan = make_plan(runs, depths)

    def finish(product: pivoted.Graded) -> Array:
        scale, rows, order = jacobi.orthonormal_left(product.left, product.scale)
        right = jnp.matmul(rows, product.right[order], precision=jax.lax.Precision.HIGHEST)
        return wide.log(jacobi.singular_values(scale, right))

    groups = [jax.lax.map(finish, states) for states in pivoted.snapshots(runs, plan, ranks, jitter)]
    return [row for group in groups for row in group]


def _row(runs: Array, rank: Array, count: int, length: int) -> tuple[Array, Array]:
    """One row of the answer from the reported run and its probes: proven zeros, bounds, and NaN after the last."""
    values, probes = runs[0], runs[1:]
    index = jnp.arange(values.shape[0])
    eps = float(jnp.finfo(values.dtype).eps)
    vanished = jnp.isneginf(values) | jnp.any(jnp.isneginf(probes), axis=0)
    moved = jnp.where(vanished, jnp.inf, jnp.sqrt(jnp.mean((jnp.where(vanished, 0.0, probes - values)) ** 2, axis=0)))
    bound = SAFETY * _neighbourhood(moved, index < rank) + eps * (4 + 2 * jnp.abs(values))
    last = jnp.min(jnp.where(jnp.isneginf(values), jnp.inf, values))
    values = jnp.where(jnp.isneginf(values), last + math.log(eps), values)
    proven = index >= rank
    errors = jnp.where(proven, 0.0, jnp.where(bound > LOST, jnp.inf, bound))
    values = jnp.where(proven, -jnp.inf, values)
    return _cut(values, count, length, -jnp.inf), _cut(errors, count, length, 0.0)


def _neighbourhood(moved: Array, usable: Array) -> Array:
    """The largest of each three neighbours: two of a few probes may agree by luck, all of them hardly."""
    inside = jnp.where(usable & jnp.isfinite(moved), moved, 0.0)
    padded = jnp.pad(inside, 1)
    return jnp.maximum(moved, jnp.maximum(padded[:-2], padded[2:]))


def _cut(row: Array, count: int, length: int, beyond: float) -> Array:
    """The row with `beyond` for values that no narrower layer let through, and NaN after its last value."""
    full = jnp.pad(row, (0, max(length - row.shape[0], 0)), constant_values=beyond)[:length]
    return jnp.where(jnp.arange(length) < count, full, jnp.nan)
