"""Log singular values of a long matrix product, every one of them, each with a bound on its error."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gradjax.products.chain import Plan, graded_products
from gradjax.products.derivative import NEAR, spectrum_change
from gradjax.products.factors import Checked, Runs, check_depths, check_factors, check_tolerance
from gradjax.products.jacobi import log_values
from gradjax.products.plan import Segment, make_segments, provable_ranks, zeros
from gradjax.products.prepared import prepared
from gradjax.products.probes import bounded, jittered, probes_for

MARGIN = 0.1  # of the tolerance: what a block may lose is estimated, and later layers may enlarge it
NARROW = 64  # below this rank the part is smaller: where few directions live on, later layers turn them into each other
LEAST = 0.5  # of NARROW, to the fourth power a sixteenth: chains of sparse layers need that much
USUAL = 800.0  # rounding units that a usual layer loses: the part for narrow chains is not taken below, at any depth
COARSEST = 1e4  # rounding units that the tolerance may not go below: no block length reaches that


def log_singular_values(factors, *, tolerance: float = 1e-9):
    """All log singular values of factors[-1] … factors[1] factors[0], in descending order: ln sigma.

    Each finite one is within `tolerance` of the exact product's, or within 100 times what rounding the entries to
    float64 moves it where that is more. Float32 factors are measured in float64, and the answer is rounded. Inside a
    trace there is no other precision to go to; in float32, with ε = 2^-23, depth L, width n and spread
    s = ln σ_max − ln σ_min: |error in ln σ| ≤ 5 moved + ε (|ln σ| + L) + 4 n ε (s + 10), where `moved` is how far
    rounding the entries moves any value. All this is measured, on hard cases (`tests/test_products_truth.py`,
    `tests/test_products_float32.py`), not proven; that rounding loses a value is told by
    `log_singular_values_with_error` alone.

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


def prefix_log_singular_values(factors, depths, *, tolerance: float = 1e-9) -> tuple[Any, Any]:
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


def _prefixes(
    checked: Checked, depths: tuple[int, ...], tolerance: float, probes: int | None = None
) -> tuple[Any, Any]:
    """Both arrays for the depths in the caller's order, as NumPy where NumPy came."""
    ascending, xp = tuple(sorted(set(depths))), np if checked.numpy else jnp
    values, errors = _measured(checked, ascending, tolerance, probes)
    counts = np.array([checked.count(d) for d in depths])
    rows = np.array([ascending.index(d) for d in depths])
    beyond = np.arange(counts.max()) >= counts[:, None]

    def cut(array, zero: float):
        array = array[..., rows, : counts.max()]
        missing = [(0, 0)] * (array.ndim - 1) + [(0, counts.max() - array.shape[-1])]
        array = xp.pad(array, missing, constant_values=zero)
        return xp.where(xp.broadcast_to(beyond, array.shape), xp.nan, array).astype(array.dtype)

    return cut(values, -np.inf), cut(errors, 0.0)


def _measured(checked: Checked, depths: tuple[int, ...], tolerance: float, probes: int | None) -> tuple[Any, Any]:
    """Both arrays for ascending depths, in the caller's precision."""
    chain, dtype = prepared(checked, depths), checked.runs.arrays[0].dtype
    tolerance = max(tolerance, COARSEST * float(np.finfo(chain.dtype).eps))
    with chain.precision():
        modes = {"twice": chain.twice, "watched": chain.watched and probes != 0, "depths": chain.depths}
        values, errors = _measure(chain.runs, chain.ranks, tolerance=tolerance, probes=probes, **modes)
    if chain.given_up is not None:
        errors = np.where(chain.given_up[..., None] & (np.asarray(errors) > 0), np.inf, errors)
    return _rounded(np.asarray(values), np.asarray(errors), dtype) if chain.host else (values, errors)


