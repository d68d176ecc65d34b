"""Numbers as a reader wants them, and a text's places for them filled from its record's claims.

``{the slope}`` is what the claim of that name measured, ``{the slope:.2f}`` the same in that format, and
``{expected the slope:.2f}`` what was expected of it: a sentence on the page cannot say another number than its claim.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gradjax.study.page.markup import escape, powers

PLACE = re.compile(r"\{(expected )?([^{}\n]+)\}")


def number(value: float | str, digits: int = 6) -> str:
    """A number in a table: a few digits, powers of ten and a true minus; escaped."""
    return escape(in_words(value if isinstance(value, str) else f"{value:.{digits}g}"))


def in_words(formatted: str) -> str:
    """A formatted number as a sentence has it.

    >>> in_words("-1.5e-07"), in_words("1e+30")
    ('−1.5 × 10⁻⁷', '10³⁰')
    """
    return powers(formatted).replace("-", "\N{MINUS SIGN}")


def filled(text: str, claims: Iterable[Mapping[str, Any]]) -> str:
    """The text with every place that names a claim filled; braces that name none stay as they are."""
    by_name = {claim["name"]: claim for claim in claims}

    def fill(match: re.Match[str]) -> str:
        name, form = match[2], ".3g"
        if name not in by_name:
            name, _, form = name.rpartition(":")
        if name not in by_name:
            return match[0]
        value = by_name[name]["expected" if match[1] else "measured"]
        try:
            return in_words(format(float(value), form))
        except ValueError:
            return match[0]

    return PLACE.sub(fill, text)
