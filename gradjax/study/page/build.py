"""The page's order: the answer, a contents list, the article, the explorer, research, every claim, the glossary.

No date, no random order, nothing from outside: the same records give the same bytes, and a page can be checked.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradjax.study.contract import PARTS
from gradjax.study.ledger import ROWS, judged, ledger_section
from gradjax.study.ledger.rows import UNTESTED
from gradjax.study.page.explorer import explorer
from gradjax.study.page.glossary import Term, glossary_of
from gradjax.study.page.markup import escape, inline
from gradjax.study.page.prose import answer
from gradjax.study.page.section import section
from gradjax.study.page.style import CSS
from gradjax.study.page.tables import VERDICTS, every_claim
from gradjax.study.records import read_record
from gradjax.study.usage import RecordError

TITLE = "What are gradients, and why do they explode?"
LEAD = (
    "The gradient tells a learning machine which way to change. This article builds it from the slope of a curve, "
    "follows it back through a hundred layers, shows where it is lost, and mends it. Each claim was measured by the "
    "run that drew the figure beside it, is checked against what theory says, and says so where it does not hold."
)


def build_page(folder: Path) -> str:
    """The page of every record in the folder, with the pictures beside them.

    Args:
        folder: holds ``NAME.json`` and ``NAME.png``; other JSON files are named at the end of the page.
    """
    records, unreadable = _records(folder)
    terms = glossary_of(records)
    parts = _parts(records, terms, folder)
    body = [_header(records), _contents(parts), "<main>", *(text for _, _, text, _ in parts), "</main>"]
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{TITLE}</title>\n<style>{CSS}</style>"
    )
    text = "\n".join(part for part in [*body, _footer(unreadable)] if part)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{text}\n</body>\n</html>\n'


def _records(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    records, unreadable = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(read_record(path))
        except RecordError as error:
            unreadable.append(str(error))
    return sorted(records, key=lambda r: (r["part"] != PARTS[0], r["part"], r["order"], r["name"])), unreadable


def _parts(records: list[dict[str, Any]], terms: list[Term], folder: Path) -> list[tuple[str, str, str, str]]:
    """What the page holds in turn: the anchor, the words in the contents list, the text, the part that it opens."""
    places = _places(records)
    parts = [_of_study(record, places, terms, folder) for record in records]
    count = sum(record["part"] == PARTS[0] for record in records)
    if widget := explorer(records):
        parts.insert(count, ("explorer", "Explore it yourself", widget, "Explore"))
    if records:
        words = "Every claim, and whether it holds"
        text = f'<section class="study" id="claims">\n<h2>{words}</h2>\n{every_claim(records)}</section>'
        parts.append(("claims", words, text, "Look up"))
    if any(entry.verdict != UNTESTED for entry in judged(ROWS, records)):
        parts.append(("ledger", "What was published, and what holds", ledger_section(records), "Look up"))
    if terms:
        parts.append(("glossary", "Glossary", _glossary(terms, places), "Look up"))
    return parts


def _places(records: list[dict[str, Any]]) -> dict[str, str]:
    """Where each study stands, in words: "Chapter 1" or "Research"."""
    chapters = [record["name"] for record in records if record["part"] == PARTS[0]]
    return {r["name"]: escape(r["part"].capitalize()) for r in records} | {
        name: f"Chapter {number}" for number, name in enumerate(chapters, 1)
    }


def _of_study(
    record: dict[str, Any], places: dict[str, str], terms: list[Term], folder: Path
) -> tuple[str, str, str, str]:
    name = record["name"]
    place = f"{places[name]}: {escape(name.replace('_', ' '))}"
    part = "The article" if record["part"] == PARTS[0] else places[name]
    return escape(name), inline(record["title"]), section(record, place, terms, folder), part


def _header(records: list[dict[str, Any]]) -> str:
    claims = [claim for record in records for claim in record["claims"]]
    held = sum(claim["holds"] for claim in claims)
    known = sum(not claim["holds"] and bool(claim.get("miss")) for claim in claims)
    declared = f"; {known} {'is' if known == 1 else 'are'} declared not to, and why" if known else ""
    studies = f"{len(records)} {'study' if len(records) == 1 else 'studies'}"
    counted = f"{held} of {len(claims)} claims hold in {studies}{declared}."
    kind, words = VERDICTS[held == len(claims)]
    verdict = f'<span class="verdict {kind}">{words.split()[0]} {counted}</span>' if claims else "No study has run yet."
    found = next((text for record in records if (text := answer(record))), "")
    why = f'<h2 id="why">Why do they explode?</h2>\n<p class="answer">{found}</p>\n' if found else ""
    return f'<header>\n<h1>{TITLE}</h1>\n<p class="lead">{LEAD}</p>\n{why}<p>{verdict}</p>\n</header>'


def _contents(parts: Iterable[tuple[str, str, str, str]]) -> str:
    """The contents list: a list for each part of the page."""
    grouped: dict[str, list[str]] = {}
    for anchor, words, _, part in parts:
        grouped.setdefault(part, []).append(f'<li><a href="#{anchor}">{words}</a></li>')
    lists = "\n".join(
        f"<h3>{part}</h3>\n<ol>{''.join(items)}</ol>"
        if part == "The article"
        else f"<h3>{part}</h3>\n<ul>{''.join(items)}</ul>"
        for part, items in grouped.items()
    )
    return f'<nav aria-labelledby="contents">\n<h2 id="contents">Contents</h2>\n{lists}\n</nav>' if grouped else ""


def _glossary(terms: list[Term], places: dict[str, str]) -> str:
    entries = "\n".join(
        f'<dt id="term-{escape(term.slug)}">{escape(term.word)}</dt>\n<dd>{inline(term.meaning.rstrip("."))} '
        f'(<a href="#first-{escape(term.slug)}">{places[term.study]}</a>).</dd>'
        for term in sorted(terms, key=lambda term: term.word.lower())
    )
    return f'<section class="study" id="glossary">\n<h2>Glossary</h2>\n<dl>\n{entries}\n</dl>\n</section>'


def _footer(unreadable: list[str]) -> str:
    notices = "".join(f'<p class="notice">{escape(message)}</p>\n' for message in unreadable)
    return (
        f"<footer>\n{notices}<p>Made by <code>python -m studies</code> from the records beside this page; "
        "<code>--replot</code> draws every figure again from its saved arrays and checks its claims.</p>\n</footer>"
    )
