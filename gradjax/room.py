"""What must fit into memory before it is made: a width of 10¹² is a slip of the finger, not a network.

Without this door XLA is asked for the array: it raises an error of its own that names no argument, or the system ends
the process.
"""

import math
import os
from collections.abc import Sequence

import jax.numpy as jnp

from gradjax.arguments import listed, whole

NOWHERE = 2**40  # bytes that no device holds, for where the machine does not say what it has


def in_words(size: float) -> str:
    """A number of bytes in its largest unit.

    >>> in_words(3 * 2**29)
    '1.5 GiB'
    """
    size = min(size, 10**300)  # a larger integer is no float
    power = min(4, int(math.log2(max(size, 1)) // 10))
    return f"{size / 1024**power:.4g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def memory() -> int:
    """Bytes of this machine's memory; 2⁴⁰ where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return NOWHERE


def axis(name: str, value, least: int = 1, each: int = 1) -> int:
    """The length of an axis of an array that is made, refused where the array would not fit into this machine.

    Args:
        name, value, least: as for `gradjax.arguments.whole`.
        each: how many numbers of at least four bytes one step along the axis takes.

    >>> axis("width", 64)
    64
    """
    length = whole(name, value, least)
    need = 4 * length * each
    if need > memory():
        raise ValueError(
            f"{name} is {length}, which takes {in_words(need)} and more, expected what fits into the "
            f"{in_words(memory())} of this machine"
        )
    return length


def axes(name: str, values, least: int = 1) -> list[int]:
    """The lengths as a list of ints, refused where one is no whole number or would not fit; its index is named.

    >>> axes("sizes", (3, 2.0))
    [3, 2]
    """
    lengths = listed(name, values, "whole numbers")
    return [axis(f"{name}[{index}]", length, least) for index, length in enumerate(lengths)]


def fitting(name: str, shape: Sequence[int], dtype) -> tuple[int, ...]:
    """The shape, unchanged, refused where an array of it would not fit into this machine.

    >>> fitting("shape", (2, 3), "float32")
    (2, 3)
    """
    need = math.prod(shape) * jnp.dtype(dtype).itemsize
    if need > memory():
        raise ValueError(
            f"{name} is {tuple(shape)}, which takes {in_words(need)}, expected what fits into the "
            f"{in_words(memory())} of this machine"
        )
    return tuple(shape)
