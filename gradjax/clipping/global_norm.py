"""The global norm in log space, and the clip that keeps its promise for every finite gradient.

‖g‖ is taken of g·2^−e, whose largest entry lies in [½, 1): its square cannot overflow, and the scaling is exact.
optax squares g itself, and returns zeros from 1.84e19 on in float32 and from 256 on in float16.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from gradjax.arguments import as_function, choice, real, said
from gradjax.numerics import LOG_2, exponent, is_concrete, is_inexact, log_norm, norm_dtype, scale_by_power_of_two

NONFINITE = ("nan", "zero")


class ClipState(NamedTuple):
    """What a clip has done so far; in a chain, `optax.tree.get(state, "log_norm")` finds each by its name.

    Args:
        log_norm: ln of the last gradient's norm before the clip; NaN before the first step.
        log_threshold: ln of the last threshold; +inf where there was none.
        steps, clipped, nonfinite: how many updates there were, were clipped, and held a NaN or an infinity.
        rule: the state of the rule that gives the threshold.
    """

    log_norm: Array
    log_threshold: Array
    steps: Array
    clipped: Array
    nonfinite: Array
    rule: Any

    @property
    def fraction_clipped(self) -> Array:
        """The part of the steps that were clipped, in [0, 1]; NaN before the first."""
        return self.clipped / self.steps


@dataclass(frozen=True)
class Rule:
    """Where a threshold comes from: a state, and a step from the gradient's size to its threshold.

    Args:
        init: `dtype -> state`.
        step: `(state, log_norm) -> (log_threshold, state)`; +inf for no clip. A NaN or infinite log_norm may arrive.
        value: the threshold itself where it is one number for all steps: a logarithm costs it its last digits.
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Array], tuple[Array, Any]]
    value: Any = None

    def __post_init__(self):
        as_function("init", self.init, "dtype -> state")
        as_function("step", self.step, "(state, log_norm) -> (log_threshold, state)")


def log_global_norm(tree) -> Array:
    """The natural log of the Euclidean norm over all leaves of a tree: ln ‖g‖.

    ln ‖g‖ = ln m + ½ ln Σ (g/m)², m = max |g|, accumulated in float32 or wider.

    Args:
        tree: any pytree; leaves that are no inexact arrays do not count.

    Returns:
        A scalar: −inf for an exact zero or an empty tree, +inf with an infinity, NaN with a NaN.

    >>> import jax.numpy as jnp
    >>> print(f"{jnp.exp(log_global_norm({'w': jnp.array([3.0]), 'b': jnp.array([4.0])})):.3f}")
    5.000
    """
    return log_norm(tree)


def clip_by_global_norm(max_norm: float | Array, *, nonfinite: str = "nan") -> optax.GradientTransformation:
    """A clip that returns every finite gradient with a global norm of at most `max_norm`.

    g ↦ g · min(1, max_norm / ‖g‖): below the threshold bit for bit g, above it g's direction, at any size and in any
    dtype. The bound holds up to the rounding of each leaf's own dtype.

    Args:
        max_norm: the largest norm let through, at least 0; may be traced.
        nonfinite: what becomes of a gradient that holds a NaN or an infinity, and so has no direction: 'nan' (the
            whole update is NaN: nothing is hidden, and a guard behind it sees it) or 'zero' (the step is skipped).
            It is counted in the state either way.

    Returns:
        An optax transformation whose state is a `ClipState`: the norm before the clip and what was done.

    Raises:
        ValueError: max_norm is negative or NaN, nonfinite is neither word.

    Reference: Pascanu, Mikolov, Bengio (2013, arXiv:1211.5063).

    >>> import jax.numpy as jnp
    >>> clip = clip_by_global_norm(1.0)
    >>> gradient = jnp.array([3.0, 4.0]) * 2.0**100  # the square of its norm overflows
    >>> print(clip.update(gradient, clip.init(gradient))[0])
    [0.6 0.8]
    """
    if is_concrete(max_norm):
        real("max_norm", max_norm, "[0, inf]")

    def step(state, log_size):
        return jnp.log(jnp.asarray(max_norm).astype(log_size.dtype)), state

    return clip_by_rule(Rule(lambda dtype: (), step, max_norm), nonfinite=nonfinite)


