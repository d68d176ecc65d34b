"""The ledger's verdicts follow the records: each of them can turn, and every row names a claim that a study makes."""

import dataclasses
import math
from pathlib import Path

import pytest

from gradjax import study
from gradjax.study.contract import discover
from gradjax.study.ledger import ROWS, VERDICTS, Row, judged, ledger_section, ledger_text
from gradjax.study.ledger.rows import CONDITION, FAILS, HOLDS, UNTESTED
from gradjax.study.records import read_record

ROOT = Path(__file__).resolve().parents[1]
TESTED = [row for row in ROWS if row.at]


def record(**claims):
    """A record of the study 'made up' with claims (measured, tolerance)."""
    return {
        "name": "made up",
        "claims": [
            {"name": name, "measured": measured, "expected": measured, "tolerance": tolerance, "relation": "="}
            for name, (measured, tolerance) in claims.items()
        ],
    }


def committed():
    return [read_record(path) for path in sorted((ROOT / "figures").glob("*.json"))]


@pytest.mark.parametrize(
    ("row", "measured", "verdict"),
    [
        (Row("a", "b", 2.0, ("made up", "x")), (2.05, 0.1), HOLDS),
        (Row("a", "b", 2.0, ("made up", "x")), (2.15, 0.1), FAILS),
        (Row("a", "b", 2.0, ("made up", "x"), digits=0.1), (2.15, 0.1), HOLDS),
        (Row("a", "b", 2.0, ("made up", "x"), relation="<="), (-7.0, 0.0), HOLDS),
        (Row("a", "b", 2.0, ("made up", "x"), relation=">="), (1.5, 0.1), FAILS),
        (Row("a", "b", 0.0, ("made up", "x"), log=True), (0.2, 0.1), FAILS),
        (Row("a", "b", 2.0, ("made up", "other")), (2.0, 0.1), UNTESTED),
        (Row("a", "b"), (2.0, 0.1), UNTESTED),
        (Row("a", "b", 2.0, ("made up", "x")), (math.nan, 0.1), FAILS),
    ],
)
def test_a_verdict_is_the_numbers_verdict(row, measured, verdict):
    (entry,) = judged([row], [record(x=measured)])
    assert entry.verdict == verdict


def test_a_condition_needs_a_measurement_outside_of_it():
    row = Row("a", "b", 1.0, ("made up", "inside"), outside=("made up", "outside", 3.0))
    for beyond, verdict in ((3.05, HOLDS), (4.0, CONDITION)):
        (entry,) = judged([row], [record(inside=(1.0, 0.1), outside=(beyond, 0.1))])
        assert entry.verdict == verdict
    assert judged([row], [record(inside=(2.0, 0.1), outside=(4.0, 0.1))])[0].verdict == FAILS
    assert judged([row], [record(inside=(1.0, 0.1))])[0].verdict == UNTESTED


def test_a_bound_that_a_study_sets_itself_is_no_theory():
    row, bound = Row("a", "b", 1.0, ("made up", "x"), relation=">="), record(x=(2.0, 0.0))
    assert judged([row], [bound])[0].theory == 2.0
    assert math.isnan(judged([dataclasses.replace(row, predicted=False)], [bound])[0].theory)
    bound["claims"][0]["relation"] = ">="
    assert math.isnan(judged([row], [bound])[0].theory)


def test_ratios_of_numbers_and_of_logarithms():
    (plain,) = judged([Row("a", "b", 2.0, ("made up", "x"))], [record(x=(1.0, 0.5))])
    assert plain.ratios == (0.5, 0.25, 0.75)
    (log,) = judged([Row("a", "b", 1.0, ("made up", "x"), log=True)], [record(x=(1.0, math.log(2)))])
    assert log.ratios == pytest.approx((1.0, 0.5, 2.0))


def test_the_table_is_as_long_as_promised_and_every_row_can_fail():
    assert len(TESTED) >= 35 and len(ROWS) - len(TESTED) <= 10
    assert len({(row.claim, row.source) for row in ROWS}) == len({row.at for row in TESTED}) + len(ROWS) - len(TESTED)
    for row in TESTED:
        far = -1e9 if row.relation == ">=" else 1e9
        study_name, name = row.at
        broken = record(**{name: (far, 1.0)}) | {"name": study_name}
        assert judged([dataclasses.replace(row, outside=None)], [broken])[0].verdict == FAILS, row.claim
    assert all(row.note for row in ROWS if not row.at)
    assert all(row.log or row.published for row in TESTED)  # or measured over published is no number


def test_every_row_names_a_claim_that_its_study_makes():
    studies = {item.name: item for item in discover(ROOT / "studies")}
    for row in TESTED:
        for name, claim in [row.at, *([row.outside[:2]] if row.outside else [])]:
            assert name in studies, row.claim
            planted = {c for covered in studies[name].module.PLANTS.values() for c in covered}
            assert claim in planted, (name, claim)


def test_what_is_quoted_and_false_stands_first_with_what_holds_instead():
    entries = judged(ROWS, committed())
    order = [VERDICTS.index(entry.verdict) for entry in entries]
    assert order == sorted(order)
    for entry in entries:
        if entry.verdict in (FAILS, CONDITION):
            assert entry.row.note, entry.row.claim
    assert sum(entry.verdict == FAILS for entry in entries) >= 3


def test_page_and_terminal_say_the_same_and_are_reproducible():
    records = committed()
    section, text = ledger_section(records), ledger_text(records)
    assert section == ledger_section(reversed(records)) and section.count("<svg") == 1
    assert section.count("<tr>") == len(ROWS) + 1
    assert text.splitlines()[-1] in section and text.count("\n") == len(ROWS)


def test_the_command_line(tmp_path, capsys):
    assert study.main(ROOT / "studies", ["--ledger"]) == 0
    assert "published claims" in capsys.readouterr().out
    assert study.main(ROOT / "studies", ["--ledger", "--out", str(tmp_path)]) == 2
    assert "no records" in capsys.readouterr().err
