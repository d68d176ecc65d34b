"""One study's run from config to files: computed, kept from before, or drawn again from its saved arrays."""

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from gradjax.study import arrays, plotting, tables
from gradjax.study.claims import Claim, check_claims
from gradjax.study.contract import Study
from gradjax.study.files import sha256, write_whole
from gradjax.study.reach import same_computation
from gradjax.study.records import (
    claims_differ,
    config_from,
    is_sealed,
    make_record,
    plain_config,
    read_record,
    render_record,
)
from gradjax.study.usage import RecordError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No date and no program's name: the same figure gives the same bytes.
METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}


@dataclasses.dataclass(frozen=True)
class Run:
    """One study about to run.

    Args:
        study: what runs.
        preset: its preset's name.
        config: its config.
        folder: where its files go.
    """

    study: Study
    preset: str
    config: Any
    folder: Path

    def path(self, suffix: str) -> Path:
        """The file of this study with the suffix."""
        return self.folder / f"{self.study.name}.{suffix}"


def computed(run: Run, environment: Mapping[str, Any], writes: bool) -> list[Claim]:
    """The claims of a new computation, its files written (where this process ``writes``)."""
    result = arrays.check_result(run.study.module.compute(run.config))
    claims = _claims(run, result)
    if writes:
        _write(run, environment, claims, result)
    return claims


def kept(run: Run, environment: Mapping[str, Any]) -> list[Claim] | None:
    """The claims of the files that are there, if the very same run has already made all of them; otherwise None."""
    try:
        record = read_record(run.path("json"))
        whole = is_sealed(record) and all(
            sha256(run.path(suffix).read_bytes()) == digest for suffix, digest in record["files"].items()
        )
    except (ValueError, OSError):
        return None
    wanted = {"source": run.study.source, "config": plain_config(run.config), "environment": dict(environment)}
    if not whole or any(record[name] != value for name, value in wanted.items()):
        return None
    try:
        claims = _claims(run, arrays.unpack_arrays(run.path("npz").read_bytes()))
    except Exception:  # the digests fit, and yet this run never wrote these arrays: somebody else did
        return None
    return None if claims_differ(record, claims) else claims


def replotted(run: Run) -> list[Claim]:
    """The claims recomputed from the saved arrays, the figure drawn again and the record renewed.

    Raises:
        RecordError: where the record or its arrays were changed after the run, or are missing; all files then stay.
    """
    record = read_record(run.path("json"))
    if not is_sealed(record):
        raise RecordError(
            f"{run.path('json').name} was edited after its run: its digest does not fit; run the study again"
        )
    archive = run.path("npz")
    if archive.exists() and sha256(archive.read_bytes()) != record["files"]["npz"]:
        raise RecordError(f"{archive.name} is not what the recorded run saved; run the study again")
    if not same_computation(record["source"], run.study.source):
        raise RecordError(f"{run.study.name} computes something else since it was recorded; run the study again")
    jax.config.update("jax_enable_x64", record["environment"]["x64"])
    config = config_from(run.study.module.Config, record["config"])
    again = dataclasses.replace(run, config=config, preset=record["preset"])
    result = arrays.saved_arrays(record, archive)
    claims = _claims(again, result)
    differing = claims_differ(record, claims)
    if differing and record["source"] == run.study.source:
        raise RecordError(
            f"{run.path('json').name} does not say what its arrays say about {', '.join(differing)}: the record was "
            "edited, or gradjax has changed since; run the study again"
        )
    _write(again, record["environment"], claims, result)
    return claims


def _claims(run: Run, result: dict[str, np.ndarray]) -> list[Claim]:
    module = run.study.module
    return check_claims(module.claims(run.config, result), module.PLANTS, getattr(module, "MISSES", None))


def _write(run: Run, environment: Mapping[str, Any], claims: list[Claim], result: dict[str, np.ndarray]) -> None:
    """Makes every file in memory, then writes them; the record comes last, so that it vouches for the others."""
    files, words = _drawn(run, result, environment)
    files["npz"] = arrays.pack_arrays(result)
    preset_config = run.study.module.PRESETS[run.preset]
    record = make_record(run.study, run.preset, run.config, preset_config, environment, claims, result, words, files)
    for suffix, content in files.items():
        write_whole(run.path(suffix), content)
    write_whole(run.path("json"), render_record(record))


def _drawn(run: Run, result: dict[str, np.ndarray], environment: Mapping[str, Any]) -> tuple[dict[str, bytes], str]:
    """The figure as PNG and PDF, its numbers as CSV, and the figure in words."""
    import matplotlib

    look: Any = plotting.style()
    with matplotlib.rc_context(look):
        figure = run.study.module.plot(run.config, result)
        if type(figure).__name__ != "Figure":
            raise ValueError(f"plot(config, result) gave {type(figure).__name__}; expected a matplotlib Figure")
        rest = {"csv": tables.figure_table(figure)}, tables.figure_in_words(figure)
        plotting.stamp(figure, f"{environment['dtype']}, {environment['device']}")
        plotting.settle(figure)
        files = {suffix: _saved(figure, suffix) for suffix in METADATA}
    return files | rest[0], rest[1]


def _saved(figure: "Figure", suffix: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, metadata=METADATA[suffix])
    return _with_palette(buffer) if suffix == "png" else buffer.getvalue()


def _with_palette(png: io.BytesIO) -> bytes:
    """The picture in 256 colours: a third of the bytes, for a page of twenty figures, and hardly another sight."""
    from PIL import Image  # which matplotlib writes its pictures with

    picture, smaller = Image.open(png).convert("RGB"), io.BytesIO()
    colours = picture.quantize(
        256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )  # median cut errs by 80 of 255
    colours.save(smaller, "png", optimize=True)
    return smaller.getvalue()
