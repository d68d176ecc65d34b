"""Whether a layer mixes scales in no order: then ordinary digits may lose what matters, and no jitter shows it.

Rows and columns may have any sizes, since elimination commutes with scaling them. What is left once they are brought to
one size is the disorder. The host replaces such layers (`exact`); where it cannot, inside a trace or where it would
take minutes, the values that have gone through one are said to be unknown (`chain`).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

MIXED = 40.0  # binary orders between the entries of one layer, once its rows and columns are brought to one size
EQUILIBRATIONS = 8
PIECE = 2**15  # entries that are looked at together: they stay in the cache, a whole chain takes three times as long


def mixed_on_the_host(run: np.ndarray) -> np.ndarray:
    """Whether each of the layers (..., m, rows, columns) mixes scales in no order."""
    if not _spans(run).max() > MIXED:
        return np.zeros(run.shape[:-2], bool)
    orders, seen = _orders(run.astype(np.float64), np)
    for _ in range(EQUILIBRATIONS):
        orders = _balanced(orders, seen, np)
    return _width(orders, seen, np) > MIXED


def _spans(run: np.ndarray) -> np.ndarray:
    """The binary orders between the largest and the smallest entry of each layer, -inf where there is none.

    From the two ends alone: the logarithm of every entry took longer than multiplying the layers.
    """
    layers = run.reshape(-1, run.shape[-2] * run.shape[-1])
    step = max(1, PIECE // layers.shape[1])
    ends = [_two_ends(layers[start : start + step]) for start in range(0, len(layers), step)]
    with np.errstate(divide="ignore"):
        low, high = np.log2(np.concatenate(ends, axis=1).astype(np.float64))
    return (high - low).reshape(run.shape[:-2])


def _two_ends(layers: np.ndarray) -> np.ndarray:
    """The smallest and the largest size in each row, inf and 0 where there is none, (2, rows)."""
    sizes = np.abs(layers)
    low, high = sizes.min(axis=1), sizes.max(axis=1)
    if not ((low > 0) & (high < np.inf)).all():
        seen = np.isfinite(sizes) & (sizes > 0)
        low, high = (np.where(seen, sizes, end) for end in (np.inf, 0.0))
        low, high = low.min(axis=1), high.max(axis=1)
    return np.stack([low, high])


def mixed(layer: Array) -> Array:
    """The same of one layer inside a trace."""
    orders, seen = _orders(layer, jnp)
    orders = lax.fori_loop(0, EQUILIBRATIONS, lambda _, orders: _balanced(orders, seen, jnp), orders)
    return _width(orders, seen, jnp) > MIXED


def _orders(run, xp) -> tuple[Any, Any]:
    """The binary order of each entry, 0 where there is none; and where there is one."""
    seen = xp.isfinite(run) & (run != 0)
    return xp.log2(xp.where(seen, xp.abs(run), xp.ones_like(run))), seen


def _balanced(orders, seen, xp):
    """The orders with the middle of every row at 0, and then that of every column."""
    for axis in (-1, -2):
        low, high = _ends(orders, seen, axis, xp)
        orders = orders - (high + low) / 2
    return orders


def _width(orders, seen, xp):
    low, high = _ends(orders, seen, (-1, -2), xp)
    return (high - low)[..., 0, 0]


def _ends(orders, seen, axes, xp) -> tuple[Any, Any]:
    """The lowest and the highest order along the axes, both 0 where there is none."""
    high = xp.where(seen, orders, -xp.inf).max(axis=axes, keepdims=True)
    low = xp.where(seen, orders, xp.inf).min(axis=axes, keepdims=True)
    none = high < low
    return xp.where(none, 0.0, low), xp.where(none, 0.0, high)
