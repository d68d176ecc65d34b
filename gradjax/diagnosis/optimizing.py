"""Causes that need the optimizer: a step longer than the curvature bears, and a second moment that is left behind."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradjax.diagnosis import thresholds
from gradjax.diagnosis.adam import adam_of, rate_of, refreshed
from gradjax.diagnosis.report import Finding, Remedy
from gradjax.diagnosis.step import StepCase, gradient_of, log_norms, rows_of, updated

POWER_STEPS = 40
TRIAL_STEPS = 30
NO_OPTIMIZER = "no optimizer was handed in"


def learning_rate(case: StepCase) -> Finding | str | None:
    """A step above 2 / λ_max of the preconditioned Hessian by which harm is done, a loss that rises on this very batch.

    With momentum β the limit is 2 (1 + β) / λ_max, with Adam's averaged β₁ it is 2 (1 + β₁) / ((1 − β₁) λ_max) for
    the Hessian between the roots of the preconditioner (Cohen et al. 2022, arXiv:2207.14484).
    """
    if case.optimizer is None:
        return NO_OPTIMIZER
    if not _whole(case):
        return "the gradient is not finite"
    found = _steps(case)
    if found is None:
        return "the optimizer is neither a multiple of the gradient nor Adam-like"
    scale, factor, kind, momentum = found
    sharpness = float(_sharpness(case.loss, case.params, case.batch, scale, 0.0))
    if sharpness < 0:  # power iteration finds the eigenvalue of the largest modulus: behind a shift it is λ_max
        sharpness = float(_sharpness(case.loss, case.params, case.batch, scale, -sharpness)) + sharpness
    limit = factor / sharpness if sharpness > 0 else np.inf
    if not limit < 1 or thresholds.unstable(1 / limit, momentum, TRIAL_STEPS) <= thresholds.HARMFUL:
        return None
    trial = _trial(case)
    if trial <= case.value:
        return None
    evidence = (
        f"the step is {1 / limit:.3g} times the stability limit of {kind}; {TRIAL_STEPS} steps on this batch take the "
        f"loss from {case.value:.3g} to {trial:.3g}"
    )
    number = float(limit / 2)
    remedy = Remedy(
        f"multiply the learning rate by {number:.3g}, to half the limit", number, "optimizer",
        lambda optimizer: _slower(optimizer, number),
    )  # fmt: skip
    return Finding("learning rate", None, evidence, {"over_limit": float(1 / limit)}, remedy)


def stale_second_moment(case: StepCase) -> Finding | str | None:
    """Gradients that have outgrown Adam's second moment: the root mean square of g / √v̂ beyond chance."""
    if case.optimizer is None:
        return NO_OPTIMIZER
    if not _whole(case):
        return "the gradient is not finite"
    adam = adam_of(case)
    if adam is None:
        return "the optimizer keeps no second moment"
    sizes = np.array([_root_mean(g, v) for g, v in zip(adam.squared, adam.second, strict=True)])
    row = int(np.argmax(sizes))
    limit = thresholds.stale(adam.second_decay, adam.steps)
    if not sizes[row] > limit:
        return None
    number = float(1 / sizes[row])
    evidence = f"g / sqrt(v) has a root mean square of {sizes[row]:.3g} there; 1 is steady, chance allows {limit:.3g}"
    text = (
        f"multiply this step's update by {number:.3g} (StableAdamW), or raise v to g² (what `apply` does to opt_state)"
    )
    remedy = Remedy(text, number, "opt_state", lambda state: refreshed(state, adam))
    return Finding("stale second moment", row, evidence, {"rms": float(sizes[row]), "limit": limit}, remedy)


def lost_update(case: StepCase) -> Finding | None:
    """Updates that rounding swallows: most of what the optimizer adds is below half a unit of the parameters."""
    if case.optimizer is None or not _whole(case):
        return None
    worst, row = 1.0, None
    for index, (p, u) in enumerate(zip(rows_of(case.params), rows_of(case.update[0]), strict=True)):
        if str(p.dtype) not in ("float16", "bfloat16"):
            continue
        wide = np.asarray(u.astype(jnp.float32), np.float64)
        kept = np.asarray(((p + u.astype(p.dtype)).astype(jnp.float32) - p.astype(jnp.float32)), np.float64)
        share = float(np.sum(kept * wide) / max(np.sum(wide**2), 1e-300))
        worst, row = (share, index) if share < min(worst, thresholds.HALF) and np.any(wide) else (worst, row)
    if row is None:
        return None
    evidence = f"{1 - worst:.0%} of the update is lost in rounding to {rows_of(case.params)[row].dtype}"
    remedy = Remedy("keep the parameters in float32 (32 bits)", 32.0, "params", widened)
    return Finding("precision", row, evidence, {"kept": worst}, remedy)


