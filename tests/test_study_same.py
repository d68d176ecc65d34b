"""Two runs give the same bytes, and what differs is named; an interrupted run goes on where it stood."""

import runpy
import sys

import numpy as np
import pytest
from study_cases import run, write_study

from gradjax.study import same
from gradjax.study.arrays import pack_arrays, unpack_arrays
from gradjax.sweep import engine

TIMED = [("return {", 'return {"seconds_spent": np.array(__import__("time").perf_counter()), "seconds": coins(), ')]
COINS = [
    (
        "def compute(config)",
        "def coins():\n    return np.array(__import__('time').perf_counter_ns())\n\n\ndef compute(config)",
    )
]
SWEPT = [
    ("def compute(config)", "def cell(key, throw):\n    return jax.random.uniform(key, (8,))\n\n\ndef compute(config)"),
    ("    draws = np.random.default_rng(config.seed).random((32, config.coins)) < chance\n",
     "    draws = gradjax.study.sweep(cell, {'throw': range(32 * config.coins // 8)}, seed=config.seed)\n"
     "    draws = draws.reshape(32, config.coins) < chance\n"),
    ("import dataclasses\n", "import dataclasses\n\nimport jax\n"),
]  # fmt: skip


@pytest.fixture
def twice(tmp_path):
    """A plain study and one that records times, run into two folders."""
    write_study(tmp_path, "plain")
    write_study(tmp_path, "timed", changes=[*TIMED, *COINS])
    for folder in ("one", "two"):
        assert run(tmp_path, "--no-resume", "--out", tmp_path / folder) == 0
    return tmp_path / "one", tmp_path / "two"


def test_two_runs_are_the_same_but_for_declared_times(twice):
    times = [same.unpack_arrays((folder / "timed.npz").read_bytes())["seconds"] for folder in twice]
    assert times[0] != times[1] and same.differences(*twice) == []


@pytest.mark.parametrize("name", ["plain", "timed"])
def test_the_last_bit_of_an_array_is_seen(twice, name):
    path = twice[1] / f"{name}.npz"
    arrays = unpack_arrays(path.read_bytes())
    arrays["means"][0, 0] = np.nextafter(arrays["means"][0, 0], 2)
    path.write_bytes(pack_arrays(arrays))
    assert same.differences(*twice) == ["plain: the npz file" if name == "plain" else "timed: the array means"]


@pytest.fixture
def command(monkeypatch, capsys):
    """Status and words of ``python -m gradjax.study.same`` for two folders, in this process."""

    def ran(*folders):
        monkeypatch.setattr(sys, "argv", ["same", *map(str, folders)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(same.__file__, run_name="__main__")
        return int(stop.value.code), capsys.readouterr().out

    return ran


def test_a_study_or_a_file_or_an_array_that_one_run_lacks_is_seen(twice, command):
    (twice[0] / "plain.pdf").unlink()
    arrays = unpack_arrays((twice[1] / "timed.npz").read_bytes())
    del arrays["seconds"]
    (twice[1] / "timed.npz").write_bytes(pack_arrays(arrays))
    assert same.differences(*twice) == ["plain: the pdf file", "timed: the array seconds"]
    (twice[1] / "plain.npz").unlink()
    assert same.differences(*twice)[0] == "plain: only one folder has it"
    assert command(*twice) == (1, "plain: only one folder has it\ntimed: the array seconds\n")
    assert command(twice[0], twice[0]) == (0, "The same bytes.\n")


def test_an_interrupted_full_run_does_only_what_is_missing(tmp_path, monkeypatch, capfd):
    """The first study is finished, the second within its sweep: it goes on behind the last whole chunk."""
    write_study(tmp_path, "early", changes=[("ORDER = 7", "ORDER = 1")])
    write_study(tmp_path, "swept", changes=SWEPT)
    true, seen, stop = engine.blocks, [], [5]

    def blocks(*words):
        for number, block in true(*words):
            if len(seen) == stop[0]:
                raise KeyboardInterrupt
            seen.append(number)
            yield number, block

    monkeypatch.setattr(engine, "blocks", blocks)
    command = (tmp_path, "--preset", "full", "--out", tmp_path / "out")
    assert run(*command) == 130 and seen == [0, 1, 2, 3, 4]
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == {"early"}
    stop[0] = None
    assert run(*command) == 0 and "kept from before" in capfd.readouterr().out
    assert seen == [*range(5), *range(5, 64)] and not (tmp_path / "out" / ".sweeps").exists()
    assert run(*command[:3], "--out", tmp_path / "whole") == 0
    assert same.differences(tmp_path / "out", tmp_path / "whole") == []
    assert run(*command) == 0 and len(seen) == 2 * 64 and capfd.readouterr().out.count("kept from before") == 2
