"""A sweep in one process: values, keys that follow the cell, chunks that stay, and every refusal in a sentence."""

import errno
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sweep_cases
from sweep_cases import GRID, deep, files

from gradjax import files as written
from gradjax import sweep as package
from gradjax.sweep import SweepError, engine, program, sweep
from gradjax.sweep.progress import Progress


def plain(key, x, y=0):
    return {"sum": x + y, "draw": jax.random.normal(key)}


def light(key, gain, tilt):
    """Compiles in a moment."""
    draws = jnp.tanh(gain * jax.random.uniform(key, (9,)) + tilt)
    return {"draws": draws, "low": draws.astype(jnp.bfloat16), "count": jnp.sum(draws > 0)}


def run(grid=None, cell=light, **words):
    return sweep(cell, GRID if grid is None else grid, **{"seed": 3, **words})


def equal(one, two):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def test_axes_follow_the_grid_and_values_the_cell():
    found = sweep(lambda key, b, a: (10 * a + b, jnp.stack([a, b])), {"a": [3, 1], "b": [0, 2, 1]}, seed=0)
    assert found[0].tolist() == [[30, 32, 31], [10, 12, 11]] and found[0].dtype == np.int32
    assert found[1].shape == (2, 3, 2) and found[1][0, 1].tolist() == [3, 2]


def test_the_numbers_are_those_of_the_cell_alone(precision):
    found = run(cell=plain, grid={"x": [0.25, 1.5], "y": [1.0]})
    assert found["sum"].dtype == np.dtype(precision) and found["sum"].ravel().tolist() == [1.25, 2.5]
    assert len(set(found["draw"].ravel().tolist())) == 2
    other = run(cell=plain, grid={"x": [0.25, 1.5], "y": [1.0]}, seed=4)
    assert not set(found["draw"].ravel().tolist()) & set(other["draw"].ravel().tolist())


def test_a_cell_is_the_same_to_the_last_bit_in_any_grid_order_and_division(tmp_path):
    cell = deep(3)
    whole = run(cell=cell)
    backwards = run({"gain": GRID["gain"][::-1], "tilt": GRID["tilt"]}, cell)
    assert equal(whole, jax.tree.map(lambda leaf: leaf[::-1].swapaxes(0, 1), backwards))
    part = run({"tilt": GRID["tilt"][1:2], "gain": GRID["gain"][1:4]}, cell)
    assert equal(jax.tree.map(lambda leaf: leaf[1:2, 1:4], whole), part)
    many = run(GRID | {"tilt": [*GRID["tilt"], *np.linspace(0.6, 2, 60)]}, cell, out=tmp_path / "many")
    assert len(files(tmp_path / "many")) == 2 + 40  # two blocks to a chunk
    assert equal(whole, jax.tree.map(lambda leaf: leaf[:3], many))
    assert equal(whole, run(cell=cell, out=tmp_path / "few"))


def test_keys_are_those_of_values_not_of_types_that_hold_them():
    lists, arrays = ({"x": kind([1.5, -0.0])} for kind in (list, np.array))
    assert equal(run(lists, plain), run(arrays, plain)) and equal(run({"x": [0.0]}, plain), run({"x": [-0.0]}, plain))
    draws = run({"x": [1, 2]}, plain)["draw"], run({"x": range(1, 3)}, plain)["draw"], run({"x": [1.0]}, plain)["draw"]
    assert equal(*draws[:2]) and draws[2][0] not in draws[0]


def test_blocks_are_halved_until_they_fit_and_a_width_can_be_given(monkeypatch):
    seen = []
    true = engine.compiled
    monkeypatch.setattr(engine, "compiled", lambda *words: seen.append(true(*words)) or seen[-1])
    run()
    run(memory=1)
    run(lanes=7, memory=1)
    assert [made.lanes for made in seen] == [program.LANES["cpu"], 1, 7]
    assert program._bytes(seen[0].run) > program._bytes(seen[1].run) > 0