def widened(tree):
    """The tree with its 16-bit floats in float32."""

    def wide(leaf):
        return leaf.astype(jnp.float32) if str(getattr(leaf, "dtype", "")) in ("float16", "bfloat16") else leaf

    return jax.tree.map(wide, tree)


def _whole(case: StepCase) -> bool:
    return bool(
        np.isfinite(case.value)
        and not np.any(np.isnan(log_norms(case.gradient)) | np.isposinf(log_norms(case.gradient)))
    )


def _steps(case: StepCase) -> tuple[list, float, str, float] | None:
    """Each row's learning rate over its preconditioner, the limit's numerator, the limit's name, and the momentum."""
    adam, updates, gradients = adam_of(case), rows_of(case.update[0]), rows_of(case.gradient)
    if adam is not None:
        rate = rate_of(case)
        scale = [rate / (jnp.sqrt(jnp.asarray(v)) + 1e-8) for v in adam.second]
        beta = adam.first_decay
        return scale, 2 * (1 + beta) / (1 - beta), f"Adam, 2 (1 + b1) / ((1 - b1) lambda) with b1 = {beta:.3g}", beta
    zero = jax.tree.map(jnp.zeros_like, case.gradient)
    fresh, state = updated(case.optimizer, case.gradient, case.optimizer.init(case.params), case.params)
    echo = rows_of(updated(case.optimizer, zero, state, case.params)[0])
    g = np.concatenate([np.asarray(a, np.float64).ravel() for a in gradients])
    u = np.concatenate([np.asarray(a, np.float64).ravel() for a in rows_of(fresh)])
    e = np.concatenate([np.asarray(a, np.float64).ravel() for a in echo])
    if not np.any(g) or not len(updates):
        return None
    rate, beta = -float(g @ u) / float(g @ g), float(e @ u) / max(float(u @ u), 1e-300)
    if not (rate > 0 and 0 <= beta < 1 and np.linalg.norm(u + rate * g) < 1e-3 * np.linalg.norm(u)):
        return None
    return (
        [jnp.full_like(a, rate) for a in gradients],
        2 * (1 + beta),
        f"gradient descent, {2 * (1 + beta):.3g} / lambda",
        beta,
    )


@functools.partial(jax.jit, static_argnums=0)
def _sharpness(loss: Callable, params, batch, scale: list, shift):
    """The largest eigenvalue of S^½ H S^½ + shift, S the step by row, by power iteration with Hessian products."""
    leaves, structure = jax.tree.flatten(params)
    places = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    roots = [jnp.sqrt(s) for s in scale]

    def gradient(moving: list):
        whole = list(leaves)
        for place, leaf in zip(places, moving, strict=True):
            whole[place] = leaf
        return rows_of(jax.grad(lambda p: loss(p, batch), allow_int=True)(structure.unflatten(whole)))

    here = [leaves[place] for place in places]

    def apply(v):
        moved = jax.jvp(gradient, (here,), ([r * a for r, a in zip(roots, v, strict=True)],))[1]
        return [r * a + jnp.asarray(shift, a.dtype) * b for r, a, b in zip(roots, moved, v, strict=True)]

    def dot(a, b):
        return sum(jnp.sum(x * y) for x, y in zip(a, b, strict=True))

    def once(_, state):
        v, _, _ = state
        image = apply(v)
        size = jnp.sqrt(dot(image, image))
        return [a / jnp.where(size > 0, size, 1) for a in image], dot(v, image), size

    keys = jax.random.split(jax.random.key(0), len(here))
    v = [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, here, strict=True)]
    v = [a / jnp.sqrt(dot(v, v)) for a in v]
    return jax.lax.fori_loop(0, POWER_STEPS, once, (v, jnp.zeros((), v[0].dtype), jnp.zeros((), v[0].dtype)))[1]


def _trial(case: StepCase) -> float:
    """The loss after some steps of this optimizer on this batch; inf where it is no longer finite."""

    def one(_, carry):
        params, state = carry
        gradient = gradient_of(case.loss, params, case.batch)[1]
        updates, state = updated(case.optimizer, gradient, state, params)
        return optax.apply_updates(params, updates), state

    run = jax.jit(lambda carry: case.loss(jax.lax.fori_loop(0, TRIAL_STEPS, one, carry)[0], case.batch))
    after = float(run((case.params, case.opt_state)))
    return after if np.isfinite(after) else float("inf")


def _root_mean(squared: np.ndarray, second) -> float:
    v = np.maximum(np.asarray(second, np.float64), 1e-16)
    return float(np.sqrt(np.mean(squared / v)))


def _slower(optimizer, factor: float):
    """The same optimizer, its state untouched, with every update multiplied."""

    def update(updates, state, params=None, **extra):
        updates, state = optimizer.update(updates, state, params, **extra)
        return jax.tree.map(lambda u: u * factor, updates), state

    return optax.GradientTransformation(optimizer.init, update)
