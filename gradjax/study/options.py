"""The command line's words: which studies, which flags, and the one sentence for what cannot be meant.

tyro reads one frozen dataclass as command line, help and defaults. A study's own ``Config`` joins it where exactly one
study is named, so that its fields are flags too. This module imports tyro: the runner imports it once it is there.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gradjax.study.contract import Study
from gradjax.study.usage import UsageError

SEED_LIMIT = 2**32  # jax.random.key(2**32 + s) equals key(s) without x64: two seeds would give one draw
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Address = Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="")]
Number = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]


@dataclasses.dataclass(frozen=True)
class Options:
    """What every study understands."""

    preset: Literal["quick", "full"] = "quick"
    """quick: seconds, into figures/quick/; full: the committed figures, into figures/."""
    out: Folder = None
    """Folder for all that is written, instead of the preset's own."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """Which devices compute."""
    x64: bool = True
    """Compute in 64 bits (on a TPU only where it is asked for)."""
    resume: bool = True
    """Keep what the very same code, config and machine have already made, whole."""
    replot: Switch = False
    """Compute nothing: draw again from the saved arrays, and check that the recorded claims are what these say."""
    distributed: Switch = False
    """Join the processes that the cluster's scheduler started."""
    coordinator: Address = None
    """Where process 0 listens, if there is no scheduler; with the two flags below."""
    num_processes: Number = None
    """How many processes take part."""
    process_id: Number = None
    """This process's number, from 0."""
    list: Switch = False
    """Name the studies and stop."""
    ledger: Switch = False
    """Say of every published claim whether it holds, from the records in the folder (figures/ by default), and stop."""
    jobs: Annotated[int, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = 0
    """Studies at once, each in its own process; 0: as many as cores and memory allow, one where there is a GPU."""
    quiet: Switch = False
    """Print failing claims and the summary only."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Args:
        studies: to run, in the reading order.
        options: the common flags.
        x64: what was asked for; None where nothing was.
        seed: for every study; None leaves each its own.
        config: of the one study that was named; None where there are several.
        resumes: whether ``--resume`` was said, rather than taken for granted.
    """

    studies: tuple[Study, ...]
    options: Options
    x64: bool | None
    seed: int | None
    config: Any
    resumes: bool = False

    @property
    def joins(self) -> bool:
        """Whether this process is one of several."""
        return self.options.distributed or self.options.coordinator is not None


def parse(argv: Sequence[str], studies: tuple[Study, ...], prog: str, fixed: bool) -> Request:
    """What the arguments ask for.

    Args:
        argv: without the program's name.
        studies: all that may be named.
        prog: what the help calls the program.
        fixed: whether the one study in ``studies`` is meant without being named.

    Raises:
        UsageError: for what cannot be meant. SystemExit(0) after ``--help``.
    """
    named = dict.fromkeys(study.name for study in studies if study.name in argv)
    single = studies[0] if fixed else next((study for study in studies if [study.name] == [*named]), None)
    kind = _options_of(single, _preset(argv), named=not fixed)
    parsed: Any = _tyro(kind, argv, prog, _description(studies, single))
    names = dict.fromkeys(getattr(parsed, "names", ()))
    if unknown := [name for name in names if name not in named]:
        raise UsageError(f"there is no study {', '.join(unknown)}; --list names all of them")
    options = Options(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)})
    chosen = tuple(study for study in studies if fixed or not names or study.name in names)
    x64 = None if {"--x64", "--no-x64"}.isdisjoint(argv) else options.x64
    config = getattr(parsed, "config", None)
    request = Request(chosen, options, x64, getattr(parsed, "seed", None), config, "--resume" in argv)
    _check(request)
    return request


