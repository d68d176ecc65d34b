"""The table of clippers: every clipping, normalizing and guarding transformation, with what it promises.

One line a method. Its declared properties (bound, identity below it, direction kept, one example at a time) are held to
it by common tests, that pass over this table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax import Array

from gradjax import tables
from gradjax.arguments import real
from gradjax.clipping.following import autoclip, clip_by_percentile, zclip
from gradjax.clipping.global_norm import clip_by_global_norm
from gradjax.numerics import is_concrete, largest, log_norm

ADAPTIVE_FLOOR = 1e-3  # optax's eps: the least parameter norm that counts
GIVES_UP_AFTER = 5  # the failures in a row after which optax.apply_if_finite lets a NaN through


@dataclass(frozen=True)
class Clipper:
    """A callable `threshold -> optax.GradientTransformation` that says what it promises.

    Args:
        make: the factory; the threshold may be traced.
        threshold: what the number means, in words.
        default: a threshold in ordinary use.
        size: `(updates, params) -> Array`, which the result keeps at or below the threshold; None: no bound.
        identity_below: a gradient whose size is below the threshold passes bit for bit (without a size: any finite).
        keeps_direction: the result is the gradient times one number, above 0, over all leaves.
        per_example: takes gradients with a leading axis of examples, and returns their sum; the size is that of the
            sum divided by the number of examples.
        follows_data: the threshold that acts moves with the norms seen.
        interval: where a threshold lies.

    >>> CLIPPERS["value"](1.0).update(jnp.array([3.0, -0.5]), optax.EmptyState())[0].tolist()
    [1.0, -0.5]
    """

    make: Callable[..., optax.GradientTransformation]
    threshold: str = "largest global norm"
    default: float = 1.0
    size: Callable[..., Array] | None = None
    identity_below: bool = True
    keeps_direction: bool = True
    per_example: bool = False
    follows_data: bool = False
    interval: str = "[0, inf]"

    def __call__(self, threshold: float | Array | None = None) -> optax.GradientTransformation:
        """The transformation at this threshold, or at the ordinary one."""
        if threshold is None:
            threshold = self.default
        elif is_concrete(threshold):
            number = real("threshold", threshold, self.interval)
            threshold = threshold if isinstance(threshold, jax.Array) else number
        return self.make(threshold)


def _global_norm(updates, params) -> Array:
    return jnp.exp(log_norm(updates))


def _modulus(updates, params) -> Array:
    return largest(updates)


def _over_leaves(measure: Callable) -> Callable:
    """The largest of a measure over the leaves: what a clip acting leaf by leaf bounds."""

    def size(updates, params):
        return jnp.max(jnp.stack([jnp.max(m) for m in jax.tree.leaves(jax.tree.map(measure, updates, params))]))

    return size


def _rms(update, param) -> Array:
    return jnp.exp(log_norm(update)) * update.size**-0.5


def _unit(update, param) -> Array:
    return optax.transforms.unitwise_norm(update)


def _unit_ratio(update, param) -> Array:
    return _unit(update, param) / jnp.maximum(_unit(param, None), ADAPTIVE_FLOOR)


def _leaf_ratio(update, param) -> Array:
    return jnp.exp(log_norm(update) - log_norm(param))


def _scaled(transformation: Callable) -> Callable:
    """A transformation to length or size 1, made one of the threshold's."""
    return lambda threshold: optax.chain(transformation(), optax.scale(threshold))


def _unitwise(threshold) -> optax.GradientTransformation:
    def clip(update):
        norm = optax.transforms.unitwise_norm(update)
        return optax.transforms.unitwise_clip(norm, jnp.full_like(norm, threshold), update)

    return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def _if_finite(failures) -> optax.GradientTransformation:
    count: Any = jnp.asarray(failures).astype(
        jnp.int32
    )  # optax compares it with an integer, under strict promotion too
    return optax.apply_if_finite(optax.identity(), count)


def _per_example(clip: Callable) -> Callable:
    """optax's per-example functions, which take a list of leaves, as a transformation of a tree."""

    def of_tree(updates, threshold):
        leaves, structure = jax.tree.flatten(updates)
        return structure.unflatten(clip(leaves, threshold)[0])

    return lambda threshold: optax.stateless(lambda updates, _: of_tree(updates, threshold))


def resolve(clipper: str | Callable) -> Callable:
    """The clipper that a name of `CLIPPERS` or a callable `threshold -> transformation` stands for.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    return tables.resolve(CLIPPERS, clipper, "clipper")


CLIPPERS: dict[str, Clipper] = {
    "none": Clipper(lambda threshold: optax.identity(), "unused"),
    "global_norm": Clipper(clip_by_global_norm, size=_global_norm),
    "optax_global_norm": Clipper(optax.clip_by_global_norm, size=_global_norm),
    "value": Clipper(optax.clip, "largest modulus of an entry", 0.01, _modulus, keeps_direction=False),
    "block_rms": Clipper(
        optax.clip_by_block_rms, "largest root mean square of a leaf", 0.01, _over_leaves(_rms), keeps_direction=False
    ),
    "unit_norm": Clipper(
        _unitwise, "largest norm of a unit's weights", 0.1, _over_leaves(_unit), keeps_direction=False
    ),
    "adaptive": Clipper(  # axis 0 is the input of an (in, out) kernel; of an (out, in) one it would be the wrong axis
        optax.adaptive_grad_clip,
        "largest ratio of a unit's update to its weights",
        0.01,
        _over_leaves(_unit_ratio),
        keeps_direction=False,
    ),
    "per_example_global_norm": Clipper(
        _per_example(optax.per_example_global_norm_clip),
        "largest norm of one example's gradient",
        size=_global_norm,
        keeps_direction=False,
        per_example=True,
    ),
    "per_example_layer_norm": Clipper(
        _per_example(optax.per_example_layer_norm_clip),
        "largest norm of one example's gradient, shared out among the leaves",
        size=_global_norm,
        identity_below=False,
        keeps_direction=False,
        per_example=True,
    ),
    "normalize_by_update_norm": Clipper(
        optax.normalize_by_update_norm, "the global norm", size=_global_norm, identity_below=False
    ),
    "normalize": Clipper(_scaled(optax.contrib.normalize), "the global norm", 1.0, _global_norm, False),
    "sign": Clipper(_scaled(optax.scale_by_sign), "the modulus of every entry", 0.001, _modulus, False, False),
    "trust_ratio": Clipper(
        lambda threshold: optax.scale_by_trust_ratio(trust_coefficient=threshold),
        "ratio of a leaf's update to its weights",
        0.001,
        _over_leaves(_leaf_ratio),
        False,
        False,
    ),
    "zero_nans": Clipper(lambda threshold: optax.zero_nans(), "unused"),
    "apply_if_finite": Clipper(
        _if_finite,
        "failures in a row after which a non-finite update is let through",
        GIVES_UP_AFTER,
        interval="[0, 2147483647]",
    ),
    "percentile": Clipper(
        clip_by_percentile, "percentile of the last norms", 90.0, follows_data=True, interval="[0, 100]"
    ),
    "autoclip": Clipper(autoclip, "percentile of all norms so far", 10.0, follows_data=True, interval="[0, 100]"),
    "zclip": Clipper(zclip, "deviations above the mean norm", 2.5, follows_data=True, interval="(0, inf)"),
}
