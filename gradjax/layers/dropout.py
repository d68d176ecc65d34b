"""Dropout under a key: which units are dropped is decided by the layer's own key, so the network stays a function.

A layer that drew anew at every call would have no Jacobian to speak of. `redraw` gives a network new masks.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from gradjax.arguments import flag, real
from gradjax.chain import Constant, Coupled
from gradjax.numerics import as_key


@dataclass(frozen=True)
class Dropout:
    """The pure function (key, h) ↦ h ∗ mask / (1 − rate), where each entry of the mask is 1 with chance 1 − rate."""

    rate: float

    def __call__(self, key: Constant, h: Array) -> Array:
        kept = jax.random.bernoulli(key.value, 1 - self.rate, h.shape)
        return jnp.where(kept, h / (1 - self.rate), 0)


def dropout(key: Array | int, rate: float, *, each: bool = False) -> Partial | Coupled:
    """A layer that drops entries, the callable pytree h ↦ h ∗ mask / (1 − rate): the mean over masks is h.

    Args:
        key: a random key, or a seed in [0, 2³²); a constant, no parameter. The same key drops the same entries.
        rate: the chance of being dropped, at least 0 and below 1.
        each: whether every example of a batch has a mask of its own. The batch is then the activation (`Coupled`);
            otherwise all examples share the mask.

    Raises:
        ValueError: a rate outside [0, 1), a bad seed.

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014); `gradjax.theory.meanfield` for what it
    does to correlations.

    >>> sorted(set(dropout(0, 0.75)(jnp.ones(99)).tolist()))
    [0.0, 4.0]
    """
    layer = Partial(Dropout(real("rate", rate, "[0, 1)")), Constant(as_key(key)))
    return Coupled(layer) if flag("each", each) else layer


def redraw(layers, key: Array | int):
    """The same layers with a new key in every `dropout`, in a `Stack` one for each depth.

    Args:
        layers: any pytree of layers.
        key: a random key, or a seed in [0, 2³²).

    >>> old, x = dropout(0, 0.5), jnp.ones(99)
    >>> print((redraw(old, 7)(x) == old(x)).all())
    False
    """
    count, key = 0, as_key(key)

    def renew(node):
        nonlocal count
        if not _is_dropout(node):
            return node
        count += 1
        old = node.args[0].value
        fresh = jax.random.fold_in(key, count)
        new = jax.random.split(fresh, old.shape) if old.shape else fresh
        return Partial(node.func, Constant(new))

    return jax.tree.map(renew, layers, is_leaf=_is_dropout)


def _is_dropout(node) -> bool:
    return isinstance(node, Partial) and isinstance(node.func, Dropout)
