"""A grid of trainings as one compiled program, as many at a time as the device runs fastest.

All members at once is right for a GPU. On a CPU it is slower than one after the other: 200 networks of depth 20 and
width 64, with their gradients, momenta and activations, fit no cache, and each step then waits for the memory.
"""

from collections.abc import Callable

import jax
import numpy as np

from gradjax.arguments import as_function, said, whole

FEW = 5  # on two cores at depth 20 and width 64, in processor time: 1 to 5 alike, 10 a third slower, 50 by two thirds


def over_grid(cell: Callable, points: tuple, *, together: int | None = None):
    """Whatever `cell(*point)` returns, for every point of a grid along a leading axis.

    Args:
        cell: a pure function of one point's numbers, such as one that calls `train`.
        points: trees of arrays with one leading axis, of the same length in all.
        together: how many points run at once, by `vmap`, at least 1; the others follow in the same program. By default
            all on an accelerator, 5 on a CPU.

    Raises:
        ValueError: together below 1, or points of unequal length.

    >>> import jax.numpy as jnp
    >>> print(over_grid(lambda a, b: a * b, (jnp.arange(3), jnp.arange(3)), together=2))
    [0 1 4]
    """
    cell = as_function("cell", cell, "of one point's numbers")
    for leaf in jax.tree.leaves(points):
        if not isinstance(leaf, (jax.Array, np.ndarray)) or leaf.dtype.kind in "OSU":
            raise ValueError(f"points holds {said(leaf)}, expected arrays with one leading axis")
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(points)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(f"points have leading axes of {sorted(map(str, lengths))}, expected one length in all")
    if 0 in lengths:
        raise ValueError("points is empty, expected at least one point")
    together = None if together is None else whole("together", together)
    count = FEW if together is None and jax.default_backend() == "cpu" else together
    return jax.lax.map(lambda point: cell(*point), points, batch_size=count or lengths.pop())
