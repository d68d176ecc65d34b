"""Thresholds that follow the data: percentile, AutoClip and ZClip, as rules over the norms seen so far.

They work on ln ‖g‖ throughout, so that a run whose norms pass 1e38 still has a percentile, a mean and a deviation.
A zero or non-finite gradient tells nothing about the usual size and is not remembered.
"""

import math

import jax.numpy as jnp
import optax

from gradjax.arguments import real, whole
from gradjax.clipping.global_norm import Rule, clip_by_rule
from gradjax.numerics import is_concrete
from gradjax.room import axis


def clip_by_percentile(
    percentile: float = 90.0, *, window: int = 100, factor: float = 1.0, nonfinite: str = "nan"
) -> optax.GradientTransformation:
    """A clip at `factor` times a percentile of the norms of the last steps, the present one left out.

    τ_t = factor · P(‖g_{t−window}‖ … ‖g_{t−1}‖), interpolated in the logarithm; no clip at the first step.

    Args:
        percentile: in [0, 100].
        window: the number of past steps remembered, at least 1.
        factor: times the percentile, above 0; Pascanu et al. (2013) try 0.5 to 10 times the average.
        nonfinite: as in `clip_by_global_norm`.
    """
    _check_percentile(percentile)
    window = axis("window", window)
    factor = real("factor", factor, "(0, inf)")
    return clip_by_rule(_percentile_rule(percentile, window, math.log(factor), False), nonfinite=nonfinite)


def autoclip(percentile: float = 10.0, *, history: int = 1000, nonfinite: str = "nan") -> optax.GradientTransformation:
    """AutoClip: a clip at a percentile of all norms so far, the present one among them.

    τ_t = P(‖g_1‖ … ‖g_t‖). The published method remembers every step; this one the last `history`, for a state must
    have a fixed size.

    Args:
        percentile: in [0, 100]; 10 is the authors' choice.
        history: the number of steps remembered, at least 1.
        nonfinite: as in `clip_by_global_norm`.

    Reference: Seetharaman, Wichern, Pardo, Le Roux (2020, arXiv:2007.14469).
    """
    _check_percentile(percentile)
    history = axis("history", history)
    return clip_by_rule(_percentile_rule(percentile, history, 0.0, True), nonfinite=nonfinite)


def zclip(
    z_threshold: float = 2.5, *, decay: float = 0.97, warmup: int = 25, nonfinite: str = "nan"
) -> optax.GradientTransformation:
    """ZClip: a clip of those norms that lie more than `z_threshold` deviations above their moving mean.

    z = (‖g‖ − μ)/σ; where z > z_threshold, τ = μ + z_threshold² σ / z: the further out, the nearer to the mean.
    μ ← decay·μ + (1−decay)·min(‖g‖, τ), σ² ← decay·σ² + (1−decay)·(min(‖g‖, τ) − μ)²; over the first `warmup` steps
    they are the plain mean and variance and nothing is clipped.

    Args:
        z_threshold: above 0.
        decay: in [0, 1).
        warmup: at least 1.
        nonfinite: as in `clip_by_global_norm`.

    Reference: Kumar, Owen, Chowdhury, Güra (2025, arXiv:2504.02507), without their additional constant threshold.
    """
    warmup, decay = whole("warmup", warmup, 1, 2**31 - 1), real("decay", decay, "[0, 1)")
    if is_concrete(z_threshold):
        real("z_threshold", z_threshold, "(0, inf)")

    def init(dtype):
        return jnp.zeros((), jnp.int32), jnp.full((), -jnp.inf, dtype), jnp.full((), -jnp.inf, dtype)

    def step(state, log_size):
        count, log_mean, log_variance = state
        log_z = _log_difference(log_size, log_mean) - log_variance / 2
        log_z_threshold = jnp.log(jnp.asarray(z_threshold).astype(log_size.dtype))
        outlier = (count >= warmup) & (log_size > log_mean) & (log_z > log_z_threshold)
        limit = jnp.logaddexp(log_mean, 2 * log_z_threshold - log_z + log_variance / 2)
        moved = _moved_moments(state, jnp.where(outlier, limit, log_size), decay, warmup)
        usual = jnp.isfinite(log_size)
        return jnp.where(outlier & usual, limit, jnp.inf), tuple(
            jnp.where(usual, new, old) for new, old in zip(moved, state, strict=True)
        )

    return clip_by_rule(Rule(init, step), nonfinite=nonfinite)


def _moved_moments(state, log_size, decay, warmup):
    """Mean and variance with one norm more: plain over the warm-up (Welford), exponential behind it."""
    count, log_mean, log_variance = state
    warm = count < warmup
    weight = jnp.where(warm, 1 / (count + 1).astype(log_size.dtype), 1 - decay)
    new_mean = jnp.logaddexp(jnp.log1p(-weight) + log_mean, jnp.log(weight) + log_size)
    plain = jnp.log1p(-weight) + 2 * _log_difference(log_size, log_mean)
    exponential = 2 * _log_difference(log_size, new_mean)
    spread = jnp.log(weight) + jnp.where(warm, plain, exponential)
    return count + 1, new_mean, jnp.logaddexp(jnp.log1p(-weight) + log_variance, spread)


def _log_difference(log_a, log_b):
    """ln |a − b| from ln a and ln b; −inf where they are equal."""
    high, low = jnp.maximum(log_a, log_b), jnp.minimum(log_a, log_b)
    gap = jnp.where(high == low, 0, low - high)  # −inf − (−inf) is NaN
    return high + jnp.log(-jnp.expm1(gap))


def _percentile_rule(percentile, length: int, log_factor: float, including: bool) -> Rule:
    """A ring of the last norms' logarithms, NaN where none stands yet, and their percentile."""

    def init(dtype):
        return jnp.zeros((), jnp.int32), jnp.full((length,), jnp.nan, dtype)

    def step(state, log_size):
        count, ring = state
        usual = jnp.isfinite(log_size)
        extended = jnp.where(usual, ring.at[count % length].set(log_size), ring)
        log_threshold = (
            jnp.nanpercentile(extended if including else ring, jnp.asarray(percentile).astype(ring.dtype)) + log_factor
        )
        return jnp.where(jnp.isnan(log_threshold), jnp.inf, log_threshold), (
            jnp.where(usual, count + 1, count),
            extended,
        )

    return Rule(init, step)


def _check_percentile(percentile) -> None:
    if is_concrete(percentile):
        real("percentile", percentile, "[0, 100]")
