"""What is found while computing, said in words: the first bad layer, by its index.

Outside a trace a bad value raises; inside one nothing can, and the NaN reaches its own results alone.
"""

import jax
import numpy as np

from gradjax.chain.forward import fold
from gradjax.chain.stack import depth_of
from gradjax.numerics import HIGHEST, all_finite, is_concrete, is_inexact


def raise_if(bad, message: str) -> None:
    """Raise a ValueError where `bad` is known to be true."""
    if is_concrete(bad) and bool(np.any(bad)):
        raise ValueError(message)


def first_bad(entries, bad, backward: bool = False) -> int | None:
    """The index of the first layer flagged, counting the layers inside a Stack.

    Args:
        entries: what `as_layers` returns.
        bad: one array of flags an entry, its last axis the depth where the entry is a Stack; other axes are examples.
        backward: the first that a signal from the output meets, that is, the last.
    """
    flags = [np.asarray(f).reshape(-1, depth_of(entry)).any(axis=0) for entry, f in zip(entries, bad, strict=True)]
    (found,) = np.nonzero(np.concatenate(flags))
    return int(found[-1 if backward else 0]) if found.size else None


def raise_at_first(entries, bad, message: str, backward: bool = False) -> None:
    """Raise a ValueError that names the first flagged layer: `layers[i] <message>`."""
    if is_concrete(bad):
        index = first_bad(entries, bad, backward)
        if index is not None:
            parameters = "" if _finite_parameters(entries, index) else " (its parameters hold a NaN or an infinity)"
            raise ValueError(f"layers[{index}] {message}{parameters}")


def raise_where_forward_breaks(entries, x) -> None:
    """Raise where the activation turns NaN or infinite."""
    raise_at_first(entries, _broken(entries, x), "gives a NaN or infinite activation")


def _finite_parameters(entries, index: int) -> bool:
    for entry in entries:
        if index < depth_of(entry):
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(entry) if is_inexact(leaf)]
            own = [leaf[index] if depth_of(entry) == len(leaf) > 1 else leaf for leaf in leaves if leaf.ndim]
            return all(np.isfinite(leaf.astype(complex)).all() for leaf in own)
        index -= depth_of(entry)
    return True


@jax.jit
def _broken(entries, x):
    def step(h, layer, _):
        out = layer(h)
        return out, ~all_finite(out)

    with jax.default_matmul_precision(HIGHEST):
        return fold(entries, x, step)[1]
