"""A small sweep in a process of its own: ``python tests/sweep_cases.py out=FOLDER [port=… process=… processes=…]``.

Prints the digest of its result: random draws, a product with shared weights, LAPACK, bfloat16 and integers are in it.
"""

import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

GRID = {"tilt": [0.0, 0.125, 0.5], "gain": [0.5, 1.0, 1.5, 2.0, 3.0]}
WIDTH = 17


def deep(depth):
    def cell(key, gain, tilt):
        shared = jax.random.normal(jax.random.key(1), (WIDTH, WIDTH))
        start = jax.random.normal(jax.random.key(2), (5, WIDTH))

        def layer(h, key):
            weights = gain * jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5
            return jnp.tanh(h @ weights + tilt * (h @ shared)), jnp.linalg.norm(h)

        h, norms = jax.lax.scan(layer, start, jax.random.split(key, depth))
        r = jnp.linalg.qr(h.T)[1]
        return {"h": h, "norms": norms, "r": r, "low": h[0].astype(jnp.bfloat16), "count": jnp.sum(h > 0)}

    return cell


def digest(result):
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in jax.tree.leaves(result))).hexdigest()


def start(folder, *, devices=1, **words):
    """The job under way in another process, with so many virtual CPU devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "NPROC": "16"}
    given = [f"{name}={value}" for name, value in {"out": folder, **words}.items()]
    command = [sys.executable, "-W", "error", str(Path(__file__).resolve()), *given]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, timeout=120):
    """What the process said and wrote to its error stream; it is killed where it outlives the timeout."""
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.kill()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def slow_disk(pause):
    """Every file now waits before and after it is synced and renamed: no machine is faster than that."""

    def waiting(call):
        def wait(*given):
            time.sleep(pause)
            call(*given)
            time.sleep(pause)

        return wait

    os.fsync, os.replace = waiting(os.fsync), waiting(os.replace)


def main(out, port="", process="0", processes="2", depth="6", tilts="", seed="3", pause=""):
    if pause:
        slow_disk(float(pause))
    if port:
        from gradjax.study import platforms

        platforms.PATIENCE = 8
        platforms.join(f"127.0.0.1:{port}", int(processes), int(process))
    from gradjax.sweep import sweep

    grid = GRID | ({"tilt": [i / 64 for i in range(int(tilts))]} if tilts else {})
    print("started", flush=True)
    print(jax.device_count(), digest(sweep(deep(int(depth)), grid, seed=int(seed), out=out or None)), flush=True)


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
