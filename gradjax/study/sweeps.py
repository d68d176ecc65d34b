"""``gradjax.sweep`` for studies: its chunks stay beside the figures until the study's record is written.

A study's ``compute`` knows no folder; the runner says where the chunks of this very run go.
"""

import contextlib
import contextvars
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradjax.files import sha256
from gradjax.study.progressbar import is_quiet

_FOLDER: contextvars.ContextVar[Path | None] = contextvars.ContextVar("folder", default=None)


def sweep(cell: Callable[..., Any], grid: Mapping[str, Any], *, seed: int, name: str = "grid", **options: Any) -> Any:
    """``gradjax.sweep.sweep`` whose chunks outlive an interrupted run of the study.

    Args:
        cell, grid, seed, options: as there.
        name: tells the sweeps of one study apart.

    >>> print(sweep(lambda key, x: x * x, {"x": [3, 4]}, seed=0))
    [ 9 16]
    """
    from gradjax.sweep import sweep as engine

    folder = _FOLDER.get()
    out = None if folder is None else folder / name
    return engine(cell, grid, seed=seed, out=out, progress=not is_quiet(), **options)


@contextlib.contextmanager
def kept_beside(folder: Path, name: str, run: Mapping[str, Any]) -> Iterator[None]:
    """Within this context sweeps keep their chunks in ``folder``; once it is left without an error they are removed.

    Args:
        folder: of the figures.
        name: the study's.
        run: JSON values that decide its numbers: another run has other chunks.
    """
    place = folder / ".sweeps"
    mine = place / f"{name}-{sha256(json.dumps(run, sort_keys=True).encode())[:16]}"
    token = _FOLDER.set(mine)
    try:
        yield
    finally:
        _FOLDER.reset(token)
    for old in place.glob(f"{name}-*"):  # also those of earlier configurations, which nobody will ask for
        shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):  # another study's are still there, or there were none
        place.rmdir()
