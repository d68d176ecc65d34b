"""What a clip does in use, counted: how often it acts, how far it turns the gradient, when it returns zeros.

A clip's promise is about one gradient. What it costs a training is a matter of how often and how strongly it acts
there, which no clip of optax tells.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from gradjax.arguments import arrays, as_transformation
from gradjax.numerics import exponent, is_inexact, log_norm, norm_dtype, scale_by_power_of_two


class ObservedState(NamedTuple):
    """What a transformation has done so far.

    Args:
        inner: the state of the transformation itself.
        steps: how many updates there were.
        changed: how many of them differed from the gradient in any entry.
        cosines: sum over the steps of the cosine between gradient and update; a step without one adds 0.
        directions: how many steps had such a cosine: both finite and not zero.
        zeroed: how many updates were zero throughout although the gradient was finite and not zero.
        first_zeroed: the first such step, counted from 0; −1 where there was none.
    """

    inner: Any
    steps: Array
    changed: Array
    cosines: Array
    directions: Array
    zeroed: Array
    first_zeroed: Array

    @property
    def fraction_changed(self) -> Array:
        """The part of the steps in which the transformation changed the gradient, in [0, 1]."""
        return self.changed / jnp.maximum(self.steps, 1)

    @property
    def mean_cosine(self) -> Array:
        """The mean cosine between gradient and update, in [−1, 1]; NaN where no step had one."""
        return self.cosines / self.directions.astype(self.cosines.dtype)


def cosine(one, other) -> Array:
    """The cosine between two trees of the same structure, ⟨a, b⟩ / (‖a‖ ‖b‖), right where a norm over- or underflows.

    Returns:
        A scalar in [−1, 1] up to rounding; NaN where either is zero or not finite. Leaves are real.

    >>> print(cosine([jnp.array([3e30, 0.0])], [jnp.array([1e-30, 1e-30])]).round(4))
    0.7071
    """
    one, other = arrays("one", one), arrays("other", other)
    alike = jax.tree.structure(one) == jax.tree.structure(other)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree) if is_inexact(leaf)] for tree in (one, other)]
    if not alike or shapes[0] != shapes[1]:
        raise ValueError(f"one and other hold leaves of shapes {shapes[0]} and {shapes[1]}, expected two trees alike")
    dtype = norm_dtype((one, other))
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), _unit(one, dtype), _unit(other, dtype))
    return sum(jax.tree.leaves(products), start=jnp.zeros((), dtype))


def observe(transformation: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """The transformation, with an `ObservedState` that counts what it does: its updates are unchanged.

    Args:
        transformation: any optax transformation whose updates have the gradient's structure.

    >>> clip = observe(optax.clip(1.0))
    >>> g = jnp.array([3.0, 1.0])
    >>> update, state = clip.update(g, clip.init(g), g)
    >>> print(update, state.fraction_changed, state.mean_cosine.round(4))
    [1. 1.] 1.0 0.8944
    """
    inner = optax.with_extra_args_support(as_transformation("transformation", transformation))

    def init(params):
        zero, real = jnp.zeros((), jnp.int32), jnp.zeros((), norm_dtype(params))
        return ObservedState(inner.init(params), zero, zero, real, zero, zero, zero - 1)

    def update(updates, state, params=None, **extra):
        result, inner_state = inner.update(updates, state.inner, params, **extra)
        given, made = log_norm(updates), log_norm(result)
        angle = cosine(updates, result).astype(state.cosines.dtype)
        known = jnp.isfinite(angle)
        zeroed = jnp.isfinite(given) & (made == -jnp.inf)
        return result, ObservedState(
            inner_state,
            state.steps + 1,
            state.changed + _differs(updates, result).astype(jnp.int32),
            state.cosines + jnp.where(known, angle, 0),
            state.directions + known.astype(jnp.int32),
            state.zeroed + zeroed.astype(jnp.int32),
            jnp.where(zeroed & (state.first_zeroed < 0), state.steps, state.first_zeroed),
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _unit(tree, dtype):
    """The tree over its norm; NaN throughout for a tree that has no direction."""
    wide = [leaf.astype(dtype) for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    scaled = scale_by_power_of_two(wide, -exponent(wide))
    return jax.tree.map(lambda leaf: leaf / jnp.exp(log_norm(scaled)).astype(dtype), scaled)


def _differs(before, after) -> Array:
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return jnp.any(jnp.stack([jnp.any((a != b) & ~jnp.isnan(a)) for a, b in pairs]))  # a NaN differs from itself
