"""The page's tables, above all that of every claim with its verdict; on a narrow screen each row becomes a card."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gradjax.study.claims import RELATIONS
from gradjax.study.page.markup import escape, inline
from gradjax.study.page.numerals import number

VERDICTS = {True: ("holds", "✓ holds"), False: ("fails", "✗ fails")}
KNOWN = ("fails", "✗ does not hold")  # and is declared so, with a reason


def table(caption: str, columns: list[str], rows: Iterable[list[str]]) -> str:
    """A table from finished cells."""
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<table class="stack"><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>\n"
    )


def cell(label: str, content: str, kind: str = "") -> str:
    """A cell, with its column's name where that may stand before it."""
    attributes = (f' class="{kind}"' if kind else "") + (f' data-label="{label}"' if label else "")
    return f"<td{attributes}>{content}</td>"


def row_head(content: str, anchor: str = "") -> str:
    """The cell that names its row, and where links to the row lead."""
    place = f' id="{escape(anchor)}"' if anchor else ""
    return f'<th scope="row"{place}>{content}</th>'


def claim_anchors(study: str, claims: Iterable[str]) -> list[str]:
    """Where the page shows each claim of a study; names that differ in signs alone are numbered.

    >>> claim_anchors("one_study", ["Slope: tanh, 2.5", "Slope: tanh, 2,5"])
    ['one_study-claim-slope-tanh-2-5', 'one_study-claim-slope-tanh-2-5-2']
    """
    slugs = [re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") for name in claims]
    repeats = [slugs[: i + 1].count(slug) for i, slug in enumerate(slugs)]
    return [f"{study}-claim-{slug}{f'-{n}' * (n > 1)}" for slug, n in zip(slugs, repeats, strict=True)]


def verdict(claim: Mapping[str, Any]) -> str:
    """The verdict in a word and a colour; where the claim is declared not to hold, with the reason."""
    why = "" if claim["holds"] else claim.get("miss", "")
    kind, words = KNOWN if why else VERDICTS[bool(claim["holds"])]
    return f'<span class="verdict {kind}">{words}</span>' + (f" {inline(why.rstrip('.'))}." if why else "")


def claims_table(record: Mapping[str, Any]) -> str:
    """One study's claims with their numbers."""
    anchors = claim_anchors(record["name"], [claim["name"] for claim in record["claims"]])
    rows = [
        [
            row_head(inline(claim["statement"]), anchor),
            cell("Measured", number(claim["measured"]), "number"),
            cell("Expected", _expected(claim), "number"),
            cell("Tolerance", f"± {number(claim['tolerance'], digits=2)}", "number"),
            cell("Source", inline(claim["source"])),
            cell("Verdict", verdict(claim)),
        ]
        for claim, anchor in zip(record["claims"], anchors, strict=True)
    ]
    return table("Claims", ["Claim", "Measured", "Expected", "Tolerance", "Source", "Verdict"], rows)


def every_claim(records: Iterable[Mapping[str, Any]]) -> str:
    """The claims of all studies, each with its verdict and its numbers in short."""
    rows = [
        [
            row_head(f'<a href="#{escape(record["name"])}">{inline(record["title"])}</a>'),
            cell("", f'<ul class="claims">{"".join(_item(claim) for claim in record["claims"])}</ul>'),
        ]
        for record in records
    ]
    return table("What each study claims, and whether it holds", ["Study", "Claims"], rows)


def _item(claim: Mapping[str, Any]) -> str:
    numbers = f"{number(claim['measured'], 4)}; {RELATIONS[claim['relation']]} {number(claim['expected'], 4)}"
    return f'<li>{verdict(claim)} {inline(claim["statement"])} <span class="soft">({numbers})</span></li>'


def settings(record: Mapping[str, Any]) -> str:
    """How a study was run: its config with the meaning of each field, and the machine."""
    rows = [
        [
            row_head(f"<code>{escape(name)}</code>"),
            cell("Value", escape(value)),
            cell("", inline(record["fields"].get(name, ""))),
        ]
        for name, value in record["config"].items()
    ]
    environment = dict(record["environment"])
    versions = ", ".join(f"{name} {version}" for name, version in environment.pop("versions").items())
    facts = [
        [row_head(escape(name.replace("_", " "))), cell("", escape(value))]
        for name, value in [*environment.items(), ("versions", versions)]
    ]
    return table("Settings", ["Field", "Value", "Meaning"], rows) + table("Machine", ["Fact", "Value"], facts)


def _expected(claim: Mapping[str, Any]) -> str:
    sign = RELATIONS[claim["relation"]].removeprefix("expected").strip()
    return f"{sign} {number(claim['expected'])}".strip()
