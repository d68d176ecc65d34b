"""A sweep's folder: ``sweep.json`` says which sweep it is, each chunk of cells is one file, whole or not there.

One process at a time has the folder; the system takes the lock back from a process that is killed.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradjax.files import hold, sha256, write_whole
from gradjax.sweep.trouble import SweepError

FORMAT = "gradjax sweep 1"
MANIFEST = "sweep.json"


class Folder:
    """The folder of one sweep, which ``opened`` has locked.

    Args:
        path: where it is.
        configuration: everything that decides the numbers, as JSON values.
    """

    def __init__(self, path: Path, configuration: Mapping[str, Any]):
        self.path, self.configuration = path, dict(configuration)
        self.identity = sha256(json.dumps(self.configuration, sort_keys=True).encode())

    def layout(self) -> dict[str, int] | None:
        """How an earlier run divided this very sweep; None where the folder holds none.

        Raises:
            SweepError: where it holds another one, or something else under that name.
        """
        path = self.path / MANIFEST
        if not path.exists():
            return None
        found = _manifest(path)
        theirs = found["configuration"]
        if found["identity"] == self.identity:
            return found["layout"]
        keys = self.configuration.keys() | theirs.keys()
        other = sorted(key for key in keys if self.configuration.get(key) != theirs.get(key))
        raise SweepError(
            f"{self.path} holds another sweep: {', '.join(other)} differ there; give another folder as out"
        )

    def begin(self, layout: Mapping[str, int]) -> None:
        """Writes which sweep this folder now holds."""
        manifest = {
            "format": FORMAT,
            "identity": self.identity,
            "layout": dict(layout),
            "configuration": self.configuration,
        }
        self._write(self.path / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())

    def chunk(self, number: int) -> Path:
        """The file of this chunk."""
        return self.path / f"chunk-{number:05d}.npz"

    def write(self, number: int, leaves: Sequence[np.ndarray]) -> None:
        """Writes a chunk.

        Raises:
            SweepError: where the system does not let it.
        """
        buffer = io.BytesIO()
        named = {f"leaf{i}": leaf.view(_plain(leaf.dtype)) for i, leaf in enumerate(leaves)}
        # uncompressed: another zlib would give other bytes
        np.savez(buffer, allow_pickle=False, sweep=np.array(self.identity), chunk=np.array(number), **named)  # pyright: ignore[reportArgumentType]
        self._write(self.chunk(number), buffer.getvalue())

    def read(self, number: int, cells: int, leaves: Sequence[jax.ShapeDtypeStruct]) -> list[np.ndarray] | None:
        """The chunk's leaves for so many cells of this result; None where there is no such file.

        Raises:
            SweepError: where the file was not written whole by this sweep. It stays, for it may be somebody's.
        """
        path = self.chunk(number)
        try:
            # NumPy opens a path itself, and leaves it open where the content is no archive
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                good = file["sweep"] == self.identity and file["chunk"] == number
                found = [file[f"leaf{i}"] for i in range(len(leaves))]
        except FileNotFoundError:
            return None
        except Exception as error:  # a foreign file may raise anything: zlib, struct, zipfile and NumPy read it
            raise SweepError(f"{path} cannot be read as a chunk ({error}); remove it to have it made again") from error
        wanted = [((cells, *leaf.shape), _plain(np.dtype(leaf.dtype))) for leaf in leaves]
        if not good or [(leaf.shape, leaf.dtype) for leaf in found] != wanted:
            raise SweepError(f"{path} is no chunk of this sweep; remove it to have it made, or give another folder")
        return [leaf.view(shape.dtype) for leaf, shape in zip(found, leaves, strict=True)]

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_whole(path, content)
        except OSError as error:
            raise SweepError(
                f"{path} could not be written ({error.strerror or error}); the chunks before it are whole, and the "
                "same call goes on from them"
            ) from error


@contextlib.contextmanager
def opened(path: Path, configuration: Mapping[str, Any]) -> Iterator[Folder]:
    """The folder, made where it is missing, and held against a second run while the context lasts.

    Raises:
        SweepError: where it cannot be written to, or another run has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = open(path / ".lock", "ab")  # noqa: SIM115
    except OSError as error:
        raise SweepError(f"{path} is no folder that can be written to ({error.strerror or error})") from error
    with lock:
        if not hold(lock.fileno()):
            raise SweepError(f"another run is writing into {path}; wait for it, or give another folder as out")
        for leftover in path.glob(".*.tmp"):  # of a run that was killed while it wrote
            leftover.unlink()
        yield Folder(path, configuration)


def _manifest(path: Path) -> dict[str, Any]:
    """What a sweep wrote about itself."""
    found: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_bytes())
    parts = {"identity": str, "layout": dict, "configuration": dict}
    good = isinstance(found, dict) and found.get("format") == FORMAT
    if not good or not all(isinstance(found.get(name), kind) for name, kind in parts.items()):
        raise SweepError(f"{path} is not what a sweep writes; give another folder as out, or remove that file")
    layout = found["layout"]
    if not all(type(layout.get(name)) is int and 0 < layout[name] <= 2**20 for name in ("lanes", "blocks")):
        raise SweepError(f"{path} was edited: its layout is {layout!r:.80}; remove the folder's files")
    return found


def _plain(dtype: np.dtype) -> np.dtype:
    """A type that a file holds without pickle: bfloat16 and its like as bytes."""
    return dtype if dtype.kind in "biufc" else np.dtype(f"u{dtype.itemsize}")
