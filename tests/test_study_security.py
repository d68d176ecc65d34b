"""Files from anywhere: a crafted record or archive gives one clean sentence, its names are escaped, nothing runs."""

import html.parser
import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from study_cases import run, write_study

from gradjax.study import arrays, outputs, records
from gradjax.study.page import build_page
from gradjax.study.schema import PARTS
from gradjax.study.usage import RecordError

JUNK = [
    None,
    3,
    -1.5,
    True,
    "../../secret",
    "<script>alert(1)</script>",
    [],
    [[]],
    {},
    {"a": {"b": []}},
    [None],
    "9" * 99,
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    write_study(root)
    assert run(root) == 0
    return root


@pytest.fixture
def root(made, tmp_path):
    for path in made.rglob("*"):
        if path.is_file():
            (tmp_path / path.relative_to(made)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path.relative_to(made)).write_bytes(path.read_bytes())
    return tmp_path


def crafted(root, change):
    """The record changed and sealed again, as somebody with bad intent would."""
    path = root / "figures" / "quick" / "coin.json"
    record = json.loads(path.read_bytes())
    change(record)
    path.write_bytes(records.render_record(records.sealed(record)))
    return path


@pytest.mark.parametrize("part", [name for name in PARTS if name != "digest"])
def test_any_part_replaced_by_junk_is_a_record_or_a_clean_error(root, part, capsys):
    good = json.loads((root / "figures" / "quick" / "coin.json").read_bytes())
    for junk in JUNK:
        path = crafted(root, lambda record, junk=junk: record.update({**good, part: junk}))
        try:
            read = records.read_record(path)
        except RecordError as error:
            assert "coin.json" in str(error) and "\n" not in str(error)
        else:
            assert isinstance(read[part], type(junk))
        assert "<script>" not in build_page(path.parent)
        assert run(root, "--replot") in (0, 1)
        assert "Traceback" not in capsys.readouterr().err, (part, junk)
    path.write_bytes(
        records.render_record(records.sealed({name: value for name, value in good.items() if name != part}))
    )
    with pytest.raises(RecordError, match=part):
        records.read_record(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"[" * 10**6, b"\xff", b'{"format": 1}', b"NaN"])
def test_what_is_no_record_is_named_on_the_page_and_harms_nobody(root, content):
    path = root / "figures" / "quick" / "other.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"other\.json"):
        records.read_record(path)
    assert "other.json" in build_page(path.parent) and run(root, "--replot") == 0


def test_every_word_of_a_record_is_escaped_on_the_page(root):
    attack = "\"'><img src=x onerror=alert(1)><script>alert(1)</script>"

    def poison(record):
        for part in ("title", "question", "docstring", "figure", "source"):
            record[part] = f"{attack}\n\n{attack}?\n\n{attack}\n\n    {attack}\n"
        record["fields"] = dict.fromkeys(record["fields"], attack)
        record["changed"] = record["config"] = {"coins": attack}
        record["environment"]["versions"] = {attack: attack}
        record["environment"]["device"] = attack
        for claim in record["claims"]:
            claim.update(name=attack + claim["name"], source=attack, statement=attack)

    path = crafted(root, poison)
    records.read_record(path)
    found = []

    class Elements(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append((tag, {name for name, _ in attributes}))

    text = build_page(path.parent)
    Elements().feed(text)
    assert "alert(1)" in text and not any(name.startswith("on") for _, names in found for name in names)
    assert not [
        tag for tag, names in found if (tag == "script" or tag == "img") and ("src" in names) and "alt" not in names
    ]
    assert text.count("<script") == 0


class Trap:
    def __reduce__(self):
        return (os.abort, ())


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def pickled():
    buffer = io.BytesIO()
    np.savez(buffer, means=np.array([Trap()], object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x80\x04.",
        pickled(),
        archive(**{"means.npy": b"\x93NUMPY\x01\x00\xff\xff{"}),
        archive(**{"means.npy": b"\x93NUMPY\x09\x00\x00\x00"}),
        archive(
            **{
                "means.npy": b"\x93NUMPY\x01\x00\x43\x00{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,)}"  # noqa: E501
            }
        ),
    ],
)
def test_a_crafted_archive_is_a_clean_error_and_no_pickle_is_opened(root, content, capsys):
    with pytest.raises(RecordError, match="the saved arrays cannot be read"):
        arrays.unpack_arrays(content)
    (root / "figures" / "quick" / "coin.npz").write_bytes(content)
    crafted(root, lambda record: record["files"].update(npz=outputs.sha256(content)))
    assert run(root, "--replot") == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "the saved arrays cannot be read" in said
    assert run(root) == 0 and "kept" not in capsys.readouterr().out  # computed again


def test_nothing_outside_out_is_written_or_changed(tmp_path, monkeypatch):
    """Every file that is opened for writing while studies run, are drawn again and listed lies in --out."""
    write_study(tmp_path)
    out, opened = tmp_path / "out", []
    true = io.open

    def watched(file, mode="r", *rest, **words):
        if not isinstance(file, int) and set(mode) & set("wax+"):
            opened.append(Path(os.fsdecode(file)).resolve())
        return true(file, mode, *rest, **words)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "studies").rglob("*.py")}
    assert run(tmp_path, "--out", tmp_path / "first") == 0  # matplotlib's caches are made once
    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", watched)
        patch.setattr(io, "open", watched)
        for words in ((), ("--replot",), ("--no-resume",)):
            assert run(tmp_path, *words, "--out", out) == 0
    assert len(opened) > 10 and not [path for path in opened if out not in path.parents]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "out", "studies"]


@pytest.mark.parametrize("name", ["../../../escaped", "{root}/escaped", "..", "coin/../../escaped"])
def test_a_record_that_names_files_elsewhere_reaches_none(root, name):
    """Neither what it is called nor what it lists leads out of the folder, to write there or to remove something."""
    name, folder = name.format(root=root), root / "figures" / "quick"
    guarded = root / "escaped.npz"
    guarded.write_bytes(b"mine")

    def outside():
        return {
            p: p.read_bytes() for p in root.rglob("*") if p.is_file() and folder not in p.parents and p.suffix != ".pyc"
        }

    before = outside()

    def elsewhere(record):
        record["name"], record["files"] = (
            name,
            {**record["files"], name: "0" * 64, f"{name}.npz": outputs.sha256(b"mine")},
        )
        record["config"]["seed"] = 3  # so that it is computed again

    crafted(root, elsewhere)
    for words in (("--replot",), (), ("--resume",)):
        assert run(root, *words) in (0, 1)
        assert outside() == before
