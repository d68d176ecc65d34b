"""The process's device, precision and peers, and the facts about them that a record keeps.

A study's command line owns its process, so it may set jax's configuration; nothing else in gradjax does.
"""

import functools
import importlib.metadata
import importlib.util
import os
import platform as host
from pathlib import Path
from typing import Any

import jax

import gradjax
from gradjax.study.files import sha256
from gradjax.study.usage import UsageError

THREADS = 16  # of XLA on a CPU, at least: with two, programs that draw orthogonal weights wait for each other for ever
PATIENCE = 30  # seconds: a process that has not been heard of for so long is lost, and ends the others
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "matplotlib", "scikit-learn")


def start(platform: str, x64: bool | None) -> None:
    """Starts the backend of this platform, in 64 bits unless ``x64`` is False or it is None on a TPU.

    Args:
        platform: ``auto``, ``cpu``, ``gpu`` or ``tpu``.
        x64: what was asked for; None where nothing was.

    Raises:
        UsageError: where this machine has no such platform.
    """
    if platform != "auto":
        # Not "gpu": jax reads it as CUDA and ROCm, and fails where one of them is missing. Empty leaves the choice to
        # jax, and overrules a JAX_PLATFORMS from the environment.
        jax.config.update("jax_platforms", "cpu" if platform == "cpu" else "")
    jax.config.update("jax_enable_x64", platform != "tpu" if x64 is None else x64)
    if (os.cpu_count() or 1) < THREADS:
        os.environ.setdefault("NPROC", str(THREADS))  # read when the backend starts
    try:
        found = jax.default_backend()
    except (AssertionError, RuntimeError) as error:  # a bare AssertionError where JAX_PLATFORMS=cuda meets no GPU
        words = " ".join(str(error).split()) or "JAX_PLATFORMS names a platform that is not there"
        raise UsageError(f"--platform {platform}: no backend starts on this machine ({words:.200})") from error
    if platform not in ("auto", found):
        raise UsageError(f"--platform {platform}: this machine offers jax only {found}; use --platform {found} or auto")
    if x64 is None and found == "tpu":
        jax.config.update("jax_enable_x64", False)


def may_be_accelerated(platform: str) -> bool:
    """Whether jax may find more than a CPU, told without starting a backend, which would take a GPU's memory."""
    asked = os.environ.get("JAX_PLATFORMS", "") if platform == "auto" else platform
    if asked == "cpu":
        return False
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or importlib.util.find_spec("libtpu") is not None


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the other processes of this run, before any device is touched; all None: as the cluster's scheduler says.

    Raises:
        UsageError: where the coordinator cannot be reached or no scheduler is recognised.
    """
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=PATIENCE,
            shutdown_timeout_seconds=PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        raise UsageError(
            f"the processes could not be joined ({words:.200}); give --coordinator HOST:PORT to each"
        ) from error


def is_writer() -> bool:
    """Whether this process is the one that prints and writes files."""
    return jax.process_index() == 0


def agreed(decision: bool) -> bool:
    """The writer's decision, in every process: its files need not be visible to the others."""
    if jax.process_count() == 1:
        return decision
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.asarray(decision)))


def environment() -> dict[str, Any]:
    """What a result depends on besides its config: versions, device and precision."""
    config: Any = jax.config
    x64, precision = bool(config.jax_enable_x64), config.jax_default_matmul_precision
    return {
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "x64": x64,
        "dtype": "float64" if x64 else "float32",
        "matmul_precision": "default" if precision is None else str(precision),
        "versions": dict(_versions()),
    }


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    """gradjax by its version and the digest of its sources: a working copy changes without its version."""
    folder = Path(gradjax.__file__).parent
    sources = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))
    own = ("gradjax", f"{_version('gradjax')} ({sha256(sources)[:12]})")
    others = ((name, _version(name)) for name in PACKAGES)
    return (own, ("python", host.python_version()), *others)


def _version(package: str) -> str:
    """The installed version; a working copy may run without being installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
