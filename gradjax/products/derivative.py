"""Singular vectors of a long product, and the derivative of its log singular values with respect to every factor."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from gradjax.products.chain import Plan, graded_products
from gradjax.products.covariant import change, cluster_mean, complete, orthonormal_images, sensitivities
from gradjax.products.factors import Runs
from gradjax.products.jacobi import log_values_and_rows
from gradjax.products.plan import Segment, make_segments

NEAR = 10.0  # values this many tolerances apart count as one: their vectors are no better known


def vectors(segments: list[Segment], ranks: Array, plan: Plan) -> tuple[Array, Array, Array]:
    """ln sigma, left and right singular vectors (as columns) of the whole product of padded segments."""
    (product,), _ = graded_products(segments, ranks, plan)
    logs, rows = log_values_and_rows(jax.tree.map(lambda leaf: leaf[0], product))
    logs = jnp.where(jnp.arange(logs.shape[0], dtype=jnp.int32) < ranks[-1], logs, -jnp.inf)
    right = complete(rows.T)
    left, _ = orthonormal_images([segment.stack for segment in segments], right)
    return logs, left, right


def spectrum_change(runs: Runs, ranks: Array, tangents: Runs, values: Array, *, depths, plan, near) -> Array:
    """d ln sigma at each depth for a change of the factors, in the shape of `values`: (len(depths), k)."""
    rows = []
    for depth, row in zip(depths, values, strict=True):
        segments, moves = (make_segments(first_factors(part, depth), (depth,)) for part in (runs, tangents))
        logs, left, right = vectors(segments, ranks[:depth], plan)
        pairs = sensitivities([s.stack for s in segments], left, right, jnp.isfinite(logs))
        changes = cluster_mean(logs, change(pairs, [s.stack for s in moves]), near)
        changes = jnp.pad(changes, (0, max(row.shape[0] - changes.shape[0], 0)))[: row.shape[0]]
        rows.append(jnp.where(jnp.isnan(row), jnp.nan, jnp.where(jnp.isfinite(row), changes, 0.0)))
    return jnp.stack(rows)


def first_factors(runs: Runs, depth: int) -> Runs:
    """The runs cut after `depth` factors."""
    kept: list[Any] = []
    for run in runs.arrays:
        if depth > 0:
            kept.append(run if run.shape[-3] <= depth else run[..., :depth, :, :])
        depth -= run.shape[-3]
    return Runs(tuple(kept))
