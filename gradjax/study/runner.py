"""The runner: from the command line's words to studies run, claims printed, the page written and an exit status.

0: every claim holds, or is declared not to; 1: a claim does not hold or a study failed; 2: bad arguments; 130: stopped.
"""

import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradjax.study.claims import Claim
from gradjax.study.contract import Study, discover
from gradjax.study.files import held_folder, write_whole
from gradjax.study.ledger import ledger_text
from gradjax.study.outcome import Outcome
from gradjax.study.page import build_page
from gradjax.study.progressbar import quiet
from gradjax.study.records import read_record
from gradjax.study.usage import RecordError, UnwrittenError, UsageError, require_extras
from gradjax.sweep.trouble import LostPeer

if TYPE_CHECKING:
    from gradjax.study.options import Request

COMMITTED = "python -m studies --preset full"


def main(path: str | Path, argv: Sequence[str] | None = None) -> int:
    """Runs the command line of one study, or of a folder of studies, and gives its exit status.

    Args:
        path: a study's own file, or the folder that holds ``article/`` and ``research/``.
        argv: the arguments; those of this process by default.
    """
    path = Path(path).resolve()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # a title may hold letters that an old terminal has not
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        require_extras()
        return _run(path, list(sys.argv[1:] if argv is None else argv))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UnwrittenError as error:  # no study after it could leave anything
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted: what is finished is whole and stays; the same command does the rest.", file=sys.stderr)
        return 130
    except LostPeer as error:
        print(f"error: {error}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # an orderly end would wait for the process that is gone
    except SystemExit as stop:  # --help
        return int(stop.code or 0)


def _run(path: Path, argv: list[str]) -> int:
    from gradjax.study.options import parse

    fixed = path.is_file()
    folder = path.parent.parent if fixed else path
    studies = (Study(path),) if fixed else discover(folder)
    prog = f"python {os.path.relpath(path)}" if fixed else f"python -m {path.name}"
    try:
        request = parse(argv, studies, prog, fixed)
    except (UsageError, SystemExit):
        raise
    except Exception:
        traceback.print_exc()
        print("failed: the study that was named cannot be loaded", file=sys.stderr)
        return 1
    if request.options.list:
        return _list(studies)
    if request.options.ledger:
        return _ledger(request.options.out or folder.parent / "figures")
    if not request.studies:
        raise UsageError(f"there are no studies in {folder}")
    return _run_all(request, folder.parent)


def _list(studies: Sequence[Study]) -> int:
    width = max((len(study.name) for study in studies), default=0)
    for study in studies:
        print(f"{study.part:<9}{study.name:<{width}}  {study.title}")
    return 0


def _ledger(folder: Path) -> int:
    """Prints the ledger of the records in the folder; exit status 0, for what does not hold is a finding."""
    records = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(RecordError):  # another JSON file
            records.append(read_record(path))
    if not records:
        raise UsageError(
            f"there are no records in {_shown(folder)}; run the studies first, or give their folder with --out"
        )
    print(ledger_text(records))
    return 0


def _run_all(request: "Request", root: Path) -> int:
    from gradjax.study import platforms, side

    options = request.options
    folder = options.out or root / "figures" / ("quick" if options.preset == "quick" else "")
    count = side.places(request, platforms.may_be_accelerated(options.platform))
    if request.joins:
        platforms.join(options.coordinator, options.num_processes, options.process_id)
    if count == 1:  # otherwise this process starts no backend: the studies have their own
        platforms.start(options.platform, request.x64)
    writes = count > 1 or platforms.is_writer()
    say = print if writes else _say_nothing
    loud = _say_nothing if options.quiet else say
    began = time.monotonic()
    outcomes = []
    runs = one_by_one(request, folder, writes, loud) if count == 1 else side.outcomes(request, folder, count, loud)
    held = held_folder(folder) if writes else contextlib.nullcontext()
    with held, quiet(options.quiet or not writes), contextlib.closing(runs):
        for outcome in runs:
            outcomes.append(outcome)
            if writes:
                write_whole(folder / "index.html", build_page(folder).encode())
    outcomes.sort(key=lambda outcome: outcome.study.place)
    _summarize(outcomes, request, folder, time.monotonic() - began, say)
    return 0 if all(outcome.good for outcome in outcomes) else 1


def one_by_one(request: "Request", folder: Path, writes: bool, loud: Callable[..., None]) -> Generator[Outcome]:
    """Runs the studies in this process and says their claims; a study's failure leaves the others theirs."""
    for number, study in enumerate(request.studies, 1):
        loud(f"[{number}/{len(request.studies)}] {study.name}: {study.title}", flush=True)
        began = time.monotonic()
        try:
            claims, how = _claims_of(study, request, folder, writes)
            outcome = Outcome.finished(study, claims, how)
        except LostPeer:  # nothing after it can be computed either
            raise
        except (Exception, SystemExit) as error:
            outcome = Outcome.failed(study, error)
        outcome.report(time.monotonic() - began, loud)
        yield outcome


def _claims_of(study: Study, request: "Request", folder: Path, writes: bool) -> tuple[list[Claim], str]:
    from gradjax.study import outputs, platforms, sweeps

    options = request.options
    config = study.module.PRESETS[options.preset] if request.config is None else request.config
    if request.seed is not None:
        config = dataclasses.replace(config, seed=request.seed)
    run = outputs.Run(study, options.preset, config, folder)
    if options.replot:
        return outputs.replotted(run), "drawn again"
    environment = platforms.environment()
    if options.resume:
        claims = outputs.kept(run, environment) if writes else None
        if platforms.agreed(claims is not None):
            return claims or [], "kept from before"
    wanted = {"source": study.source, "config": outputs.plain_config(config), "x64": environment["x64"]}
    with sweeps.kept_beside(folder, study.name, wanted):
        return outputs.computed(run, environment, writes), "done"


def _summarize(outcomes: list[Outcome], request: "Request", folder: Path, seconds: float, say: Any) -> None:
    claims = [claim for outcome in outcomes for claim in outcome.claims]
    failed = [outcome for outcome in outcomes if outcome.error]
    held, known = sum(claim.holds for claim in claims), sum(claim.passes and not claim.holds for claim in claims)
    declared = f" ({known} are declared not to)" if known else ""
    finished = len(outcomes) - len(failed)
    done = f"{finished} of {len(outcomes)} studies finished"
    say(f"{held} of {len(claims)} claims hold{declared}, {done}, {seconds:.1f} s.")
    say(f"The page: {_shown(folder / 'index.html')}")
    if request.options.preset == "quick" and request.options.out is None:
        say(f"The committed figures are made by: {COMMITTED}")
    for outcome in outcomes:
        for claim in outcome.claims:
            if not claim.holds:
                say(f"{outcome.study.name} {claim.sentence}")
    for outcome in failed:
        if outcome.trace:
            print(f"\n{outcome.trace}", end="", file=sys.stderr)
    for outcome in failed:
        earlier = (folder / f"{outcome.study.name}.json").exists()
        left = " (its earlier files stay, and the page shows them)" if earlier else ""
        print(f"failed: {outcome.study.name}: {outcome.error}{left}", file=sys.stderr)


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _say_nothing(*_: Any, **__: Any) -> None:
    """What a process says that does not write."""
