"""The command line: every flag, every refusal, every exit status, on a tiny study and without a second process."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import study_cases
from study_cases import run, write_study

from gradjax import study
from gradjax.study import contract, options, outputs, platforms, progressbar, records, runner, usage


@pytest.fixture(autouse=True)
def own_process():
    """The command line owns its process; within a test it has to give the configuration back."""
    before = {name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_platforms")}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def root(tmp_path):
    write_study(tmp_path)
    return tmp_path


SUFFIXES = ("csv", "json", "npz", "pdf", "png")


def made(folder):
    return sorted(path.name for path in folder.iterdir())


def record(root, name="coin", folder="quick"):
    return json.loads((root / "figures" / folder / f"{name}.json").read_bytes())


def test_the_quick_preset_makes_every_file_and_says_how_to_make_the_committed_ones(root, capsys):
    assert run(root) == 0
    said = capsys.readouterr().out
    assert made(root / "figures" / "quick") == [*(f"coin.{suffix}" for suffix in SUFFIXES), "index.html"]
    assert "holds: The mean of <all> coins is" in said and "holds: a control" in said
    assert "2 of 2 claims hold, 1 of 1 studies finished" in said
    assert str(Path("figures", "quick", "index.html")) in said and "python -m studies --preset full" in said
    assert said.index("The page:") < said.index("--preset full")


def test_the_full_preset_writes_into_figures(root, capsys):
    assert run(root, "--preset", "full") == 0
    assert made(root / "figures") == [*(f"coin.{suffix}" for suffix in SUFFIXES), "index.html"]
    assert record(root, folder="")["config"]["coins"] == 64
    assert "--preset full" not in capsys.readouterr().out


def test_a_study_s_own_file_is_a_command_from_any_folder(root, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert study.main(root / "studies" / "article" / "coin.py", ["--coins", "8"]) == 0
    assert record(root)["config"]["coins"] == 8
    assert made(elsewhere) == []


def test_a_record_says_what_was_run_and_where(root):
    assert run(root, "coin", "--coins", 9, "--odds", 0.5, "inf", "--seed", 3) == 0
    said = record(root)
    assert said["config"] == {"coins": 9, "odds": [0.5, "inf"], "trouble": "", "seed": 3, "plant": ""}
    assert said["changed"] == {"coins": 9, "seed": 3} and said["seed"] == 3 and said["preset"] == "quick"
    assert said["title"] == "A fair coin & <its> mean" and said["question"].startswith("How far does")
    assert said["source"] == study_cases.SOURCE and said["fields"]["coins"] == "How many coins in a throw."
    environment = said["environment"]
    assert environment["platform"] == "cpu" and environment["x64"] is True and environment["dtype"] == "float64"
    assert environment["matmul_precision"] == "default" and environment["versions"]["jax"] == jax.__version__
    assert {"gradjax", "python", "jaxlib", "numpy", "optax", "matplotlib"} <= set(environment["versions"])
    assert [claim["name"] for claim in said["claims"]] == ["the mean", "a control"]


def test_the_same_run_writes_the_same_bytes(root):
    folders = [root / name for name in ("one", "two")]
    for folder in folders:
        assert run(root, "--out", folder) == 0
    for name in made(folders[0]):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.parametrize(("flags", "wide"), [((), True), (("--x64",), True), (("--no-x64",), False)])
def test_precision_is_set_and_recorded(root, flags, wide):
    assert run(root, *flags) == 0
    assert jax.config.jax_enable_x64 is wide
    assert record(root)["environment"]["dtype"] == ("float64" if wide else "float32")


@pytest.mark.parametrize(("asked", "wide"), [(None, False), (True, True)])
@pytest.mark.parametrize("platform", ["auto", "tpu"])
def test_a_tpu_computes_in_64_bits_only_where_asked(monkeypatch, platform, asked, wide):
    monkeypatch.setattr(platforms.jax, "default_backend", lambda: "tpu")
    platforms.start(platform, asked)
    assert jax.config.jax_enable_x64 is wide


def test_a_plant_makes_claims_fail_and_the_status_1(root, capsys):
    assert run(root, "coin", "--plant", "bent", "--quiet") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("0 of 2 claims hold")
    assert [line.partition(":")[0] for line in said[-2:]] == ["coin FAILS", "coin FAILS"]
    assert record(root)["changed"] == {"plant": "bent"}


def test_claims_that_are_declared_not_to_hold_are_published_and_fail_no_run(tmp_path, capsys):
    said_why = 'MISSES = {"the mean": "The coin is <bent>.", "a control": "So is this."}\nPLANTS = {'
    write_study(tmp_path, changes=[("PLANTS = {", said_why)])
    assert run(tmp_path, "coin", "--plant", "bent") == 0
    said = capsys.readouterr().out
    assert "0 of 2 claims hold (2 are declared not to)" in said
    assert said.count("does not hold, as declared: ") == 4 and said.count("Why: The coin is <bent>.") == 2
    assert [claim["miss"] for claim in record(tmp_path)["claims"]] == ["The coin is <bent>.", "So is this."]
    page = (tmp_path / "figures" / "quick" / "index.html").read_text()
    assert page.count("✗ does not hold") == 4 and page.count("The coin is &lt;bent&gt;.") >= 2
    assert "0 of 2 claims hold in 1 study; 2 are declared not to, and why" in page
    assert run(tmp_path, "--replot") == 0
    assert run(tmp_path, "coin") == 0
    said = capsys.readouterr().out
    assert "2 of 2 claims hold, " in said and "holds here, though declared not to: " in said


def test_a_claim_that_fails_beside_a_declared_one_fails_the_run(tmp_path):
    write_study(tmp_path, changes=[("PLANTS = {", 'MISSES = {"the mean": "Bent."}\nPLANTS = {')])
    assert run(tmp_path, "coin", "--plant", "bent") == 1


def test_list_names_every_study_in_reading_order(root, capsys):
    write_study(root, "early", "research", [("ORDER = 7", "ORDER = 1")])
    write_study(root, "first", "article", [("ORDER = 7", "ORDER = 1")])
    write_study(root, "_helper", "article")
    (root / "studies" / "article" / "broken.py").write_text("def (")
    assert run(root, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["article", "first"],
        ["article", "coin"],
        ["article", "broken"],
        ["research", "early"],
    ]
    assert lines[0].endswith("A fair coin & <its> mean")
    assert not (root / "figures").exists()


def test_help_shows_the_fields_of_the_one_study_with_the_preset_s_values(root, capsys):
    write_study(root, "second")
    assert run(root, "--help") == 0
    common = capsys.readouterr().out
    assert "coin, second" in common and "--coins" not in common and "--seed" in common
    assert run(root, "coin", "--preset=full", "--help") == 0
    own = " ".join(capsys.readouterr().out.split())
    assert "A fair coin & <its> mean. How far does" in own
    assert "--coins INT How many coins in a throw. (default: 64)" in own
    for field in dataclasses.fields(options.Options):
        assert f"--{field.name.replace('_', '-')}" in common and f"--{field.name.replace('_', '-')}" in own


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--coins", "3"], "Unrecognized options: --coins, 3 (name exactly one study"),
        (["coin", "second", "--coins", "3"], "Unrecognized options: --coins, 3"),
        (["coin", "--coins", "x"], "--coins: invalid literal for int() with base 10: 'x'"),
        (["coin", "--coins", "0"], "coins is 0; expected at least 1"),
        (["coin", "--coins"], "--coins"),
        (["nosuch"], "there is no study nosuch; --list names all of them"),
        (["coin", "nosuch"], "there is no study nosuch"),
        (["--preset", "huge"], "'huge'"),
        (["--platform", "abacus"], "'abacus'"),
        (["--platform", "gpu"], "--platform gpu: this machine offers jax only cpu"),
        (["--platform", "tpu"], "--platform tpu: this machine offers jax only cpu"),
        (["--seed", "-1"], "--seed is -1; expected 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed is 4294967296"),
        (["coin", "--seed", "4294967296"], "--seed is 4294967296"),
        (["coin", "--plant", "weed"], "--plant is 'weed'; coin knows bent"),
        (["--coordinator", "127.0.0.1:1"], "go together"),
        (["--num-processes", "2", "--process-id", "0"], "go together"),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"], "--process-id is 2; expected 0 to 1"),
        (["--replot", "--resume"], "neither --resume nor several processes"),
        (["--replot", "--distributed"], "neither --resume nor several processes"),
        (["--replot", "--seed", "1"], "give no --seed"),
        (["coin", "--replot", "--coins", "3"], "give no field"),
        (["--jobs", "-1"], "--jobs is -1; expected 0 or more"),
        (["--out", "{file}"], "is no folder that can be written to"),
    ],
)
def test_misuse_is_one_sentence_and_status_2(root, capsys, monkeypatch, words, sentence):
    if jax.default_backend() != "cpu" and "--platform" in words:
        pytest.skip("this machine has what the test asks for")
    write_study(root, "second")
    (root / "file").write_text("")
    assert run(root, *(word.format(file=root / "file") for word in words)) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and sentence in said.err
    assert len(said.err.splitlines()) == 1 and "Traceback" not in said.err
    assert said.out == "" and not (root / "figures").exists()


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda'")])
def test_a_backend_that_does_not_start_is_one_sentence(root, capsys, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(platforms.jax, "default_backend", fail)
    assert run(root) == 2
    assert capsys.readouterr().err.startswith("error: --platform auto: no backend starts on this machine (")


def test_a_cluster_that_is_not_there_is_one_sentence(root, capsys, monkeypatch):
    def fail(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(platforms.jax.distributed, "initialize", fail)
    assert run(root, "--distributed") == 2
    assert "the processes could not be joined (coordinator_address" in capsys.readouterr().err


@pytest.mark.parametrize("missing", [["tyro"], ["tqdm", "sklearn"]])
def test_a_missing_extra_is_named_with_its_remedy(root, capsys, monkeypatch, missing):
    monkeypatch.setattr(usage.importlib.util, "find_spec", lambda name: None if name in missing else object())
    assert run(root) == 2
    said = capsys.readouterr().err
    assert "pip install -e '.[studies]'" in said
    assert ("scikit-learn, which are" if "sklearn" in missing else "tyro, which is") in said


def test_a_failed_study_leaves_the_others_and_comes_last(root, capsys):
    write_study(root, "bad", "article", [("ORDER = 7", "ORDER = 1"), ('trouble: str = ""', 'trouble: str = "raise"')])
    (root / "studies" / "article" / "broken.py").write_text("def (")
    assert run(root) == 1
    assert "[1/3] bad: A fair coin" in capsys.readouterr().out
    assert run(root) == 1
    said = capsys.readouterr()
    assert "2 of 2 claims hold, 1 of 3 studies finished" in said.out
    *_, one, two = said.err.splitlines()
    assert one == "failed: bad: RuntimeError: the table is gone" and two.startswith("failed: broken: SyntaxError")
    assert "Traceback" in said.err
    assert made(root / "figures" / "quick") == [*(f"coin.{suffix}" for suffix in SUFFIXES), "index.html"]


def test_a_study_that_cannot_be_loaded_fails_alone_when_named(root, capsys):
    write_study(root, "bad", "article", [("PLANTS =", "PLANT =")])
    assert run(root, "bad") == 1
    assert "PLANTS is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([('trouble: str = ""', 'trouble: str = "complex"')], "complex128"),
        ([('("the mean", "a control")', '("the mean",)')], "no plant makes ['a control'] fail"),
        ([("return figure", "return axes")], "plot(config, result) gave ndarray"),
    ],
)
def test_a_study_that_breaks_the_contract_while_running_writes_nothing(root, capsys, changes, words):
    write_study(root, "coin", "article", changes)
    assert run(root) == 1
    assert words in capsys.readouterr().err.splitlines()[-1]
    assert made(root / "figures" / "quick") == ["index.html"]


def test_an_interrupt_keeps_what_is_finished(root, capsys):
    write_study(root, "late", "research", [('trouble: str = ""', 'trouble: str = "interrupt"')])
    assert run(root) == 130
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1 and said.err.startswith("Interrupted")
    assert made(root / "figures" / "quick") == [*(f"coin.{suffix}" for suffix in SUFFIXES), "index.html"]


@pytest.mark.parametrize("where", ["everything", "late.png"])
def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(root, capsys, monkeypatch, where):
    assert run(root) == 0
    write_study(root, "late", "research")
    before = {path: path.read_bytes() for path in (root / "figures" / "quick").iterdir() if path.suffix != ".html"}
    true = os.replace

    def full(source, target):
        if where in ("everything", Path(target).name):
            raise OSError(28, "No space left on device")
        true(source, target)

    monkeypatch.setattr(os, "replace", full)
    capsys.readouterr()
    assert run(root) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "cannot be written (No space left on device)" in said and "--out" in said
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not [path for path in (root / "figures" / "quick").iterdir() if path.suffix == ".tmp"]
    monkeypatch.undo()
    assert run(root) == 0  # the same command does the rest


def test_a_second_run_in_the_same_folder_is_one_sentence_and_changes_nothing(root, capsys):
    """The lock is the system's: another process holds it here, and it goes with that process."""
    assert run(root) == 0
    folder = root / "figures" / "quick"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    holding = (
        f"import fcntl, os; fcntl.flock(os.open({str(folder)!r}, os.O_RDONLY), fcntl.LOCK_EX);"
        "print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        capsys.readouterr()
        assert run(root, "--no-resume") == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and "another run is writing into" in said and "--out" in said
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before
        other.kill()
        other.wait(30)
    assert run(root, "--no-resume") == 0


@pytest.mark.parametrize("words", [(), ("--no-x64",)])
def test_every_figure_states_its_precision_and_device(root, monkeypatch, words):
    stamped = []
    monkeypatch.setattr("gradjax.study.plotting.stamp", lambda figure, words: stamped.append(words))
    assert run(root, "coin", *words) == 0
    assert stamped and all(("float32" if words else "float64") in said and "cpu" in said.lower() for said in stamped)


def test_resume_keeps_the_very_same_run_only(root, capsys, monkeypatch):
    def again(*words):
        capsys.readouterr()
        status = run(root, "coin", "--resume", *words)
        return status, "kept from before" in capsys.readouterr().out

    assert again() == (0, False)
    assert again() == (0, True)
    assert again("--seed", 2) == (0, False)
    assert again("--seed", 2) == (0, True)
    assert again("--no-x64", "--seed", 2) == (0, False)
    for suffix in SUFFIXES:  # a file that is not the one that was written, or gone
        path = root / "figures" / "quick" / f"coin.{suffix}"
        path.write_bytes(path.read_bytes() + b"0")
        assert again() == (0, False), suffix
    (root / "figures" / "quick" / "coin.pdf").unlink()
    assert again() == (0, False)
    write_study(root, changes=[("Reference:", "The reference:")])
    assert again() == (0, False)
    monkeypatch.setattr(platforms, "_versions", lambda: (("jax", "99"),))
    assert again() == (0, False)


def test_resume_still_reports_a_claim_that_fails(root, capsys):
    assert run(root, "coin", "--plant", "bent") == 1
    assert run(root, "coin", "--plant", "bent", "--resume") == 1
    assert "kept from before" in capsys.readouterr().out


@pytest.mark.parametrize("kept", ["npz", "record"])
def test_replot_draws_the_same_from_what_was_saved(root, monkeypatch, kept):
    assert run(root, "coin", "--coins", 8) == 0
    folder = root / "figures" / "quick"
    before = {name: (folder / name).read_bytes() for name in made(folder)}
    for name in ("coin.png", "coin.pdf", "coin.csv", "index.html", *(["coin.npz"] if kept == "record" else [])):
        (folder / name).unlink()
    monkeypatch.setattr(outputs, "computed", lambda *_: pytest.fail("--replot computed"))
    assert run(root, "--replot") == 0
    assert {name: (folder / name).read_bytes() for name in made(folder)} == before


EDITS = {
    "a verdict": (lambda r: r["claims"][0].update(holds=False), "was edited after its run"),
    "a number": (lambda r: r["claims"][0].update(measured=0.5), "was edited after its run"),
    "a claim less": (lambda r: r["claims"].pop(), "was edited after its run"),
}


@pytest.mark.parametrize("resealed", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_a_record_edited_by_hand_is_noticed_even_with_a_new_digest(root, capsys, edit, resealed):
    assert run(root) == 0
    path = root / "figures" / "quick" / "coin.json"
    edited = json.loads(path.read_bytes())
    EDITS[edit][0](edited)
    content = records.render_record(records.sealed(edited) if resealed else edited)
    path.write_bytes(content)
    assert run(root, "--replot") == 1
    said = capsys.readouterr().err
    words = "does not say what its arrays say" if resealed else EDITS[edit][1]
    assert len(said.splitlines()) == 1 and words in said and "coin.json" in said
    assert path.read_bytes() == content


def test_replot_notices_foreign_arrays_and_missing_records(root, capsys):
    assert run(root, "--replot") == 1
    assert "there is no record coin.json" in capsys.readouterr().err
    assert run(root) == 0
    path = root / "figures" / "quick" / "coin.npz"
    path.write_bytes(path.read_bytes() + b"0")
    assert run(root, "--replot") == 1
    assert "coin.npz is not what the recorded run saved" in capsys.readouterr().err


def test_replot_takes_claims_that_the_study_has_changed_since(root):
    assert run(root) == 0
    write_study(root, changes=[("Bernoulli & sons", "Bernoulli alone")])
    assert run(root, "--replot") == 0
    assert record(root)["claims"][0]["source"] == "Bernoulli alone (1713)"


def test_replot_refuses_a_study_that_computes_something_else_since(root, capsys):
    assert run(root) == 0
    write_study(root, changes=[("random((32", "random((33")])
    assert run(root, "--replot") == 1
    assert "coin computes something else since it was recorded" in capsys.readouterr().err


def test_only_the_writer_prints_and_writes(root, capsys, monkeypatch):
    monkeypatch.setattr(platforms, "is_writer", lambda: False)
    assert run(root) == 0
    assert capsys.readouterr().out == "" and not (root / "figures").exists()


def test_a_folder_without_studies_is_misuse(tmp_path, capsys):
    (tmp_path / "studies").mkdir()
    assert run(tmp_path) == 2
    assert "there are no studies in" in capsys.readouterr().err
    for part in contract.PARTS:
        write_study(tmp_path, "twin", part)
    assert run(tmp_path) == 2
    assert "twin" in capsys.readouterr().err


def test_progress_is_silent_but_at_a_terminal(capsys, monkeypatch):
    items = [1, 2, 3]
    assert study.progress(items, "words") is items
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(study.progress(items, "counting")) == items
    assert "counting" in capsys.readouterr().err
    with progressbar.quiet():
        assert study.progress(items, "words") is items
    with progressbar.quiet(False):
        assert study.progress(items, "words") is not items


def test_a_study_runs_as_a_script_in_its_own_process(root):
    """The whole way once for real: another folder, another process, a planted fault, an old terminal's encoding."""
    script = root / "studies" / "article" / "coin.py"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script), "--plant", "bent", "--out", str(root / "out")]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "FAILS: The mean" in done.stdout and done.stderr == ""
    assert made(root / "out") == [*(f"coin.{suffix}" for suffix in SUFFIXES), "index.html"]


