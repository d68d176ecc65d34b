"""Log singular values of a long matrix product, every one of them, each with a bound on its error."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.products.chain import graded_products
from gradjax.products.covariant import complete
from gradjax.products.derivative import NEAR, spectrum_change, vectors
from gradjax.products.factors import Checked, Runs, check_depths, check_factors, check_tolerance
from gradjax.products.jacobi import log_values
from gradjax.products.pattern import generic_ranks
from gradjax.products.plan import Segment, make_segments, provable_ranks

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
    checked = check_factors(factors)
    return _prefixes(checked, (checked.depth,), check_tolerance(tolerance), probes=0)[0][..., 0, :]


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


def _prefixes(checked: Checked, depths: tuple[int, ...], tolerance: float, probes: int = PROBES):
    """Both arrays for the depths in the caller's order, as NumPy where NumPy came."""
    ascending = tuple(sorted(set(depths)))
    rows = np.array([ascending.index(d) for d in depths])
    counts = tuple(checked.count(d) for d in ascending)
    run = functools.partial(_measure, depths=ascending, counts=counts, tolerance=tolerance, probes=probes)
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


@functools.partial(jax.jit, static_argnames=("depths", "counts", "tolerance", "probes"))
def _measure(runs: Runs, ranks, *, depths, counts, tolerance, probes) -> tuple[Array, Array]:
    """Values and bounds of every member of a batch, (..., len(depths), k)."""
    ranks = None if ranks is None else jnp.asarray(ranks, jnp.int32)
    one = _differentiable(depths, counts, tolerance, probes)
    for _ in runs.arrays[0].shape[:-3]:
        one = jax.vmap(one, in_axes=(0, None if ranks is None else 0))
    return one(runs, ranks)


def _differentiable(depths, counts, tolerance, probes):
    """One member's values and bounds as a function of its factors whose derivative goes through no elimination."""

    @jax.custom_jvp
    def measure(runs: Runs, ranks):
        return _member(runs, ranks, depths=depths, counts=counts, tolerance=tolerance, probes=probes)

    @measure.defjvp
    def measure_jvp(primals, tangents):
        (runs, ranks), (moves, _) = primals, tangents
        values, errors = measure(runs, ranks)
        safe, _ = _finite_or_identity(runs)
        ranks = provable_ranks(make_segments(safe, depths)) if ranks is None else ranks
        near = max(NEAR * tolerance, 1e3 * float(jnp.finfo(values.dtype).eps))
        allowance = _allowance(tolerance, ranks.shape[0])
        changes = spectrum_change(safe, ranks, moves, values, depths=depths, allowance=allowance, near=near)
        return (values, errors), (changes, jnp.zeros_like(errors))

    return measure