def _rounded(values: np.ndarray, errors: np.ndarray, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Both in another precision, the error of rounding added to the bound."""
    if values.dtype == dtype:
        return values, errors
    rounding = np.where(np.isfinite(values), np.abs(values), 0.0) * float(np.finfo(dtype).eps)
    return values.astype(dtype), (errors + rounding).astype(dtype)


@functools.partial(jax.jit, static_argnames=("depths", "tolerance", "probes", "twice", "watched"))
def _measure(runs: Runs, ranks, *, depths, tolerance, probes, twice, watched) -> tuple[Array, Array]:
    """Values and bounds of every member of a batch, (..., len(depths), k)."""
    ranks = None if ranks is None else jnp.asarray(ranks, jnp.int32)
    one = _differentiable(depths, tolerance, probes_for(runs) if probes is None else probes, twice, watched)
    for _ in runs.arrays[0].shape[:-3]:
        one = jax.vmap(one, in_axes=(0, None if ranks is None else 0))
    return one(runs, ranks)


def _differentiable(depths, tolerance, probes, twice, watched):
    """One member's values and bounds as a function of its factors whose derivative goes through no elimination."""

    @jax.custom_jvp
    def measure(runs: Runs, ranks):
        segments = make_segments(runs, depths)
        known = provable_ranks(segments) if ranks is None else ranks
        plan = make_plan(tolerance, segments, known, twice)._replace(watched=watched)
        return _member(segments, known, plan, depths=depths, probes=probes, settled=0.01 * tolerance)

    @measure.defjvp
    def measure_jvp(primals, tangents):
        (runs, ranks), (moves, _) = primals, tangents
        values, errors = measure(runs, ranks)
        safe, _ = finite_or_identity(runs)
        segments = make_segments(safe, depths)
        ranks = provable_ranks(segments) if ranks is None else ranks
        near = max(NEAR * tolerance, 1e3 * float(jnp.finfo(values.dtype).eps))
        plan = make_plan(tolerance, segments, ranks, twice)
        changes = spectrum_change(safe, ranks, moves, values, depths=depths, plan=plan, near=near)
        return (values, errors), (changes, jnp.zeros_like(errors))

    return measure


def finite_or_identity(runs: Runs) -> tuple[Runs, Array]:
    """The factors, or identities in place of them all where one is not finite; and whether all are."""
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(run)) for run in runs.arrays]))
    safe = jax.tree.map(lambda run: jnp.where(finite, run, jnp.eye(*run.shape[1:], dtype=run.dtype)), runs)
    return safe, finite


def _member(segments: list[Segment], ranks: Array, plan: Plan, *, depths, probes, settled) -> tuple[Array, Array]:
    finite = zeros(segments) >= 0
    values_of = functools.partial(_values, ranks=ranks, plan=plan, finite=finite)
    if probes:  # one program for all runs: compiling it twice costs more than running it
        seeds = jnp.arange(1 + probes)
        runs_of, blurred = jax.vmap(lambda seed: values_of(jittered(segments, seed), settled=0.0))(seeds)
    else:
        runs_of, blurred = jax.tree.map(lambda leaf: leaf[None], values_of(segments, settled=settled))
    first = jnp.min(blurred)
    width = max(measured.shape[1] for measured in runs_of)
    rows = [bounded(m[0], m[1:], ranks[d - 1], first < d, width, d) for m, d in zip(runs_of, depths, strict=True)]
    values, errors = (jnp.stack(a) for a in zip(*rows, strict=True))
    return jnp.where(finite, values, jnp.nan), jnp.where(finite, errors, jnp.nan)


def make_plan(tolerance: float, segments: list[Segment], ranks: Array, twice: bool) -> Plan:
    """What one layer may lose, where the losses of independent roundings add up like a random walk; and the digits."""
    stacks = [segment.stack for segment in segments]
    depth, unit = sum(stack.shape[-3] for stack in stacks), float(jnp.finfo(stacks[0].dtype).eps)
    wide_chain = MARGIN * max(tolerance, COARSEST * unit) / math.sqrt(depth)
    part = jnp.clip(ranks[-1].astype(stacks[0].dtype) / NARROW, LEAST, 1.0) ** 4
    return Plan(jnp.maximum(part * wide_chain, min(wide_chain, USUAL * unit)), twice)


def _values(
    segments: list[Segment], *, ranks: Array, plan: Plan, finite: Array, settled: float
) -> tuple[list[Array], Array]:
    """ln sigma after each wanted depth, and from which layer on they may be wrong unseen.

    Probes would not see what an early stop leaves out, so they allow none.
    """
    eps = float(jnp.finfo(segments[0].stack.dtype).eps)
    groups, blurred = graded_products(segments, ranks, plan, finite)
    settle = functools.partial(log_values, settled=max(settled, 4 * eps))
    return [row for group in groups for row in jax.lax.map(settle, group)], blurred
