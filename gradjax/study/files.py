"""Where a study's files go, and the ways in which they are written (``gradjax.files``)."""

import os
from pathlib import Path

from gradjax.files import sha256 as sha256
from gradjax.files import write_whole as write_whole
from gradjax.study.usage import UsageError


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
