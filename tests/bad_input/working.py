"""Tools: arithmetic, files, costs, races, sweeps, and what studies are made of."""

import os
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from bad_input.judge import row
from bad_input.kinds import (
    Argument,
    Tracer,
    also,
    bad,
    called,
    flag,
    junk,
    numbers,
    optional,
    plain_seed,
    real,
    seed,
    tree,
    whole,
    word,
)
from gradjax import study
from gradjax.costs import cost
from gradjax.files import write_whole
from gradjax.sweep import sweep

TREE = tree()
TEXT = Argument(lambda: "words", junk("text") + bad("refused", number=lambda: 3, empty=str))
FOLDER = Argument(lambda: Path("nowhere-at-all"), junk("text") + bad("refused", number=lambda: 3))


def grid() -> Argument:
    wrong = {
        "no axes": dict, "empty axis": lambda: {"x": []}, "nan": lambda: {"x": [np.nan]},
        "text": lambda: {"x": ["a"]},
        "twice": lambda: {"x": [1.0, 1.0]}, "nested": lambda: {"x": [[1.0]]}, "number": lambda: {"x": 1.0},
        "None": lambda: {"x": None},
        "complex": lambda: {"x": [1j]},
        "name": lambda: {"no name": [1.0]}, "number for a name": lambda: {3: [1.0]},
        "another name": lambda: {"y": [1.0]}, "ragged": lambda: {"x": [[1.0], 2.0]}, "huge": lambda: {"x": [10**30]},
        "object": lambda: {"x": [object()]}, "tracer": lambda: Tracer((2,)),
    }  # fmt: skip
    return Argument(lambda: {"x": [1.0, 2.0]}, junk() + bad("refused", **wrong), ("cell",))


def cell() -> Argument:
    wrong = {
        "two arguments": lambda: lambda key: 1.0,
        "to text": lambda: lambda key, x: "text",
        "to nothing": lambda: lambda key, x: None,
    }
    return also(called(lambda key, x: 2 * x), *bad("refused", **wrong))


def claim(**given):
    return study.Claim(
        **({"name": "a", "measured": 1.0, "expected": 1.0, "tolerance": 0.1, "source": "s"} | given)
    ).holds


ROWS = [
    row("numerics.is_concrete", tree=TREE),
    row("numerics.is_inexact", leaf=TREE),
    row("numerics.all_finite", tree=TREE),
    row("numerics.norm_dtype", tree=TREE),
    row("numerics.largest", tree=TREE),
    row("numerics.real_size", tree=TREE),
    row("numerics.log_norm", tree=TREE),
    row("numerics.exponent", tree=TREE),
    row("numerics.scale_by_power_of_two", tree=TREE, power=Argument(lambda: jnp.int32(2), ())),
    row("numerics.as_key", key=seed()),
    row(
        "costs.cost",
        call=lambda function, a, repeats: cost(function, a, repeats=repeats).operations,
        nan=True,
        function=called(lambda a: a @ a),
        a=Argument(lambda: np.ones((2, 2), np.float32), ()),
        repeats=whole(1, 0),
    ),
    row(
        "files.write_whole",
        call=lambda path, content: write_whole(path, content),
        path=Argument(
            lambda: Path(tempfile.gettempdir()) / "gradjax-bad-input",
            junk("function", "class") + bad("refused", number=lambda: 3),
        ),
        content=Argument(lambda: b"", junk("bytes")),
    ),
    row(
        "files.hold",
        descriptor=Argument(
            lambda: os.open(os.devnull, os.O_RDONLY),
            junk() + bad("refused", negative=lambda: -1, closed=lambda: 10**6, huge=lambda: 10**30, half=lambda: 1.5),
        ),
    ),
    row("files.sha256", content=Argument(lambda: b"", junk("bytes") + bad("refused", number=lambda: 3))),
    row("peers.plain_product", factors=also(numbers((2, 2, 2), values=False), without=("complex", "bool", "tracer"))),
    row("peers.running_qr_logs", factors=also(numbers((2, 2, 2), values=False), without=("complex", "bool", "tracer"))),
    row(
        "peers.race",
        runs=Argument(
            lambda: [lambda: 1, None],
            junk("empty list", "empty dict") + bad("refused", number=lambda: 3, numbers=lambda: [1, 2]),
        ),
        rounds=whole(1),
        clock=called(lambda: 0.0),
    ),
    row(
        "peers.known_product",
        logs=numbers((3, 2)),
        rng=Argument(lambda: np.random.default_rng(0), junk() + bad("refused", number=lambda: 0)),
        mixing=real(0.25, "[0, 0.5]"),
    ),
    row(
        "sweep.sweep",
        call=lambda **given: sweep(**given, progress=False),
        cell=cell(),
        grid=grid(),
        seed=plain_seed(),
        lanes=optional(whole(2)),
        memory=optional(whole(2**20)),
        resume=flag(True),
    ),
    row(
        "study.sweep",
        cell=cell(),
        grid=grid(),
        seed=plain_seed(),
    ),
    row(
        "study.Claim",
        call=claim,
        name=TEXT,
        measured=also(real(1.0, "[-inf, inf]"), without=("nan", "numpy_nan", "huge int")),
        expected=also(real(1.0, "[-inf, inf]"), without=("huge int",)),
        tolerance=also(real(0.1, "[0, inf)"), without=("huge int",)),
        source=TEXT,
        relation=word("="),
    ),
    row("study.discover", folder=also(FOLDER, *bad("refused", text=lambda: "folder"))),
    row(
        "study.progress",
        iterable=Argument(
            lambda: [1, 2],
            junk("text", "bytes", "empty list", "empty dict", "dict", "generator", "array of objects", "array of text"),
        ),
        description=Argument(lambda: "words", ()),
    ),
    row("study.fits.slope", nan=True, x=numbers((3,)), y=numbers((3,), values=False)),
    row("study.fits.slope_error", x=numbers((3,)), noise=real(0.5, "[0, inf)")),
    row("study.fits.power", x=numbers((3,), "(0, inf)"), y=numbers((3,), "(0, inf)")),
]
