"""Claims: a measured number beside the expected one, and the verdict.

A claim is data, so that the terminal, the record and the page say the same thing, and a test can plant a wrong input
and see the verdict change.
"""

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradjax.numerics import is_concrete

RELATIONS = {"=": "expected", "<=": "expected at most", ">=": "expected at least"}
# whether it holds, and whether it is declared not to
VERDICTS = {
    (True, False): "holds",
    (False, False): "FAILS",
    (True, True): "holds here, though declared not to",
    (False, True): "does not hold, as declared",
}


@dataclasses.dataclass(frozen=True)
class Claim:
    """One checkable sentence: a measured number, the expected one, and the tolerance between them.

    ``holds`` is |measured − expected| ≤ tolerance for the relation ``"="``, measured ≤ expected + tolerance for
    ``"<="``, measured ≥ expected − tolerance for ``">="``. NaN never holds. With ``"="`` an infinite expectation is met
    by that infinity alone.

    Args:
        name: what the claim is called in ``PLANTS``, on the page and in the terminal; unique in its study.
        measured: the number that this run gave (NaN and infinities are allowed: a broken measurement is no error here).
        expected: the number that theory or the paper gives; not NaN.
        tolerance: finite and >= 0, in the unit of ``measured``; derive it from width, seeds and dtype.
        source: where ``expected`` comes from (author and year, or the function that computes it).
        relation: ``"="``, ``"<="`` or ``">="``.
        statement: a plain sentence without its full stop; ``{measured}``, ``{expected}`` and ``{tolerance}`` are filled
            in and may carry a format, as in ``{measured:.2f}``. Empty: the name stands for it.
        miss: why it is known not to hold (its study's ``MISSES``): it is published so, and fails no run.

    Raises:
        ValueError: for an empty name or source, a NaN expectation, a negative or non-finite tolerance, an unknown
            relation, or a statement that cannot be filled in.
        TypeError: for a measured, expected or tolerance that is not one real number.

    >>> Claim("slope", 0.51, 0.5, 0.02, "Schoenholz 2017").holds
    True
    >>> Claim("slope", float("nan"), 0.5, 0.02, "Schoenholz 2017").holds
    False
    """

    name: str
    measured: float
    expected: float
    tolerance: float
    source: str
    relation: str = "="
    statement: str = ""
    miss: str = ""

    def __post_init__(self):
        _require_text("name", self.name)
        _require_text("source", self.source)
        for field in ("measured", "expected", "tolerance"):
            object.__setattr__(self, field, _real_number(self.name, field, getattr(self, field)))
        if math.isnan(self.expected):
            raise ValueError(f"claim {self.name!r}: expected is NaN; give the number that the source predicts")
        if not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            raise ValueError(f"claim {self.name!r}: tolerance is {self.tolerance}; expected a finite number >= 0")
        if not isinstance(self.relation, str) or self.relation not in RELATIONS:
            raise ValueError(
                f"claim {self.name!r}: relation is {self.relation!r}; expected one of {', '.join(RELATIONS)}"
            )
        self.filled_statement()

    @property
    def holds(self) -> bool:
        """Whether the measured number meets the expected one within the tolerance."""
        measured, expected, tolerance = self.measured, self.expected, self.tolerance
        if math.isinf(expected) and self.relation == "=":
            return measured == expected
        verdicts = {
            "=": abs(measured - expected) <= tolerance,
            "<=": measured <= expected + tolerance,
            ">=": measured >= expected - tolerance,
        }
        return verdicts[self.relation]

    @property
    def passes(self) -> bool:
        """Whether it holds, or is declared not to."""
        return self.holds or bool(self.miss)

    def filled_statement(self) -> str:
        """The statement with its numbers filled in."""
        try:
            values = {"measured": self.measured, "expected": self.expected, "tolerance": self.tolerance}
            return self.statement.format(**values).strip() or self.name
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                f"claim {self.name!r}: the statement {self.statement!r} cannot be filled in ({error!r}); "
                "it may name {measured}, {expected} and {tolerance}, each with a format for one number"
            ) from error

    def sentence(self) -> str:
        """The claim in one plain sentence: verdict, statement, numbers and source."""
        verdict, statement = VERDICTS[self.holds, bool(self.miss)], self.filled_statement().rstrip(".")
        expected = f"{RELATIONS[self.relation]} {self.expected:.6g}"
        numbers = f"measured {self.measured:.6g}, {expected}, tolerance {self.tolerance:.2g}"
        why = f" Why: {self.miss.rstrip('.')}." if self.miss and not self.holds else ""
        return f"{verdict}: {statement} ({numbers}; {self.source}).{why}"

    def as_dict(self) -> dict[str, Any]:
        """The claim as plain values for its record, verdict and filled statement included."""
        fields = dataclasses.asdict(self)
        if not self.miss:
            del fields["miss"]
        return fields | {"statement": self.filled_statement(), "holds": self.holds}


def check_claims(
    claims: Sequence[Claim], plants: Mapping[str, tuple[str, ...]], misses: Mapping[str, str] | None = None
) -> list[Claim]:
    """The claims, once it is known that there are some, that names are unique, and that plants cover exactly them.

    misses: by name, why a claim is known not to hold; each such claim carries it.
    """
    claims = list(claims)
    if not claims or not all(isinstance(claim, Claim) for claim in claims):
        raise ValueError(
            f"claims(config, result) gave {claims!r:.200}; expected a list of at least one gradjax.study.Claim"
        )
    names = [claim.name for claim in claims]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"claims(config, result) repeats the names {repeated}; each claim needs its own")
    planted = {name for covered in plants.values() for name in covered}
    if planted != set(names):
        raise ValueError(
            f"PLANTS and the claims differ: no plant makes {sorted(set(names) - planted)} fail, and no claim is called "
            f"{sorted(planted - set(names))}"
        )
    misses = misses or {}
    if unknown := sorted(misses.keys() - set(names)):
        raise ValueError(f"MISSES and the claims differ: no claim is called {unknown}")
    return [dataclasses.replace(claim, miss=misses.get(claim.name, "")) for claim in claims]


def _require_text(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"claim: {field} is {value!r}; expected words")


def _real_number(name: str, field: str, value: Any) -> float:
    """A Python float from any scalar that stands for one real number."""
    if hasattr(value, "ndim") and value.ndim == 0 and is_concrete(value):
        value = np.asarray(value).item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"claim {name!r}: {field} is {value!r:.100}; expected one real number (a count for a yes or no)"
        )
    return float(value)