def test_a_long_sweep_has_few_files_and_a_large_result_small_ones(tmp_path):
    sweep(plain, {"x": range(1000)}, seed=0, out=tmp_path)
    assert len(list(tmp_path.glob("chunk-*.npz"))) == 63  # 4 lanes, 4 blocks
    assert engine._blocks_in_chunk(10**6, 4, [jax.ShapeDtypeStruct((2**20,), np.float64)]) == 8


def computed(monkeypatch):
    """The list to which every computed block's number is added."""
    seen = []
    true = engine.blocks
    monkeypatch.setattr(engine, "blocks", lambda *words: (seen.append(pair[0]) or pair for pair in true(*words)))
    return seen


def test_only_what_is_missing_is_computed_and_the_bytes_are_the_same(tmp_path, monkeypatch):
    first, seen = run(out=tmp_path), computed(monkeypatch)
    before = files(tmp_path)
    assert [*before] == [".lock", *(f"chunk-0000{i}.npz" for i in range(4)), "sweep.json"]
    assert equal(first, run(out=tmp_path)) and seen == []
    for name in ("chunk-00001.npz", "chunk-00003.npz"):
        (tmp_path / name).unlink()
    (tmp_path / ".chunk-00001.npz.17.tmp").write_bytes(b"a run was killed here")
    assert equal(first, run(out=tmp_path)) and seen == [1, 3]
    assert files(tmp_path) == before
    assert equal(first, run(out=tmp_path, resume=False)) and seen == [1, 3, 0, 1, 2, 3]
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "differ"),
    [
        ({"seed": 4}, "program, seed"),
        ({"grid": GRID | {"tilt": [0.0, 0.125]}}, "grid"),
        ({"cell": deep(4)}, "program, result"),
        ({"cell": lambda key, gain, tilt: light(key, 1.000001 * gain, tilt)}, "program"),
        ({"compiler_options": {"xla_backend_optimization_level": 1}}, "compiler_options"),
    ],
)
def test_the_folder_of_another_sweep_is_refused(tmp_path, words, differ):
    run(out=tmp_path)
    before = files(tmp_path)
    with pytest.raises(SweepError, match=f"holds another sweep: {differ} differ there"):
        run(out=tmp_path, **words)
    assert files(tmp_path) == before


def test_another_precision_or_width_is_another_sweep(tmp_path):
    run(out=tmp_path, lanes=2)
    with pytest.raises(SweepError, match="lanes=2, not 3"):
        run(out=tmp_path, lanes=3)
    assert equal(run(out=tmp_path), run(lanes=2))
    with jax.default_matmul_precision("highest"), pytest.raises(SweepError, match="matmul_precision"):
        run(out=tmp_path)


FOREIGN = {
    "half": lambda good: good[: len(good) // 2],
    "none": lambda good: b"",
    "text": lambda good: b"# my notes\n",
    "flipped": lambda good: good[:400] + bytes([good[400] ^ 1]) + good[401:],
    "pickle": lambda good: _pickled(),
    "bomb": lambda good: b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 40,
}


def _pickled():
    import io

    buffer = io.BytesIO()
    np.savez(buffer, sweep=np.array([_Trap()], object), chunk=np.array(0))
    return buffer.getvalue()


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_or_half_written_chunk_is_named_and_left_alone(tmp_path, kind):
    run(out=tmp_path)
    path = tmp_path / "chunk-00002.npz"
    path.write_bytes(FOREIGN[kind](path.read_bytes()))
    before = files(tmp_path)
    with pytest.raises(SweepError, match=r"chunk-00002\.npz .*remove it to have it made") as caught:
        run(out=tmp_path)
    assert "\n" not in str(caught.value) and files(tmp_path) == before


def test_the_chunk_of_another_place_or_sweep_is_no_chunk_of_this_one(tmp_path):
    run(out=tmp_path / "a")
    run(out=tmp_path / "b", seed=9)
    for theirs in (tmp_path / "a" / "chunk-00000.npz", tmp_path / "b" / "chunk-00001.npz"):
        (tmp_path / "a" / "chunk-00001.npz").write_bytes(theirs.read_bytes())
        with pytest.raises(SweepError, match="is no chunk of this sweep"):
            run(out=tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"[" * 100_000, b'{"format": "gradjax sweep 1", "identity": 1}', b"\xff\xfe", b"null"],
)
def test_a_foreign_sweep_json_is_refused(tmp_path, content):
    (tmp_path / "sweep.json").write_bytes(content)
    with pytest.raises(SweepError, match="is not what a sweep writes"):
        run(out=tmp_path)
    assert (tmp_path / "sweep.json").read_bytes() == content


