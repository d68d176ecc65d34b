"""Studies side by side give the bytes of studies one by one; what dies dies alone; what is finished stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest
from study_cases import run, write_study

from gradjax import study
from gradjax.study import options, outcome, platforms, side, sweeps

TROUBLE = 'trouble: str = ""'


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_side_by_side_or_one_by_one_the_bytes_are_the_same_and_a_second_run_does_nothing(tmp_path, capfd):
    for number in range(3):
        write_study(tmp_path, f"coin{number}", changes=[("ORDER = 7", f"ORDER = {3 - number}")])
    for jobs in ("1", "2"):
        assert run(tmp_path, "--jobs", jobs, "--seed", 5, "--out", tmp_path / jobs) == 0
        said = capfd.readouterr()
        assert said.err == "" and said.out.count("holds: The mean of") == 3 and said.out.count(" done in ") == 3
        assert "[3/3] " in said.out and "6 of 6 claims hold, 3 of 3 studies finished" in said.out
    assert files(tmp_path / "1") == files(tmp_path / "2") and len(files(tmp_path / "1")) == 16
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "2").glob("coin*")}
    (tmp_path / "2" / "coin1.png").unlink()  # only this one has to be made again
    assert run(tmp_path, "--jobs", "2", "--seed", 5, "--out", tmp_path / "2") == 0
    said = capfd.readouterr().out
    assert said.count("kept from before") == 2 and said.count(" done in ") == 1
    changed = {path.stem for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"coin1"} and files(tmp_path / "1") == files(tmp_path / "2")
    assert run(tmp_path, "--jobs", "2", "--seed", 5, "--out", tmp_path / "2", "--no-resume") == 0
    assert capfd.readouterr().out.count(" done in ") == 3


def test_what_fails_or_dies_or_cannot_be_loaded_does_so_alone(tmp_path, capfd):
    write_study(tmp_path, "good")
    write_study(tmp_path, "bad", changes=[(TROUBLE, 'trouble: str = "raise"')])
    write_study(tmp_path, "dead", changes=[("    chance =", "    __import__('os').abort()\n    chance =")])
    (tmp_path / "studies" / "article" / "broken.py").write_text("def (")
    assert run(tmp_path, "--jobs", "2") == 1
    said = capfd.readouterr()
    assert "2 of 2 claims hold, 1 of 4 studies finished" in said.out
    last = said.err.splitlines()[-3:]
    assert last[0] == "failed: bad: RuntimeError: the table is gone" and last[2].startswith("failed: broken: SyntaxE")
    assert last[1] == "failed: dead: ChildProcessError: its process ended with signal 6 (out of memory?)"
    assert said.err.count("Traceback") >= 1
    assert {path.stem for path in (tmp_path / "figures" / "quick").glob("*.png")} == {"good"}


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_ctrl_c_ends_all_of_them_in_one_sentence_and_keeps_what_is_finished(tmp_path, after):
    write_study(tmp_path, "early", changes=[("ORDER = 7", "ORDER = 1")])
    for name in ("late", "later"):
        write_study(tmp_path, name, changes=[("    chance =", "    __import__('time').sleep(600)\n    chance =")])
    (tmp_path / "studies" / "__main__.py").write_text(
        "from pathlib import Path\nimport signal\nimport gradjax.study\nif __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background starts it deaf\n"
        "    raise SystemExit(gradjax.study.main(Path(__file__).parent))\n"
    )
    command = [sys.executable, str(Path("studies", "__main__.py")), "--jobs", "2", "--platform", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1, text=True, start_new_session=True)
    try:
        for _ in range(600):
            if (tmp_path / "figures" / "quick" / "index.html").exists():
                break
            time.sleep(0.1)
        time.sleep(after)  # a child that still loads its modules gets no other signal than one that computes
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("Interrupted: what is finished is whole and stays") and "Trace" not in said
    assert {path.stem for path in (tmp_path / "figures" / "quick").glob("*.json")} == {"early"}


@pytest.mark.parametrize(
    ("words", "count"),
    [([], 2), (["--jobs", "1"], 1), (["--jobs", "9"], 3), (["one"], 1), (["--replot"], 1), (["--distributed"], 1)],
)
def test_as_many_at_once_as_cores_and_memory_allow(tmp_path, monkeypatch, words, count):
    studies = tuple(study.Study(write_study(tmp_path, name)) for name in ("one", "two", "three"))
    request = options.parse(words, studies, "studies", fixed=False)
    monkeypatch.setattr(side.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(side, "_free_memory", lambda: 8 * side.MEMORY)
    assert side.places(request, False) == count
    assert side.places(request, True) == (count if "--jobs" in words else 1)
    monkeypatch.setattr(side, "_free_memory", lambda: side.MEMORY // 2)
    assert side.places(request, False) == (count if "--jobs" in words else 1)


def test_a_cpu_is_known_without_starting_a_backend(monkeypatch):
    monkeypatch.setattr(platforms.importlib.metadata, "entry_points", lambda group: [group])
    assert platforms.may_be_accelerated("gpu") and not platforms.may_be_accelerated("cpu")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not platforms.may_be_accelerated("auto") and platforms.may_be_accelerated("tpu")
    assert side._free_memory() > 0


def test_a_system_without_signal_masks_or_a_word_on_its_memory_starts_children_all_the_same(monkeypatch):
    monkeypatch.setattr(side, "Path", lambda name: Path("nowhere") / name.lstrip("/"))
    assert side._free_memory() == sys.maxsize
    monkeypatch.delattr(signal, "pthread_sigmask")  # as on Windows
    with side._ctrl_c_waits():
        assert subprocess.run([sys.executable, "-c", "raise SystemExit(7)"]).returncode == 7


def test_a_sweep_interrupted_in_a_study_goes_on_and_leaves_no_chunks(tmp_path):
    calls = []

    def cell(key, x):
        calls.append(x)
        return jnp.square(x)

    def once(trouble):
        with sweeps.kept_beside(tmp_path, "phase", {"seed": 0}):
            found = study.sweep(cell, {"x": [1, 2, 3]}, seed=0)
            if trouble:
                raise KeyboardInterrupt
        return found

    with pytest.raises(KeyboardInterrupt):
        once(True)
    (left,) = (tmp_path / ".sweeps").iterdir()
    assert (left / "grid" / "chunk-00000.npz").exists()
    (tmp_path / ".sweeps" / "phase-of-another-config").mkdir()
    assert once(False).tolist() == [1, 4, 9]
    assert list(tmp_path.iterdir()) == []
    assert study.sweep(cell, {"x": [2]}, seed=0).tolist() == [4] and list(tmp_path.iterdir()) == []


def test_an_outcome_travels_in_words(tmp_path):
    made = study.Study(write_study(tmp_path))
    good = outcome.Outcome(made, [outcome.Verdict(True, True, "yes"), outcome.Verdict(False, False, "no")], "done")
    assert outcome.Outcome.from_plain(made, good.plain()) == good and not good.good
    error = RuntimeError("gone")
    error.add_note("The chunks stay.")
    assert outcome.Outcome.failed(made, error).error == "RuntimeError: gone The chunks stay."
