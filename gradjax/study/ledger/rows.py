"""A row of the ledger and its verdict, computed from a study's record: nothing about the outcome is written by hand."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HOLDS, CONDITION, FAILS, UNTESTED = "holds", "holds with this condition", "does not hold", "not tested"
VERDICTS = (FAILS, CONDITION, HOLDS, UNTESTED)  # in the ledger's order: what is quoted and false stands at the top


@dataclasses.dataclass(frozen=True)
class Row:
    """A published claim, and where it was measured.

    Args:
        claim: in words.
        source: author and year.
        published: the paper's number, in the unit of the study's claim; NaN where it is not tested.
        at: study and name of the claim whose measured number stands beside it; empty where it is not tested.
        log: the number is a logarithm, or a difference that should be 0: ratios are taken of its exponential.
        relation: "=", or "<=" and ">=" for a published bound.
        digits: relative size of what the published digits leave open.
        note: what holds instead, the condition, or why it was not tested.
        outside: the same claim beyond its condition: study, claim and published number there.
        predicted: whether the study's claim compares with theory of ours; False where it does with the paper's number.
    """

    claim: str
    source: str
    published: float = math.nan
    at: tuple[str, str] | None = None
    log: bool = False
    relation: str = "="
    digits: float = 1e-3
    note: str = ""
    outside: tuple[str, str, float] | None = None
    predicted: bool = True


@dataclasses.dataclass(frozen=True)
class Entry:
    """A row with its verdict and the numbers that it rests on; NaN where nothing was measured, or predicted: the bound
    that a study sets its claim is no theory."""

    row: Row
    verdict: str
    measured: float = math.nan
    theory: float = math.nan
    error: float = math.nan

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Measured over published, and the ends of its error bar."""
        ends = self.measured, self.measured - self.error, self.measured + self.error
        if self.row.log:
            return tuple(math.exp(max(min(end - self.row.published, 700.0), -700.0)) for end in ends)  # pyright: ignore[reportReturnType]
        return tuple(end / self.row.published for end in ends)  # pyright: ignore[reportReturnType]


def judged(rows: Sequence[Row], records: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Every row with its verdict, in the ledger's order: false ones first.

    *holds*: the published number lies within the measured one's error (the claim's tolerance, derived from width, seeds
    and dtype) and what its own digits leave open. *holds with this condition*: it does there, and not outside. *not
    tested*: no claim is named, or its record is not there.
    """
    claims = {(r["name"], c["name"]): c for r in records for c in r["claims"]}
    entries = [_entry(row, claims) for row in rows]
    return sorted(entries, key=lambda entry: VERDICTS.index(entry.verdict))


def _entry(row: Row, claims: Mapping[tuple[str, str], Mapping[str, Any]]) -> Entry:
    claim = claims.get(row.at) if row.at else None
    if claim is None:
        return Entry(row, UNTESTED)
    measured, theory, error = (float(claim[name]) for name in ("measured", "expected", "tolerance"))
    theory = theory if row.predicted and claim["relation"] == "=" else math.nan
    inside = _compatible(row, measured, row.published, error)
    verdict = HOLDS if inside else FAILS
    if inside and row.outside:
        beyond = claims.get(row.outside[:2])
        if beyond is None:
            return Entry(row, UNTESTED)
        numbers = float(beyond["measured"]), row.outside[2], float(beyond["tolerance"])
        verdict = HOLDS if _compatible(row, *numbers) else CONDITION
    return Entry(row, verdict, measured, theory, error)


def _compatible(row: Row, measured: float, published: float, error: float) -> bool:
    slack = error + row.digits * (1.0 if row.log else abs(published))
    if row.relation == "<=":
        return measured <= published + slack
    if row.relation == ">=":
        return measured >= published - slack
    return abs(measured - published) <= slack
