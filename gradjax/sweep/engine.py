"""The loop of a sweep: which blocks are missing, what they give, and where it goes."""

import contextlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradjax.arguments import flag, whole
from gradjax.sweep.folder import Folder, opened
from gradjax.sweep.grid import Cells, cells_of, check_cell
from gradjax.sweep.peers import is_writer, told
from gradjax.sweep.program import Program, blocks, compiled, digest_of, keyed, members
from gradjax.sweep.progress import Progress
from gradjax.sweep.trouble import SweepError

SEED_LIMIT = 2**32  # jax.random.key(2**32 + s) equals key(s) without x64: two seeds would give one draw
CHUNKS = 64  # files of a long sweep, about; what a kill loses is at most one of them
CHUNK_MEMORY = 2**28  # bytes of one of them


def sweep(
    cell: Callable[..., Any],
    grid: Mapping[str, Any],
    *,
    seed: int,
    out: str | Path | None = None,
    resume: bool = True,
    progress: bool = True,
    lanes: int | None = None,
    memory: int | None = None,
    compiler_options: Mapping[str, Any] | None = None,
) -> Any:
    """The cell's result at every point of the grid, as arrays whose leading axes are the grid's.

    Cells run side by side under ``vmap``, blocks of them on every device of every process. A cell's key follows from
    the seed and the cell's own values: its numbers are the same, to the last bit, in any grid, order and division, and
    on any number of devices and processes of one kind.

    Args:
        cell: pure function ``cell(key, **point)`` to a pytree of arrays; a point's values are scalars.
        grid: name -> numbers on that axis, no two equal; their product is computed.
        seed: 0 to 2³² − 1.
        out: a folder of this sweep's own, kept with process 0: each finished chunk is a file there, and a second call
            with the same program, grid, seed, device and versions computes only the missing ones. None: memory alone.
        resume: False computes everything again.
        progress: whether process 0 says how far it is, at a terminal or once a minute.
        lanes: cells that run side by side on a device; by default as many as the platform likes and memory allows.
        memory: bytes of a device that they may take; half of the device's where it is known, 1 GiB otherwise.
        compiler_options: of XLA, as in `jax.jit`; a cell that runs for less time than it compiles may ask for less.

    Raises:
        ValueError: for arguments that fit together badly, before anything is computed.
        SweepError: for a folder that cannot be used, another sweep's folder, a foreign file in it, a full disk.
        LostPeer: where another process is gone.

    >>> table = sweep(lambda key, x, y: x + 10 * y, {"x": [1, 2, 3], "y": [0, 1]}, seed=0)
    >>> print(table.tolist())
    [[1, 11], [2, 12], [3, 13]]
    """
    seed = whole("seed", seed, 0, SEED_LIMIT - 1)
    lanes = None if lanes is None else whole("lanes", lanes, 1, 2**20)
    memory = None if memory is None else whole("memory", memory, 1, 2**60)
    resume, progress = flag("resume", resume), flag("progress", progress)
    if not isinstance(compiler_options, Mapping | None):
        raise TypeError(f"compiler_options is {compiler_options!r:.80}; expected a dict from a name to its value")
    cells, one = cells_of(grid), keyed(cell, seed)
    check_cell(cell, grid)
    digest, result = digest_of(one, cells)
    leaves = jax.tree.leaves(result)
    configuration = _configuration(cells, seed, digest, result, dict(compiler_options or {}))
    with contextlib.ExitStack() as stack:
        folder, found = _agreed_folder(stack, out, configuration)
        if found and lanes not in (None, found["lanes"]):
            raise SweepError(f"{out} holds this sweep with lanes={found['lanes']}, not {lanes}: leave lanes out")
        program = compiled(one, cells, found["lanes"] if found else lanes, memory, compiler_options)
        blocks_in_chunk = found["blocks"] if found else _blocks_in_chunk(len(cells), program.lanes, leaves)
        layout = Layout(len(cells), program.lanes, blocks_in_chunk)
        if folder and not found:
            folder.begin({"lanes": layout.lanes, "blocks": layout.blocks})
        with _said_when_interrupted(folder):
            made = _run(program, cells, leaves, layout, folder, resume, progress and is_writer())
    return jax.tree.unflatten(jax.tree.structure(result), [_in_the_grid(leaf, cells) for leaf in made])


