"""The only writer of files, a reader finds the old one or the new one, never a half; and whose a folder is."""

import contextlib
import hashlib
import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file whole or not at all: a temporary file in the same folder, synced, then renamed over the old one.

    A rename within one folder is atomic; one across file systems would copy, and could be seen half done.

    Raises:
        OSError: as the system says it; the old file is then untouched and no temporary file is left.
    """
    if not isinstance(path, Path):
        raise TypeError(f"path is a {type(path).__name__}, expected a pathlib.Path")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(_bytes(content))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def hold(descriptor: int) -> bool:
    """Whether the open file or folder is this process's alone, until it is closed or the process ends.

    Where the system has no such locks (Windows, some network file systems) two runs are not noticed.

    Raises:
        ValueError: where it is no descriptor of an open file or folder.
    """
    try:
        os.fstat(descriptor)
    except (TypeError, OverflowError, OSError) as error:
        raise ValueError(f"descriptor is {descriptor!r:.80}, expected that of an open file or folder") from error
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return not isinstance(error, BlockingIOError)
    return True


def sha256(content: bytes) -> str:
    """The SHA-256 of the content in hexadecimal digits.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(_bytes(content)).hexdigest()


def _bytes(content: bytes) -> bytes:
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise TypeError(f"content is a {type(content).__name__}, expected bytes")
    return content