def test_a_lost_peer_ends_the_process_at_once_with_one_sentence(root, monkeypatch, capsys):
    """An orderly end would wait for the process that is gone, so there is none: `os._exit`."""
    lost = "    from gradjax.sweep import LostPeer\n    raise LostPeer('process 0 lost another')\n    chance ="
    write_study(root, changes=[("    chance =", lost)])
    ended = []
    monkeypatch.setattr(runner.os, "_exit", ended.append)
    assert run(root) is None and ended == [1]
    said = capsys.readouterr()
    assert said.err == "error: process 0 lost another\n" and "finished" not in said.out


def test_a_package_that_is_not_there_is_recorded_as_such():
    assert platforms._version("gradjax-of-tomorrow") == "not installed"
    assert platforms._version("jax") == jax.__version__


def test_the_project_s_own_studies_are_listed():
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "studies", "--list"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [study_found.name for study_found in contract.discover(root / "studies")]
    assert [line.split()[1] for line in done.stdout.splitlines()] == found


def test_the_command_for_committed_figures_is_one_that_exists():
    assert runner.COMMITTED.split()[:3] == ["python", "-m", "studies"]
    assert (Path(__file__).parents[1] / "studies" / "__main__.py").is_file()


def test_two_processes_compute_and_one_writes(root):
    """Two CPU processes joined through a port of this machine; a dead peer would hang, so each has a timeout."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    script = root / "studies" / "article" / "coin.py"
    peers = ["--coordinator", address, "--num-processes", "2", "--platform", "cpu", "--out", str(root / "out")]
    commands = [[sys.executable, str(script), *peers, "--process-id", str(number)] for number in range(2)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    try:
        said = [process.communicate(timeout=120)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0]
    assert "2 of 2 claims hold" in said[0] and "holds" not in said[1]
    record = json.loads((root / "out" / "coin.json").read_bytes())
    assert record["environment"]["process_count"] == 2