def _options_of(single: Study | None, preset: str, named: bool) -> type:
    """The dataclass that tyro reads: the common flags, and the fields of the one study's Config."""
    names: Any = Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[NAME ...]", help="Studies to run; all where none is named.", help_behavior_hint=""),
    ]
    fields: list[tuple[str, Any, Any]] = [("names", names, ())] if named else []
    if single is None:
        own = "each study's own where not given"
        seed: Any = Annotated[Number, tyro.conf.arg(help=f"Seed of every study, 0 to {SEED_LIMIT - 1}; {own}.")]
        fields.append(("seed", seed, None))
    else:
        module = single.module
        config: Any = Annotated[module.Config, tyro.conf.arg(name="")]
        fields.append(("config", config, module.PRESETS[preset]))
    return dataclasses.make_dataclass("Command", fields, bases=(Options,), frozen=True)


def _tyro(kind: type, argv: Sequence[str], prog: str, description: str) -> Any:
    """tyro's answer, its box of an error reduced to the sentence inside."""
    single = "config" in {field.name for field in dataclasses.fields(kind)}
    hint = "its own fields are flags too" if single else "name exactly one study to set its own fields"
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, prog=prog, description=description, args=list(argv))
    except ValueError as error:  # from the Config's own __post_init__, which tyro lets through
        raise UsageError(str(error)) from error
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{_sentence(errors.getvalue())} ({hint}; {prog} --help shows the flags)") from stop


def _sentence(box: str) -> str:
    """What tyro's error box says: below its title, the words before the next rule (a box of ASCII too)."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    below_title = "\n".join(line.strip(" │") for line in plain.splitlines()[1:])
    parts = re.split(r"^[-─╰╯]{2,}$", below_title, flags=re.MULTILINE)
    words = next((" ".join(part.split()) for part in parts if part.strip()), "these arguments cannot be read")
    return words.rstrip(".")


def _preset(argv: Sequence[str]) -> str:
    """The preset that the arguments name, known before they are parsed: it holds the defaults of the other flags."""
    found = re.findall(r"(?:^|\0)--preset[=\0](quick|full)(?=\0|$)", "\0".join(argv))
    return found[-1] if found else "quick"


def _description(studies: tuple[Study, ...], single: Study | None) -> str:
    if single is not None:
        return f"{single.title}. {single.question}"
    names = ", ".join(study.name for study in studies) or "none yet"
    return (
        "Runs studies, checks their claims, and writes their figures and the page that shows them. "
        f"Name one study to set its own fields too. Studies: {names}."
    )


def _check(request: Request) -> None:
    """Refuses what tyro cannot know to be wrong."""
    options, config = request.options, request.config
    seed = request.seed if config is None else config.seed
    if seed is not None and not 0 <= seed < SEED_LIMIT:
        raise UsageError(f"--seed is {seed}; expected 0 to {SEED_LIMIT - 1}")
    peers = (options.coordinator, options.num_processes, options.process_id)
    if any(peer is None for peer in peers) and any(peer is not None for peer in peers):
        raise UsageError("--coordinator, --num-processes and --process-id go together: give all three or none")
    if options.jobs < 0:
        raise UsageError(f"--jobs is {options.jobs}; expected 0 or more")
    if options.process_id is not None and not 0 <= options.process_id < (options.num_processes or 0):
        raise UsageError(f"--process-id is {options.process_id}; expected 0 to {(options.num_processes or 0) - 1}")
    if options.replot and (request.resumes or request.joins):
        raise UsageError("--replot computes nothing, so it goes with neither --resume nor several processes")
    if config is not None:
        _check_config(request)
    elif options.replot and seed is not None:
        raise UsageError("--replot draws what was recorded: give no --seed with it")


def _check_config(request: Request) -> None:
    module, config, options = request.studies[0].module, request.config, request.options
    if config.plant and config.plant not in module.PLANTS:
        raise UsageError(f"--plant is {config.plant!r}; {request.studies[0].name} knows {', '.join(module.PLANTS)}")
    if options.replot and dataclasses.asdict(config) != dataclasses.asdict(module.PRESETS[options.preset]):
        raise UsageError("--replot draws what was recorded: give no field of the study's config with it")
