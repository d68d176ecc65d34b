"""What networks refuse before anything is drawn: sizes that are no widths, dtypes that hold no weights."""

from collections.abc import Sequence

import jax.numpy as jnp


def admit_whole(name: str, number, least: int = 1) -> int:
    """The number as an int, refused where it is no whole number >= least.

    >>> admit_whole("depth", 3.0)
    3
    """
    if not isinstance(number, (int, float)) or int(number) != number or number < least:
        raise ValueError(f"{name} is {number!r}, expected a whole number >= {least}")
    return int(number)


def admit_sizes(sizes: Sequence[int]) -> list[int]:
    """The widths (n_0, …, n_L) as ints, at least two.

    >>> admit_sizes([3, 2])
    [3, 2]
    """
    sizes = list(sizes)
    if len(sizes) < 2:
        raise ValueError(f"sizes is {sizes}, expected at least two widths (n_0, ..., n_L)")
    for index, n in enumerate(sizes):
        if int(n) != n or n < 1:
            raise ValueError(f"sizes[{index}] is {n!r}, expected a whole number >= 1")
    return [int(n) for n in sizes]


def admit_dtype(dtype):
    """The dtype of parameters, refused where it is no floating type.

    >>> admit_dtype("float32")
    'float32'
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype is {jnp.dtype(dtype).name}, expected a floating type such as float32")
    return dtype
