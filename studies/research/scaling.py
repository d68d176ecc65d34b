"""A sweep does the same work on any number of devices, and gives the same bits

How much faster does a grid of deep networks run on two, four or eight devices than on one, and how far is that from the
plain matrix products that are its floor?

`gradjax.sweep` gives every device its own block of cells, and no device waits for another: the program of D devices is
the program of one, D times. So throughput T(D) = D · T(1) · e(D), where the efficiency e can be lost only to what the
devices share: on one machine its cores, its memory's bandwidth and the thread that hands out blocks and keeps results.
A cell here multiplies random square layers onto an activation; its floor is the products alone, without random draws.

Prediction: 0 collective operations in the compiled program; the same bytes from 1, 2, 4 and 8 devices; the operations
of a cell, as XLA counts them, do not depend on the number of devices, and most of them are its matrix products.
Control: a program that adds one number over all devices does have a collective operation.

On paper, a TPU pod slice of N chips. A v5e does P = 197 Tflop/s in bfloat16, P / 6 = 33 in the six passes of
`highest` that Jacobians need, and, by our estimate, 6 on the units that draw normals, some 100 operations each. A
cell of depth L, width n and b rows takes 2 L b n² operations for its products and draws L n² normals: below b = 275
rows the draws are the limit. Nothing goes between chips; a block's results (kilobytes a cell) go by the hosts'
network to process 0: at 10 GB/s a thousand chips may each return 10 MB a second. The limits are (1) process 0, which
syncs a file for each chunk (5 ms: 200 a second); (2) the slowest block of each round, where some cells stop early;
(3) the last round: C cells in blocks of 128 fill at most C / 128 chips.

Here: virtual CPU devices, as many as there are cores, each count in a process of its own; on the device that runs the
study, blocks of 1 to 256 cells. Times are the best of some rounds; no claim rests on them.

Reference: Amdahl (1967), Validity of the single processor approach, AFIPS 30; jax.shard_map's documentation (2025);
Google Cloud's TPU v5e system architecture (2023).
"""

import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import gradjax.study
from gradjax.study import Claim, plotting
from gradjax.sweep.grid import cells_of
from gradjax.sweep.program import blocks, compiled, keyed

ORDER = 95
TIMEOUT = 300  # seconds: devices that share cores can wait for each other
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


@dataclasses.dataclass(frozen=True)
class Config:
    """How large cells are, and on how much they run."""

    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Counts of virtual CPU devices; those beyond the machine's cores are left out."""
    lanes: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Cells in a block, on the device that runs the study."""
    cells: int = 256
    """Cells in the grid."""
    depth: int = 32
    """Layers of a cell."""
    width: int = 64
    """Units a layer; the activation has as many rows."""
    rounds: int = 3
    """Times that each timing is repeated; the best counts."""
    seed: int = 0
    """Of the sweep."""
    plant: str = ""
    """A deliberate fault: see PLANTS."""


PRESETS = {"quick": Config(devices=(1, 2), lanes=(1, 8), cells=48, depth=16, rounds=2), "full": Config()}
PLANTS = {
    "devices talk": ("same bits", "collective operations"),
    "more work": ("operations of a cell", "above the floor"),
    "silent control": ("control: a collective operation is seen", "the floor"),
}
CHILD = "import runpy, sys; runpy.run_path(sys.argv[1])['child'](int(sys.argv[2]), sys.argv[3])"


def compute(config: Config) -> dict[str, np.ndarray]:
    """Children on virtual CPU devices, then blocks of several widths on this process's device."""
    counts = [count for count in config.devices if count <= max(2, os.cpu_count() or 1)]
    children = [_in_a_process(config, count) for count in gradjax.study.progress(counts, "devices")]
    rows = [_timed_block(config, lanes) for lanes in gradjax.study.progress(config.lanes, "blocks")]
    return {
        "devices": np.array(counts),
        "digests": np.array([found["digest"] for found in children]),
        "collectives": np.array([found["collectives"] for found in children]),
        "control": np.array(max(found["control"] for found in children)),
        "seconds_wall": np.array([found["wall"] for found in children]) / config.cells,
        "operations": np.array([found["operations"] for found in children]),
        "floor": np.array([found["floor"] for found in children]),
        "lanes": np.array(config.lanes),
        "seconds_lanes": np.array(rows),
    }


def child(count: int, plain: str) -> None:
    """Prints what the sweep takes in this process, whose CPU shows so many devices."""
    config = Config(**json.loads(plain))
    more = 3 if config.plant == "more work" and count > 1 else 0
    cells, program = _program(config, functools.partial(_cell, more), None)
    _, products = _program(config, _products, None)
    found = [leaf for _, (leaf,) in blocks(program, cells, _all(cells, program))]
    words = {
        "digest": hashlib.sha256(np.concatenate(found).tobytes()).hexdigest(),
        "collectives": _collectives(program.run),
        "control": _collectives(_talking(config, program)),
        "operations": _operations(program),
        "floor": _operations(products),
        "wall": _timed(config, lambda: list(blocks(program, cells, _all(cells, program)))),
    }
    print(json.dumps(words))


def _in_a_process(config: Config, count: int) -> dict:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(count)}
    environment["JAX_ENABLE_X64"] = str(jnp.ones(()).dtype == jnp.float64)
    environment.setdefault("NPROC", "16")  # devices that share few threads can wait for each other for ever
    command = [sys.executable, "-c", CHILD, __file__, str(count), json.dumps(dataclasses.asdict(config))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT, check=True)
    return json.loads(done.stdout)


