"""The one program of a sweep: a block of cells under ``vmap`` on each device, no device waiting for another.

A block's width is a constant of the platform, for the width changes the last bits: XLA sums in another order for
another shape. It follows neither the grid nor the number of devices; only where a block would not fit in memory is it
halved.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from gradjax.arguments import arrays
from gradjax.files import sha256
from gradjax.sweep.grid import Cells
from gradjax.sweep.peers import gathered
from gradjax.sweep.trouble import SweepError

LANES = {"cpu": 4}  # a wider block gains little on a core, and a small grid would pay for the padding
WIDE = 128  # on everything else
HOST_MEMORY = 2**30  # bytes that a block may take where the device does not say what it has


@dataclass(frozen=True)
class Program:
    """A cell as it will run.

    Args:
        run: compiled; from (numbers, values) of ``len(devices) * lanes`` cells to their leaves.
        lanes: cells in a block.
        sharding: of its inputs.
    """

    run: Callable
    lanes: int
    sharding: NamedSharding


def keyed(cell: Callable, seed: int) -> Callable:
    """The cell as a function of its number and values: its key is the seed's, folded with the number."""

    def gradjax_cell(number, point):
        key = functools.reduce(jax.random.fold_in, (number[0], number[1]), jax.random.key(seed))
        return arrays("what cell returns", cell(key, **point))

    return gradjax_cell


def digest_of(cell: Callable, cells: Cells) -> tuple[str, Any]:
    """The digest of the program for one cell, and the shapes of its result.

    Raises:
        ValueError: where the result holds no array, or a key. What the cell raises while it is traced goes through.
    """
    point = {name: jax.ShapeDtypeStruct((), array.dtype) for name, array in cells.values.items()}
    lowered = jax.jit(cell).lower(jax.ShapeDtypeStruct((2,), np.uint32), point)
    out = lowered.out_info
    out = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), out)
    leaves = jax.tree.leaves(out)
    if not leaves or any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves):
        raise ValueError(f"cell returns {out}; expected arrays of numbers (jax.random.key_data makes some of a key)")
    return sha256(lowered.as_text().encode()), out


def compiled(
    cell: Callable, cells: Cells, lanes: int | None, memory: int | None, options: Mapping[str, Any] | None = None
) -> Program:
    """The program, its blocks halved until one fits in memory.

    Args:
        cell: ``keyed``.
        cells: whose types the program takes.
        lanes: the width; where it is None, the platform's own, halved until a block fits.
        memory: bytes of a device that a block may take; half of what it has where it is None.
        options: the compiler's.
    """
    devices = np.array(jax.devices())
    mesh = Mesh(devices, ("cells",), axis_types=(AxisType.Auto,))
    # Not jit's own partitioner: it may make devices wait for each other, which on a CPU can last for ever.
    spread = jax.shard_map(jax.vmap(cell), mesh=mesh, in_specs=P("cells"), out_specs=P("cells"), check_vma=False)
    sharding = NamedSharding(mesh, P("cells"))
    width = lanes or LANES.get(devices[0].platform, WIDE)
    limit = memory or _half_of(jax.local_devices()[0])

    def wide(array: np.ndarray) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((len(devices) * width, *array.shape[1:]), array.dtype, sharding=sharding)

    spread = jax.jit(spread, compiler_options=dict(options or {}))
    while True:
        run = spread.lower(*jax.tree.map(wide, (cells.numbers, cells.values))).compile()
        if lanes is not None or width == 1 or _bytes(run) <= limit:
            return Program(run, width, sharding)
        width //= 2


def blocks(program: Program, cells: Cells, wanted: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Each wanted block's number with the leaves of its cells, in the order wanted.

    The next blocks are under way while the last ones are looked at.

    Raises:
        SweepError: where a block does not fit in the device's memory after all.
    """
    count = program.sharding.mesh.size
    rounds = [list(wanted[start : start + count]) for start in range(0, len(wanted), count)]
    try:
        ahead = _started(program, cells, rounds[0], count) if rounds else None
        for number, now in enumerate(rounds):
            waiting, ahead = ahead, None
            if number + 1 < len(rounds):
                ahead = _started(program, cells, rounds[number + 1], count)
            leaves = gathered(jax.tree.leaves(waiting))
            for place, block in enumerate(now):
                yield block, [leaf[place * program.lanes : (place + 1) * program.lanes] for leaf in leaves]
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise SweepError(
            f"a block of {program.lanes} cells does not fit in a device's memory; pass lanes={program.lanes // 2 or 1}"
        ) from error


def members(cells: Cells, lanes: int, block: int) -> np.ndarray:
    """The block's cells; the last cell again where the grid ends within the block."""
    return np.minimum(np.arange(block * lanes, (block + 1) * lanes), len(cells) - 1)


def _started(program: Program, cells: Cells, now: list[int], count: int) -> Any:
    filled = now + now[-1:] * (count - len(now))
    chosen = np.concatenate([members(cells, program.lanes, block) for block in filled])

    def placed(array: np.ndarray) -> jax.Array:
        host = array[chosen]
        return jax.make_array_from_callback(host.shape, program.sharding, lambda index: host[index])

    return program.run(*jax.tree.map(placed, (cells.numbers, cells.values)))


def _half_of(device: Any) -> int:
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit", 2 * HOST_MEMORY) // 2


def _bytes(run: Any) -> int:
    """What one device holds while the program runs: two rounds of arguments and results, one of temporaries."""
    sizes = run.memory_analysis()
    if sizes is None:
        return 0
    return sizes.temp_size_in_bytes + 2 * (sizes.argument_size_in_bytes + sizes.output_size_in_bytes)