@pytest.mark.parametrize("layout", ['{"lanes": 0, "blocks": 1}', '{"lanes": 4}', '{"lanes": true, "blocks": 1e99}'])
def test_an_edited_layout_is_refused(tmp_path, layout):
    run(out=tmp_path)
    path = tmp_path / "sweep.json"
    text = path.read_text()
    start = text.index('"layout": ') + len('"layout": ')
    path.write_text(text[:start] + layout + text[text.index("}", start) + 1 :])
    with pytest.raises(SweepError, match="was edited"):
        run(out=tmp_path)


@pytest.mark.parametrize("after", [0, 2])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path, monkeypatch, after):
    left = [after]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(written.os, "fsync", full)
    with pytest.raises(SweepError, match=r"could not be written \(No space left on device\)") as caught:
        run(out=tmp_path)
    assert "\n" not in str(caught.value)
    assert len(files(tmp_path)) == 1 + after  # the lock, and what was whole
    left[0] = 100
    whole, seen = run(), computed(monkeypatch)
    assert equal(run(out=tmp_path), whole) and len(seen) == 4 - max(after - 1, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are Unix's")
def test_a_system_that_refuses_to_write_more_is_one_sentence(tmp_path):
    limited = "import resource, sys, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
    script = (
        f"{limited} sys.argv[1:] = ['out={tmp_path}']; runpy.run_path({sweep_cases.__file__!r}, run_name='__main__')"
    )
    # a process measured for coverage writes a file of its own at its end, which would be refused as well
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "SweepError" in done.stderr.splitlines()[-1] and "(File too large)" in done.stderr.splitlines()[-1]
    assert sorted(files(tmp_path)) == [".lock", "sweep.json"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepError, match=r"file is no folder that can be written to"):
        run(out=tmp_path / "file")

    def read_only(*_):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("builtins.open", read_only)
    with pytest.raises(SweepError, match=r"written to \(Read-only file system\)"):
        run(out=tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    """The lock is the system's: another process holds it here."""
    holding = (
        f"import fcntl; f = open({str(tmp_path / '.lock')!r}, 'ab'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", holding], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(SweepError, match="another run is writing into"):
            run(out=tmp_path)
        other.kill()
        other.wait(30)
        assert equal(run(out=tmp_path), run())


def test_an_interrupt_keeps_the_finished_chunks_and_says_so(tmp_path, monkeypatch):
    whole, true = run(), engine.blocks

    def interrupted(*words):
        for number, pair in enumerate(true(*words)):
            if number == 2:
                raise KeyboardInterrupt
            yield pair

    with monkeypatch.context() as patch:
        patch.setattr(engine, "blocks", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            run(out=tmp_path)
    assert f"whole in {tmp_path}; the same call goes on" in caught.value.__notes__[0]
    seen = computed(monkeypatch)
    assert equal(run(out=tmp_path), whole) and seen == [2, 3]


@pytest.mark.parametrize(
    ("words", "kind", "match"),
    [
        ({"grid": {}}, ValueError, "grid is {}"),
        ({"grid": [1]}, ValueError, r"grid is \[1\]"),
        ({"grid": {"x": []}}, ValueError, "at least one value"),
        ({"grid": {"x": 3}}, ValueError, r"shape \(\)"),
        ({"grid": {"x": [[1]]}}, ValueError, r"shape \(1, 1\)"),
        ({"grid": {"x": ["a"]}}, ValueError, "indices into a tuple"),
        ({"grid": {"x": [1j]}}, ValueError, "expected numbers"),
        ({"grid": {"x": [None]}}, ValueError, "expected numbers"),
        ({"grid": {"x": [1.0, float("nan")]}}, ValueError, "NaN"),
        ({"grid": {"x": [1, 2, 1]}}, ValueError, "twice"),
        ({"grid": {"x": [0.0, -0.0]}}, ValueError, "twice"),
        ({"grid": {"x": [2**40]}}, ValueError, "32 bits"),
        ({"grid": {"x y": [1]}}, ValueError, "identifier"),
        ({"grid": {"z": [1]}}, ValueError, "does not take a key and the grid's names"),
        ({"grid": {"x": [1], "key": [1]}}, ValueError, "does not take a key"),
        ({"cell": 3}, TypeError, "cell is int"),
        ({"cell": lambda key, x: None}, ValueError, "expected arrays of numbers"),
        ({"cell": lambda key, x: key}, ValueError, "key_data"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 2**32}, ValueError, "<= 4294967295"),
        ({"seed": 0.5}, ValueError, "seed is 0.5"),
        ({"seed": None}, ValueError, "seed is None"),
        ({"lanes": 0}, ValueError, "lanes is 0"),
        ({"memory": 0}, ValueError, "memory is 0"),
        ({"lanes": 1.5}, ValueError, "lanes is 1.5"),
        ({"resume": jnp.ones(2)}, ValueError, "resume is an array float32.2., expected True or False"),
        ({"compiler_options": "fast"}, TypeError, "compiler_options is 'fast'"),
    ],
)
def test_misuse_is_said_before_anything_is_computed_or_written(tmp_path, words, kind, match):
    with pytest.raises(kind, match=match):
        sweep(**{"cell": plain, "grid": {"x": [1]}, "seed": 0, "out": tmp_path / "none"} | words)
    assert not (tmp_path / "none").exists()


def test_a_cell_s_own_error_goes_through():
    with pytest.raises(ZeroDivisionError):
        run({"x": [1]}, lambda key, x: 1 / 0)


def test_a_block_beyond_the_device_s_memory_is_said_with_the_way_out(monkeypatch):
    def failing(leaves):
        raise jax.errors.JaxRuntimeError(words[0])

    words = ["RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1099511627776 bytes."]
    monkeypatch.setattr(program, "gathered", failing)
    with pytest.raises(SweepError, match="a block of 6 cells does not fit in a device's memory; pass lanes=3"):
        run({"x": [1.0]}, plain, lanes=6)
    words[0] = "INTERNAL: what is none of the sweep's"
    with pytest.raises(jax.errors.JaxRuntimeError, match="none of the sweep's"):
        run({"x": [1.0]}, plain, lanes=6)


def test_a_system_without_locks_sweeps_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)  # as on Windows
    assert equal(run({"x": [1.0, 2.0]}, plain, out=tmp_path), run({"x": [1.0, 2.0]}, plain))


def test_no_result_and_infinite_values_are_results():
    found = sweep(lambda key, x: {"x": 1 / x, "nothing": jnp.zeros((0, 2))}, {"x": [0.0, float("inf")]}, seed=0)
    assert found["x"].tolist() == [float("inf"), 0.0] and found["nothing"].shape == (2, 0, 2)


def test_progress_is_said_at_a_terminal_often_and_in_a_log_once_a_minute(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr("gradjax.sweep.progress.time.monotonic", lambda: clock[0])
    for terminal, expected in ((False, ["sweep: 70 of 100 cells, 27 s left"]), (True, 7 * [""])):
        clock[0] = 0.0
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        bar = Progress(100, 0, True)
        for _ in range(7):
            clock[0] += 9.0
            bar.advance(10)
        bar.close()
        said = capsys.readouterr().err
        assert said.splitlines() == expected if not terminal else said.count("\r") == len(expected) + 1
    Progress(10, 0, False).advance(10)
    assert capsys.readouterr().err == ""
    assert Progress(10**6, 0, False).sentence(3.0) == "sweep: 0 of 1000000 cells, 833 h 20 min left"


@pytest.mark.parametrize("first", [True, False])
def test_progress_is_process_0_s_alone(monkeypatch, capsys, first):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("gradjax.sweep.engine.is_writer", lambda: first)
    package.sweep(lambda key, x: x, {"x": [1, 2]}, seed=0)
    assert bool(capsys.readouterr().err) == first  # at a terminal a line, or the end of one


def test_the_package_names_what_it_has():
    assert issubclass(package.LostPeer, SweepError)
