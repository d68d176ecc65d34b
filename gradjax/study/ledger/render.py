"""The ledger as a table and a figure for the page, and as text for the terminal: pure functions of the records."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradjax.study.ledger.rows import CONDITION, FAILS, HOLDS, UNTESTED, VERDICTS, Entry, judged
from gradjax.study.ledger.table import ROWS

LOWEST, HIGHEST = 1 / 16, 16.0  # ends of the figure's axis; what lies beyond stands at the end with its number
STEP, LEFT, RIGHT, TOP = 20, 490, 900, 34  # of the figure, in pixels
LONGEST = 80  # letters of a claim beside its mark; the whole of it stands in the table, and under the pointer
COLOURS = {HOLDS: "#0b5d3b", CONDITION: "#8a5a00", FAILS: "#9b1c1c", UNTESTED: "#4a5159"}
COLUMNS = ("Published claim", "Source", "Published", "Theory", "Measured", "Verdict")


def ledger_section(records: Iterable[Mapping[str, Any]]) -> str:
    """The page's section: counts, the figure, the table."""
    entries = judged(ROWS, records)
    return (
        '<section id="ledger">\n<h2>What was published, and what holds</h2>\n'
        f"<p>{html.escape(summary(entries))} A published number holds where it lies within the measured one's error; "
        "what is quoted and does not hold stands first, with what holds instead.</p>\n"
        f"{_figure([entry for entry in entries if entry.verdict != UNTESTED])}\n{_table(entries)}\n</section>"
    )


