"""Progress on long work, shown to a person at a terminal and to nobody else."""

import contextlib
import contextvars
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

_QUIET: contextvars.ContextVar[bool] = contextvars.ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet(enabled: bool = True) -> Iterator[None]:
    """Within this context ``progress`` shows nothing (where ``enabled``)."""
    token = _QUIET.set(_QUIET.get() or enabled)
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_quiet() -> bool:
    """Whether this is within ``quiet``."""
    return _QUIET.get()


def progress(iterable: Iterable[Item], description: str) -> Iterable[Item]:
    """The same items, with a bar on standard error while a loop on the host goes through them.

    The bar is absent where standard error is no terminal, in the runner's quiet mode, and within ``quiet()``.

    Args:
        iterable: anything a ``for`` loop takes; its length is shown where it has one.
        description: a few words in front of the bar.

    >>> list(progress([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    if not isinstance(iterable, Iterable):
        raise TypeError(f"iterable is a {type(iterable).__name__}, expected what a for loop takes")
    if _QUIET.get() or not sys.stderr.isatty():
        return iterable
    from tqdm import tqdm

    return tqdm(iterable, desc=description, leave=False, dynamic_ncols=True)
