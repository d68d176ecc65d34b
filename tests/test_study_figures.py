"""The committed figures: whole, of the present studies, failing in nothing undeclared; the page is what they give."""

from pathlib import Path

from gradjax.study import contract
from gradjax.study.files import sha256
from gradjax.study.page import build_page
from gradjax.study.reach import same_computation
from gradjax.study.records import is_sealed, read_record

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "figures"


def committed():
    """Each committed record with the path of its file."""
    return [(path, read_record(path)) for path in sorted(FIGURES.glob("*.json"))]


def test_the_committed_page_is_made_from_the_committed_records():
    page = FIGURES / "index.html"
    assert page.exists() == bool(committed())
    if page.exists():
        assert page.read_text(encoding="utf-8") == build_page(FIGURES)


def test_committed_records_are_whole_and_of_the_full_preset():
    for path, record in committed():
        assert is_sealed(record), path.name
        assert record["preset"] == "full" and not record["changed"], path.name
        for suffix in ("png", "pdf", "csv"):
            assert sha256(path.with_suffix(f".{suffix}").read_bytes()) == record["files"][suffix], (path.name, suffix)


def test_committed_records_fail_in_nothing_but_what_their_studies_declare():
    studies = {study.name: study for study in contract.discover(ROOT / "studies")}
    for path, record in committed():
        misses = getattr(studies[path.stem].module, "MISSES", {})
        failing = {claim["name"] for claim in record["claims"] if not claim["holds"]}
        declared = {claim["name"]: claim["miss"] for claim in record["claims"] if "miss" in claim}
        assert failing <= misses.keys() and declared == misses, path.name


def test_committed_records_are_of_what_the_studies_compute_now():
    studies = {study.name: study for study in contract.discover(ROOT / "studies")}
    for path, record in committed():
        assert same_computation(record["source"], studies[path.stem].source), path.name