def _cell(more: int, config: Config, key, gain):
    """ln of the factor by which each random layer stretches what the layers before it have made of the identity."""

    def layer(h, key):
        weights = gain * jax.random.normal(key, (config.width, config.width)) / config.width**0.5
        for _ in range(1 + more):
            h = weights @ h
        norm = jnp.linalg.norm(h)
        return h / norm, jnp.log(norm)

    logs = jax.lax.scan(layer, jnp.eye(config.width), jax.random.split(key, config.depth))[1]
    return logs + jax.lax.psum(gain, "cells") if config.plant == "devices talk" else logs


def _products(config: Config, key, gain):
    """The floor: a cell's matrix products and nothing else."""
    factor = gain * jnp.eye(config.width) + jax.random.uniform(key, (config.width, 1)) / config.width
    count = {"more work": 8, "silent control": 0}.get(config.plant, 1)

    def layer(_, h):
        for _ in range(count):
            h = jnp.clip(factor @ h, -1.0, 1.0)
        return h

    return jax.lax.fori_loop(0, config.depth, layer, jnp.eye(config.width))[0, :]


def _program(config: Config, cell, lanes: int | None):
    cells = cells_of({"gain": np.linspace(0.5, 1.5, config.cells)})
    return cells, compiled(keyed(functools.partial(cell, config), config.seed), cells, lanes, None)


def _all(cells, program) -> range:
    return range(-(-len(cells) // program.lanes))


def _talking(config: Config, program):
    """A program that differs from a sweep's in that its devices add up a number."""
    mesh, spec = program.sharding.mesh, program.sharding.spec

    def total(x):
        return x if config.plant == "silent control" else jax.lax.psum(x, "cells")

    spread = jax.shard_map(total, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    return jax.jit(spread).lower(jnp.ones(mesh.size)).compile()


def _collectives(program) -> int:
    return sum(program.as_text().count(f"{name}(") for name in COLLECTIVES)


def _operations(program) -> float:
    """Of one cell; of a loop XLA counts one turn, which here is one layer."""
    return program.run.cost_analysis()["flops"] / program.lanes


def _timed(config: Config, run) -> float:
    """Seconds of one run, the best of the rounds."""
    run()
    found = []
    for _ in range(config.rounds):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def _timed_block(config: Config, lanes: int) -> list[float]:
    """Seconds a cell takes in a block of this width: of the sweep and of its floor."""
    found = []
    for cell in (functools.partial(_cell, 0), _products):
        cells, program = _program(dataclasses.replace(config, plant="", cells=lanes), cell, lanes)
        found.append(_timed(config, lambda: list(blocks(program, cells, [0]))) / lanes)  # noqa: B023
    return found


def claims(config: Config, result: dict[str, np.ndarray]) -> list[Claim]:
    """A hundredth is left for what XLA counts once a block rather than once a cell."""
    counts, work = ", ".join(map(str, result["devices"])), result["operations"]
    alone = "gradjax.sweep: a block's program does not know how many devices there are"
    part = "a product of n³ pairs, 2 operations each, beside n² draws of some 100: 1 + 50 / n, and as much for the rest"
    rows = (
        ("same bits", float(len(set(result["digests"].tolist()))), 1.0, alone, "="),
        ("collective operations", float(result["collectives"].max()), 0.0, "no device waits for another", "="),
        ("control: a collective operation is seen", float(result["control"]), 1.0, "control: psum is one", ">="),
        ("operations of a cell", float(work.max() / work.min()), 1.0, alone, "="),
        ("the floor", float((work / result["floor"]).max()), 1 + 100 / config.width, part, "<="),
        ("above the floor", float((work / result["floor"]).min()), 1.0, "its products are part of a cell", ">="),
    )
    words = (
        f"Sweeps on {counts} devices give {{measured:.0f}} result, to the last bit",
        "The program of all devices holds {measured:.0f} operations between them",
        "Where devices add up one number, {measured:.0f} such operation is counted",
        f"On {counts} devices a cell takes the same number of operations, to a factor of {{measured:.3f}}",
        "A cell takes {measured:.2f} times the operations of its matrix products",
        "It takes no less: {measured:.2f} times",
    )
    return [
        Claim(name, measured, expected, 0.01, source, relation, statement=said)
        for (name, measured, expected, source, relation), said in zip(rows, words, strict=True)
    ]


def plot(config: Config, result: dict[str, np.ndarray]):
    """Cells a second over devices, beside perfect scaling, and over the width of a block, beside the floor."""
    figure, axes = plotting.figure(1, 2, "A sweep's throughput over devices and over the cells that run side by side")
    count, rate = result["devices"], 1 / result["seconds_wall"]
    left, right = axes[0]
    shared = f"Devices that share cores: efficiency {rate[-1] / rate[0] / count[-1] * count[0]:.2f} on {count[-1]}"
    plotting.theory(left, count, rate[0] * count, "as many times one device", 0)
    plotting.measured(left, count, rate[None], "measured", 0)
    left.set(xlabel="virtual CPU devices", ylabel="cells per second", title=shared)
    left.set_xticks(count)
    left.set_ylim(bottom=0)
    for index, label in enumerate(("sweep", "its matrix products alone")):
        plotting.measured(right, result["lanes"], 1 / result["seconds_lanes"][None, :, index], label, index)
    right.set(xscale="log", yscale="log", xlabel="cells in a block", ylabel="cells per second", title="One device")
    for ax in (left, right):
        ax.legend()
    return figure


if __name__ == "__main__":
    raise SystemExit(gradjax.study.main(__file__))