@dataclass(frozen=True)
class Layout:
    """How cells are divided: ``lanes`` to a block, ``blocks`` to a chunk."""

    cells: int
    lanes: int
    blocks: int

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.cells // (self.lanes * self.blocks))

    def blocks_of(self, chunk: int) -> range:
        """The chunk's blocks."""
        last = -(-self.cells // self.lanes)
        return range(chunk * self.blocks, min((chunk + 1) * self.blocks, last))

    def cells_of(self, chunk: int) -> slice:
        """The chunk's cells."""
        start = chunk * self.lanes * self.blocks
        return slice(start, min(start + self.lanes * self.blocks, self.cells))


def _run(
    program: Program,
    cells: Cells,
    leaves: Sequence[Any],
    layout: Layout,
    folder: Folder | None,
    resume: bool,
    shown: bool,
) -> list[np.ndarray]:
    """Every leaf for every cell, chunks that are there read, the others computed and written."""
    whole = [np.zeros((len(cells), *leaf.shape), leaf.dtype) for leaf in leaves]
    kept = told(_kept(whole, leaves, layout, folder if resume else None))
    if kept.any():
        whole = [told(leaf) for leaf in whole]
    missing = [int(chunk) for chunk in np.flatnonzero(~kept)]
    wanted = [block for chunk in missing for block in layout.blocks_of(chunk)]
    last = {layout.blocks_of(chunk)[-1]: chunk for chunk in missing}
    done = len(cells) - sum(layout.cells_of(chunk).stop - layout.cells_of(chunk).start for chunk in missing)
    bar = Progress(len(cells), done, shown)
    with contextlib.closing(bar):
        for block, parts in blocks(program, cells, wanted):
            chosen = members(cells, program.lanes, block)
            for leaf, part in zip(whole, parts, strict=True):
                leaf[chosen] = part
            if folder and block in last:
                folder.write(last[block], [leaf[layout.cells_of(last[block])] for leaf in whole])
            bar.advance(layout.lanes)
    return whole


def _kept(whole: list[np.ndarray], leaves: Sequence[Any], layout: Layout, folder: Folder | None) -> np.ndarray:
    """Which chunks the folder has; their cells now stand in ``whole``."""
    kept = np.zeros(layout.chunks, bool)
    if folder is None:
        return kept
    for chunk in range(layout.chunks):
        where = layout.cells_of(chunk)
        if (read := folder.read(chunk, where.stop - where.start, leaves)) is not None:
            kept[chunk] = True
            for leaf, part in zip(whole, read, strict=True):
                leaf[where] = part
    return kept


@contextlib.contextmanager
def _said_when_interrupted(folder: Folder | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        if folder:
            error.add_note(f"The finished chunks of this sweep are whole in {folder.path}; the same call goes on.")
        raise


def _agreed_folder(
    stack: contextlib.ExitStack, out: str | Path | None, configuration: Mapping[str, Any]
) -> tuple[Folder | None, dict[str, int] | None]:
    """The writer's folder, which only the writer holds, and the layout that an earlier run gave it, in every process.

    Raises:
        SweepError: in every process where the writer cannot use its folder: nobody waits for it.
    """
    folder, words, trouble = None, [0, 0], None
    if out is not None and is_writer():
        try:
            folder = stack.enter_context(opened(Path(out), configuration))
            if found := folder.layout():
                words = [found["lanes"], found["blocks"]]
        except SweepError as error:
            words, trouble = [-1, -1], error
    words = told(np.array(words, np.int64)).tolist()
    if words[0] < 0:
        raise trouble or SweepError("process 0 cannot use its folder, and says why")
    return folder, {"lanes": words[0], "blocks": words[1]} if words[0] else None


def _configuration(cells: Cells, seed: int, digest: str, result: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Everything that decides the numbers, as JSON values: not the number of devices, which does not."""
    config: Any = jax.config
    plain = {
        "grid": cells.axes,
        "seed": seed,
        "program": digest,
        "compiler_options": options,
        "result": str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", result)),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "x64": bool(config.jax_enable_x64),
        "matmul_precision": str(config.jax_default_matmul_precision),
        "versions": f"jax {jax.__version__}, jaxlib {importlib.metadata.version('jaxlib')}",
    }
    return json.loads(json.dumps(plain))


def _blocks_in_chunk(cells: int, lanes: int, leaves: Sequence[Any]) -> int:
    block = lanes * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    return max(1, min(-(-cells // (lanes * CHUNKS)), CHUNK_MEMORY // max(block, 1)))


def _in_the_grid(leaf: np.ndarray, cells: Cells) -> np.ndarray:
    """The leaf with the cells where the grid has them."""
    placed = np.empty_like(leaf)
    placed[cells.places] = leaf
    return placed.reshape(*cells.shape, *leaf.shape[1:])