def ledger_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The ledger as lines for the terminal."""
    entries = judged(ROWS, records)
    lines = []
    for entry in entries:
        row = entry.row
        numbers = "" if entry.verdict == UNTESTED else (
            f" Published {_published(entry)}, {_predicted(entry)}measured {_measured(entry)}"
            f" ({row.at[0] if row.at else ''})."
        )  # fmt: skip
        note = f" {_note(entry)}" if _note(entry) else ""
        lines.append(f"{entry.verdict.upper()}: {row.claim} ({row.source}).{numbers}{note}")
    return "\n".join([*lines, summary(entries)])


def summary(entries: Sequence[Entry]) -> str:
    """How many rows have which verdict, in a sentence."""
    counts = [(verdict, sum(entry.verdict == verdict for entry in entries)) for verdict in VERDICTS]
    return f"{len(entries)} published claims: " + ", ".join(f"{count} {verdict}" for verdict, count in counts) + "."


def _table(entries: Sequence[Entry]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    body = "\n".join(_row(entry) for entry in entries)
    return (
        f'<table class="stack"><caption>The ledger</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>"
    )


def _row(entry: Entry) -> str:
    row = entry.row
    note = f"<br><em>{html.escape(_note(entry))}</em>" if _note(entry) else ""
    measured = _measured(entry) if entry.verdict != UNTESTED else "—"
    if row.at and entry.verdict != UNTESTED:
        measured = f'<a href="#{html.escape(row.at[0])}">{measured}</a>'
    kind = {HOLDS: "holds", FAILS: "fails"}.get(entry.verdict, "")
    cells = [
        ("Source", html.escape(row.source), ""),
        ("Published", _published(entry) if entry.verdict != UNTESTED else "—", "number"),
        ("Theory", _number(entry.theory) if entry.verdict != UNTESTED else "—", "number"),
        ("Measured", measured, "number"),
        ("Verdict", f'<span class="verdict {kind}">{entry.verdict}</span>', ""),
    ]
    rest = "".join(
        f'<td data-label="{label}"' + (f' class="{kind}"' if kind else "") + f">{text}</td>"
        for label, text, kind in cells
    )
    return f'<tr><th scope="row">{html.escape(row.claim)}{note}</th>{rest}</tr>'


def _note(entry: Entry) -> str:
    """What holds instead, the condition, or why it was not tested: a sentence, or nothing where the claim holds."""
    note = entry.row.note if entry.verdict != HOLDS else ""
    return f"{note[0].upper()}{note[1:]}." if note else ""


def _number(value: float) -> str:
    if math.isnan(value):
        return "—"
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}") if abs(value) > 1e-12 else "0"


def _published(entry: Entry) -> str:
    sign = {"=": "", "<=": "≤ ", ">=": "≥ "}[entry.row.relation]
    return sign + _number(entry.row.published)


def _predicted(entry: Entry) -> str:
    return "" if math.isnan(entry.theory) else f"theory {_number(entry.theory)}, "


def _measured(entry: Entry) -> str:
    error = f" ± {entry.error:.2g}" if entry.error else ""
    return _number(entry.measured) + error


def _x(ratio: float) -> float:
    """Where a ratio stands on the logarithmic axis, in pixels."""
    clipped = min(max(ratio, LOWEST), HIGHEST) if ratio > 0 else LOWEST
    return LEFT + (RIGHT - LEFT) * math.log(clipped / LOWEST) / math.log(HIGHEST / LOWEST)


def _figure(entries: Sequence[Entry]) -> str:
    """Measured over published, a row a claim: an inline SVG on a logarithmic axis, which each verdict begins anew."""
    groups = [[e for e in entries if e.verdict == verdict] for verdict in VERDICTS]
    parts, y = [], 0
    for group in filter(None, groups):
        below = y + TOP + STEP * len(group)
        parts += _axis(group[0].verdict, y + TOP, below)
        parts += [mark for index, entry in enumerate(group) for mark in _marks(entry, y + TOP + STEP * (index + 0.5))]
        y = below + STEP
    head = (
        f'<svg viewBox="0 0 {RIGHT + 60} {y}" role="img" style="width:100%;height:auto;font:11px sans-serif" '
        'aria-label="Measured over published for every row of the ledger, with its error, on a logarithmic axis">'
    )
    return "\n".join([head, *parts, "</svg>"])


def _axis(verdict: str, top: int, below: int) -> list[str]:
    """A verdict's heading, the ratios above its rows, and their lines through them."""
    words = f"{verdict}: measured / published (bounds dashed; beyond: an arrow)"
    parts = [f'<text x="{LEFT - 34}" y="{top - 8}" text-anchor="end" font-weight="bold" fill="#1a1d21">{words}</text>']
    for tick in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16):
        x, shade = _x(tick), "#1a1d21" if tick == 1 else "#d5dade"
        name = f"{tick:g}" if tick >= 1 else f"1/{round(1 / tick)}"
        parts.append(f'<line x1="{x:.1f}" y1="{top - 4}" x2="{x:.1f}" y2="{below}" stroke="{shade}"/>')
        parts += [
            f'<text x="{x:.1f}" y="{y}" text-anchor="middle" fill="#4a5159">{name}</text>'
            for y in (top - 8, below + 12)
        ]
    return parts


def _marks(entry: Entry, y: float) -> list[str]:
    colour = COLOURS[entry.verdict]
    whole = entry.row.claim
    claim = whole if len(whole) <= LONGEST else whole[: LONGEST - 2].rsplit(" ", 1)[0] + " …"
    label = f"{html.escape(claim)}<title>{html.escape(whole)}</title>"
    parts = [
        f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="#eef1f3"/>',
        f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end" fill="{colour}">{label}</text>',
    ]
    bound = entry.row.relation != "="
    middle, low, high = entry.ratios
    dash = ' stroke-dasharray="2 2"' if bound else ""
    low, high = min(low, high), max(low, high)
    ends = f'x1="{_x(low):.1f}" y1="{y:.1f}" x2="{_x(high):.1f}" y2="{y:.1f}"'
    parts.append(f'<line {ends} stroke="{colour}" stroke-width="2"{dash}/>')
    if LOWEST <= middle <= HIGHEST:
        parts.append(f'<circle cx="{_x(middle):.1f}" cy="{y:.1f}" r="3.6" fill="{colour}"/>')
    else:
        arrow = f"→ {middle:.3g}" if middle > HIGHEST else f"← {middle:.3g}"
        parts.append(f'<text x="{_x(middle):.1f}" y="{y + 4:.1f}" fill="{colour}">{arrow}</text>')
    return parts
