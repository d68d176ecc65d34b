"""Where a study's files go, and the ways in which they are written (``gradjax.files``)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from gradjax import files
from gradjax.files import sha256 as sha256
from gradjax.study.usage import UnwrittenError, UsageError


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all.

    Raises:
        UnwrittenError: with the system's reason, in one sentence; the old file is then untouched.
    """
    try:
        files.write_whole(path, content)
    except OSError as error:
        raise UnwrittenError(
            f"{path} cannot be written ({error.strerror or error}): make room there or give another --out; what is "
            "finished is whole and stays, and the same command does the rest"
        ) from error


def writable_folder(path: Path) -> Path:
    """The folder, made where it is missing, once a file could be written and removed in it.

    Raises:
        UsageError: where that is impossible, so that it is said before hours of computing rather than after.
    """
    probe = path / f".writable.{os.getpid()}.tmp"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {path} is no folder that can be written to ({error.strerror or error})") from error
    return path


@contextlib.contextmanager
def held_folder(path: Path) -> Iterator[Path]:
    """The writable folder, held against a second run while the context lasts; the lock leaves no file there.

    Raises:
        UsageError: where it cannot be written to, or another run has it.
    """
    writable_folder(path)
    if os.name == "nt":  # it opens no folder: two runs in one are then not noticed
        yield path
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not files.hold(descriptor):
            raise UsageError(f"another run is writing into --out {path}; wait for it, or give another folder")
        yield path
    finally:
        os.close(descriptor)