def _finite_or_identity(runs: Runs) -> tuple[Runs, Array]:
    """The factors, or identities in place of them all where one is not finite; and whether all are."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(run)) for run in runs.arrays]))
    safe = jax.tree.map(lambda run: jnp.where(finite, run, jnp.eye(*run.shape[1:], dtype=run.dtype)), runs)
    return safe, finite


def _member(runs: Runs, ranks, *, depths, counts, tolerance, probes) -> tuple[Array, Array]:
    safe, finite = _finite_or_identity(runs)
    segments = make_segments(safe, depths)
    ranks = provable_ranks(segments) if ranks is None else ranks
    if probes:  # one program for all runs: compiling it twice costs more than running it
        runs_of = jax.vmap(lambda seed: _values(jittered(segments, seed), ranks, tolerance))(jnp.arange(1 + probes))
    else:
        runs_of = [values[None] for values in _values(segments, ranks, tolerance)]
    rows = [_row(m[0], m[1:], ranks[d - 1], c, max(counts)) for m, d, c in zip(runs_of, depths, counts, strict=True)]
    values, errors = (jnp.stack(a) for a in zip(*rows, strict=True))
    return jnp.where(finite, values, jnp.nan), jnp.where(finite, errors, jnp.nan)


def _allowance(tolerance: float, depth: int) -> float:
    """What one layer may lose: the losses of independent roundings add up like a random walk."""
    return tolerance / math.sqrt(depth)


def _values(segments: list[Segment], ranks: Array, tolerance: float) -> list[Array]:
    """ln sigma after each wanted depth."""
    groups = graded_products(segments, ranks, _allowance(tolerance, ranks.shape[0]))
    return [row for group in groups for row in jax.lax.map(log_values, group)]


def jittered(segments: list[Segment], seed: Array) -> list[Segment]:
    """The segments with each entry moved by one rounding unit, up or down at random; seed 0 moves none."""

    def move(segment: Segment) -> Segment:
        stack = segment.stack
        moved = stack * (1 + _signs(stack.shape, seed, stack.dtype) * float(jnp.finfo(stack.dtype).eps))
        return segment._replace(stack=jnp.where(seed == 0, stack, moved))

    return [move(segment) for segment in segments]


def _signs(shape: tuple[int, ...], seed: Array, dtype) -> Array:
    """Signs in no pattern that the factors could share: three rounds of a multiplicative hash of the position."""
    size = math.prod(shape)
    bits = jnp.arange(size, dtype=jnp.uint32) + seed.astype(jnp.uint32) * jnp.uint32(0x9E3779B9)
    for _ in range(3):
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    return (1 - 2 * (bits >> 31).astype(jnp.int32)).astype(dtype).reshape(shape)


def singular_vectors(factors, *, tolerance: float = 1e-9):
    """ln sigma, U and V^T of the whole product: orthonormal columns, orthonormal rows, each with its log scale.

    Args:
        factors, tolerance: as in `log_singular_values`.

    Returns (k,), (n_L, k), (k, n_0), with any batch axes before them. Where values coincide the vectors are one choice of
    many; those of a value that is zero complete the others.

    >>> import numpy as np
    >>> logs, left, right = singular_vectors(np.array([[[0.0, 2.0], [3.0, 0.0]]] * 2))
    >>> logs.round(6).tolist(), np.abs(left @ np.diag(np.exp(logs)) @ right).round(6).tolist()
    ([1.791759, 1.791759], [[6.0, 0.0], [0.0, 6.0]])
    """
    checked = check_factors(factors)
    tolerance = check_tolerance(tolerance)
    if not checked.numpy:
        return _vectors(checked.runs, _ranks(checked), widths=checked.widths, tolerance=tolerance)
    with jax.enable_x64(checked.runs.arrays[0].dtype == np.float64):
        found = _vectors(checked.runs, _ranks(checked), widths=checked.widths, tolerance=tolerance)
        return tuple(np.asarray(part) for part in found)


@functools.partial(jax.jit, static_argnames=("widths", "tolerance"))
def _vectors(runs: Runs, ranks, *, widths, tolerance) -> tuple[Array, Array, Array]:
    def one(runs: Runs, ranks):
        safe, finite = _finite_or_identity(runs)
        segments = make_segments(safe, (len(widths) - 1,))
        ranks = provable_ranks(segments) if ranks is None else ranks
        logs, left, right = vectors(segments, ranks, _allowance(tolerance, ranks.shape[0]))
        count = min(widths[0], widths[-1])
        logs = jnp.pad(logs, (0, max(count - logs.shape[0], 0)), constant_values=-jnp.inf)[:count]
        left, right = (_true_columns(v, logs, width) for v, width in ((left, widths[-1]), (right, widths[0])))
        return tuple(jnp.where(finite, part, jnp.nan) for part in (logs, left, right.T))

    ranks = None if ranks is None else jnp.asarray(ranks, jnp.int32)
    for _ in runs.arrays[0].shape[:-3]:
        one = jax.vmap(one, in_axes=(0, None if ranks is None else 0))
    return one(runs, ranks)


def _true_columns(columns: Array, logs: Array, width: int) -> Array:
    """The vectors of nonzero values without the padding, completed to an orthonormal set of as many as there are values."""
    padded = jnp.pad(columns, ((0, 0), (0, max(logs.shape[0] - columns.shape[1], 0))))[:width, : logs.shape[0]]
    return complete(jnp.where(jnp.isfinite(logs)[None, :], padded, 0.0))


def _row(values: Array, probes: Array, rank: Array, count: int, length: int) -> tuple[Array, Array]:
    """One row of the answer from the reported run and its probes: proven zeros, bounds, and NaN after the last."""
    index = jnp.arange(values.shape[0])
    eps = float(jnp.finfo(values.dtype).eps)
    vanished = jnp.isneginf(values) | jnp.any(jnp.isneginf(probes), axis=0)
    moved = jnp.where(vanished, jnp.inf, jnp.sqrt(jnp.mean((jnp.where(vanished, 0.0, probes - values)) ** 2, axis=0)))
    bound = SAFETY * _neighbourhood(moved, (index < rank) & (SAFETY * moved < LOST)) + eps * (4 + 2 * jnp.abs(values))
    last = jnp.min(jnp.where(jnp.isneginf(values), jnp.inf, values))
    values = jnp.where(jnp.isneginf(values), last + math.log(eps), values)
    proven = index >= rank
    errors = jnp.where(proven, 0.0, jnp.where(bound > LOST, jnp.inf, bound))
    values = jnp.where(proven, -jnp.inf, values)
    return _cut(values, count, length, -jnp.inf), _cut(errors, count, length, 0.0)


def _neighbourhood(moved: Array, usable: Array) -> Array:
    """The largest of each three neighbours: two of a few probes may agree by luck, all of them hardly."""
    inside = jnp.where(usable, moved, 0.0)
    padded = jnp.pad(inside, 1)
    return jnp.maximum(moved, jnp.maximum(padded[:-2], padded[2:]))


def _cut(row: Array, count: int, length: int, beyond: float) -> Array:
    """The row with `beyond` for values that no narrower layer let through, and NaN after its last value."""
    full = jnp.pad(row, (0, max(length - row.shape[0], 0)), constant_values=beyond)[:length]
    return jnp.where(jnp.arange(length) < count, full, jnp.nan)
