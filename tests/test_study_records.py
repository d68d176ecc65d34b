"""Records and files: whole or not at all, the same bytes for the same run, edits noticed, numbers kept exactly."""

import dataclasses
import json
import os

import numpy as np
import pytest

from gradjax.study import arrays, files, records
from gradjax.study.usage import RecordError, UsageError


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.json"
    files.write_whole(path, b"old")
    files.write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_writer_that_fails_half_way_leaves_the_old_file(tmp_path, monkeypatch, step, error):
    path = tmp_path / "a.json"
    files.write_whole(path, b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(files.os, step, fail)
    with pytest.raises(type(error)):
        files.write_whole(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_folder_that_cannot_be_written_is_refused_beforehand(tmp_path):
    made = files.writable_folder(tmp_path / "a" / "b")
    assert os.listdir(made) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"--out .*file"):
        files.writable_folder(tmp_path / "file" / "c")


RESULT = {
    "small": np.array([0.1, -0.0, np.nan, np.inf, -np.inf, 5e-324]),
    "single": np.array([[0.1, np.nan]], np.float32),
    "half": np.array([0.1], np.float16),
    "counts": np.array([2**63], np.uint64),
    "flags": np.array([[True], [False]]),
    "names": np.array(["Gauß", "<b>"]),
    "nothing": np.zeros((0, 3)),
    "scalar": np.array(2.5),
}


@pytest.mark.parametrize("way", ["npz", "json"])
def test_saved_arrays_come_back_bit_for_bit(tmp_path, way):
    path = tmp_path / "a.npz"
    encoded, left_out = arrays.encode_arrays(RESULT)
    if way == "npz":
        files.write_whole(path, arrays.pack_arrays(RESULT))
    record = json.loads(json.dumps({"arrays": encoded, "arrays_left_out": left_out}, allow_nan=False))
    again = arrays.saved_arrays(record, path)
    assert list(again) == list(RESULT)
    for name, array in RESULT.items():
        assert again[name].dtype == array.dtype and again[name].shape == array.shape
        assert again[name].tobytes() == array.tobytes(), name


def test_packed_arrays_are_the_same_bytes_again():
    assert arrays.pack_arrays(RESULT) == arrays.pack_arrays(RESULT)


def test_only_arrays_within_the_budget_enter_the_record(tmp_path):
    result = {"large": np.zeros(arrays.BUDGET + 1), "middle": np.arange(40_000.0), "small": np.arange(3.0)}
    encoded, left_out = arrays.encode_arrays(result)
    assert list(encoded) == ["small"] and left_out == ["large", "middle"]
    with pytest.raises(RecordError, match=r"a.npz is missing, and the record left \['large', 'middle'\] out"):
        arrays.saved_arrays({"arrays": encoded, "arrays_left_out": left_out}, tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "gave NoneType"),
        ({}, "non-empty mapping"),
        ({"a b": np.ones(1)}, "gave the name 'a b'"),
        ({1: np.ones(1)}, "gave the name 1"),
        ({"a": np.ones(1, complex)}, "complex128"),
        ({"a": np.array([None])}, "object"),
        ({"a": np.ones(1, np.longdouble)}, "longdouble"),
    ],
)
def test_a_result_that_files_cannot_hold_is_refused(result, words):
    with pytest.raises(ValueError, match=words):
        arrays.check_result(result)


RECORD = records.sealed({"format": records.FORMAT, "name": "coin", "claims": [{"name": "a", "holds": False}], "n": 0.1})


def test_a_record_is_sealed_against_edits():
    assert records.is_sealed(RECORD)
    again = json.loads(records.render_record(RECORD))
    assert again == RECORD and records.is_sealed(again)
    again["claims"][0]["holds"] = True
    assert not records.is_sealed(again)
    assert not records.is_sealed({name: value for name, value in RECORD.items() if name != "digest"})


def test_a_rendered_record_has_one_entry_a_line():
    lines = records.render_record(RECORD).decode().splitlines()
    assert '  {"name": "a", "holds": false}' in lines
    assert ' "n": 0.1,' in lines


@pytest.mark.parametrize("content", [None, b"{", b"\xff", b"[]", b'{"format": "another"}'])
def test_what_is_no_record_is_refused_by_name(tmp_path, content):
    path = tmp_path / "coin.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=r"coin\.json"):
        records.read_record(path)


@dataclasses.dataclass(frozen=True)
class Config:
    scales: tuple[float, ...] = (0.5, float("inf"))
    grid: tuple[tuple[int, int], ...] = ((1, 2),)
    rate: float = 1.0
    name: str = "inf"
    seed: int = 0


@pytest.mark.parametrize("config", [Config(), Config(rate=float("-inf"), grid=(), scales=(float("inf"), 2.0))])
def test_a_config_comes_back_from_its_record(config):
    plain = json.loads(json.dumps(records.plain_config(config), allow_nan=False))
    assert records.config_from(Config, plain) == config


def test_a_config_of_other_fields_is_refused():
    with pytest.raises(ValueError, match="fields"):
        records.config_from(Config, {"scales": []})
    with pytest.raises(TypeError, match="set"):
        records.plain_config(dataclasses.replace(Config(), rate={1.0}))  # pyright: ignore[reportArgumentType]
