"""Studies side by side: a process for each, as many at once as there are cores and memory for.

A process of its own also means that a study which dies, or takes all memory, takes no other with it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gradjax.study.contract import Study
from gradjax.study.outcome import Outcome
from gradjax.study.progressbar import quiet

if TYPE_CHECKING:
    from gradjax.study.options import Request

MEMORY = 3 * 2**30  # bytes that a study may need: the heaviest full preset has about that
CHILD = "import sys; from gradjax.study.side import child; sys.exit(child(*sys.argv[1:]))"
POLL = 0.05  # seconds


def places(request: "Request", accelerated: bool) -> int:
    """How many studies of this request run at once.

    Args:
        request: what was asked for.
        accelerated: whether there may be a device that one process takes for itself.
    """
    options = request.options
    if len(request.studies) < 2 or request.joins or options.replot:
        return 1
    if options.jobs:
        return min(options.jobs, len(request.studies))
    if accelerated:
        return 1
    return max(1, min(len(request.studies), os.cpu_count() or 1, _free_memory() // MEMORY))


def outcomes(request: "Request", folder: Path, count: int, loud: Callable[..., None]) -> Generator[Outcome]:
    """Each study's outcome, its claims said, in the order in which they finish.

    Args:
        request: names the studies and the flags that all of them get.
        folder: for the files.
        count: processes at once.
        loud: prints.
    """
    waiting = list(request.studies)
    running: dict[subprocess.Popen, tuple[Study, float]] = {}
    done = 0
    try:
        while waiting or running:
            while waiting and len(running) < count:
                study = waiting.pop(0)
                running[_started(study, request, folder)] = (study, time.monotonic())
            for process in [process for process in running if process.poll() is not None]:
                study, began = running.pop(process)
                done += 1
                loud(f"[{done}/{len(request.studies)}] {study.name}: {study.title}")
                outcome = _read(study, process)
                outcome.report(time.monotonic() - began, loud)
                yield outcome
            time.sleep(POLL)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate()


def child(path: str, out: str, *flags: str) -> int:
    """One study in this process: its outcome goes to standard output in JSON, and nothing else."""
    from gradjax.study import platforms, runner
    from gradjax.study.options import parse

    study, outcome = Study(Path(path)), None
    try:
        with contextlib.redirect_stdout(sys.stderr), quiet():
            request = parse(flags, (study,), study.name, fixed=True)
            platforms.start(request.options.platform, request.x64)
            outcome = next(runner.one_by_one(request, Path(out), True, lambda *_, **__: None))
    except Exception as error:
        outcome = Outcome.failed(study, error)
    print(json.dumps(outcome.plain()), flush=True)
    return 0


def _started(study: Study, request: "Request", folder: Path) -> subprocess.Popen:
    options = request.options
    flags = ["--preset", options.preset, "--platform", options.platform]
    flags += ["--resume" if options.resume else "--no-resume"]
    flags += [] if request.x64 is None else ["--x64" if request.x64 else "--no-x64"]
    flags += [] if request.seed is None else ["--seed", str(request.seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    # threads of BLAS in several processes wait for each other: a decomposition of 10 ms then takes a second
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    command = [sys.executable, "-c", CHILD, str(study.path), str(folder), *flags]
    with _ctrl_c_waits():
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """A process started meanwhile never gets Ctrl-C: this one does and ends it, where a child that still loads its
    modules would answer with a traceback. Systems without signal masks do without."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read(study: Study, process: subprocess.Popen) -> Outcome:
    said = process.communicate()[0]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return Outcome.from_plain(study, json.loads(said))
    status = process.returncode
    ending = f"signal {-status} (out of memory?)" if status < 0 else f"status {status}"
    return Outcome(study, error=f"ChildProcessError: its process ended with {ending}")


def _free_memory() -> int:
    """Bytes that are free; plenty where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return sys.maxsize