def clip_by_rule(rule: Rule, *, nonfinite: str = "nan") -> optax.GradientTransformation:
    """The clip by global norm at a threshold that a rule gives, step by step: g ↦ g · min(1, τ_t / ‖g‖).

    Args:
        rule: see `Rule`.
        nonfinite: as in `clip_by_global_norm`.
    """
    if not isinstance(rule, Rule):
        raise ValueError(f"rule is {said(rule)}, expected a gradjax.clipping.Rule")
    nonfinite = choice("nonfinite", nonfinite, NONFINITE)

    def init(params):
        dtype, count = norm_dtype(params), jnp.zeros((), jnp.int32)
        never = jnp.full((), jnp.nan, dtype)
        return ClipState(never, never, count, count, count, rule.init(dtype))

    def update(updates, state, params=None):
        del params
        log_size = log_norm(updates).astype(state.log_norm.dtype)
        log_threshold, rule_state = rule.step(state.rule, log_size)
        mantissa, power = _as_mantissa(log_threshold) if rule.value is None else (rule.value, 0)
        scaled, exceeds = _scaled_to(updates, mantissa, power)
        # equal logarithms are equal norms; the mantissa has been rounded once more, and would clip them
        clipped = exceeds if rule.value is not None else log_size > log_threshold
        finite = log_size < jnp.inf  # neither +inf nor NaN; −inf is a zero gradient
        chosen = jax.tree.map(lambda u, v: jnp.where(clipped, v, u) if is_inexact(u) else u, updates, scaled)
        instead = jnp.nan if nonfinite == "nan" else 0
        updates = _map(lambda u: jnp.where(finite, u, jnp.full_like(u, instead)), chosen)
        counts = (state.steps + 1, _count(state.clipped, clipped & finite), _count(state.nonfinite, ~finite))
        return updates, ClipState(log_size, log_threshold, *counts, rule_state)

    return optax.GradientTransformation(init, update)


def _scaled_to(updates, mantissa, power):
    """The updates scaled to a norm of mantissa · 2^power, and whether their own is larger."""
    dtype = norm_dtype(updates)
    mantissa = jnp.asarray(mantissa).astype(dtype)
    e = exponent(jax.lax.stop_gradient(updates))
    unit = _map(lambda u: scale_by_power_of_two(u.astype(_widened(u, dtype)), -e), updates)
    leaves = [u for u in jax.tree.leaves(unit) if is_inexact(u)]
    squares = sum((jnp.sum(jnp.real(u * jnp.conj(u))) for u in leaves), start=jnp.zeros((), dtype))
    s = jnp.sqrt(jnp.where(squares > 0, squares, 1))  # the root's derivative at zero is NaN
    # the threshold over- or underflows here only where it is so far from s that the comparison is right all the same
    exceeds = (squares > 0) & (s > jnp.ldexp(mantissa, power - e))
    factor = jnp.where(exceeds, mantissa, 1) / s
    scaled = _map(lambda u: scale_by_power_of_two(u * factor.astype(u.dtype), power), unit)
    return jax.tree.map(lambda u, v: v.astype(u.dtype) if is_inexact(u) else u, updates, scaled), exceeds


def _as_mantissa(log_threshold: Array) -> tuple[Array, Array]:
    """ln τ as t · 2^p with t in [1, 2): τ itself may be beyond the floats."""
    ordinary = jnp.isfinite(log_threshold)
    power = jnp.where(ordinary, jnp.floor(log_threshold / LOG_2), 0)
    mantissa = jnp.exp(log_threshold - power * LOG_2)
    return mantissa, power.astype(jnp.int32)


def _map(function: Callable, tree):
    """The function at every inexact leaf; integers and float0 gradients pass."""
    return jax.tree.map(lambda leaf: function(leaf) if is_inexact(leaf) else leaf, tree)


def _widened(leaf: Array, dtype):
    """The real dtype, or the complex one of its precision (promote_types refuses under strict promotion)."""
    return np.result_type(dtype, np.complex64) if jnp.iscomplexobj(leaf) else dtype


def _count(number: Array, happened: Array) -> Array:
    return jnp.where(happened, number + 1, number)
