"""The page's structure: a summary of every claim, then one section a study, as pure functions of the records.

No date, no random order, nothing from outside: the same records give the same bytes, and a page can be checked.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradjax.study.claims import RELATIONS
from gradjax.study.contract import PARTS
from gradjax.study.files import sha256
from gradjax.study.page.markup import docstring, escape, inline
from gradjax.study.page.style import CSS
from gradjax.study.records import is_sealed, read_record
from gradjax.study.usage import RecordError

TITLE = "Why does the gradient of a deep network explode or vanish, how fast, and what stops it?"
VERDICTS = {True: ("holds", "✓ holds"), False: ("fails", "✗ fails")}


def build_page(folder: Path) -> str:
    """The page of every record in the folder, with the pictures beside them.

    Args:
        folder: holds ``NAME.json`` and ``NAME.png``; other JSON files are named at the end of the page.
    """
    records, unreadable = _records(folder)
    body = [_header(records), "<main>", _summary(records)]
    body += [_study(record, folder) for record in records]
    body += ["</main>", _footer(unreadable)]
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>gradjax: figures and claims</title>\n<style>{CSS}</style>"
    )
    text = "\n".join(part for part in body if part)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{text}\n</body>\n</html>\n'


def _records(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    records, unreadable = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(read_record(path))
        except RecordError as error:
            unreadable.append(str(error))
    return sorted(records, key=lambda r: (r["part"] != PARTS[0], r["part"], r["order"], r["name"])), unreadable


def _header(records: list[dict[str, Any]]) -> str:
    claims = [claim for record in records for claim in record["claims"]]
    held = sum(claim["holds"] for claim in claims)
    counted = f"{held} of {len(claims)} claims hold in {len(records)} {'study' if len(records) == 1 else 'studies'}."
    kind, words = VERDICTS[held == len(claims)]
    verdict = f'<span class="verdict {kind}">{words.split()[0]} {counted}</span>' if claims else "No study has run yet."
    return (
        f"<header>\n<h1>{TITLE}</h1>\n"
        '<p class="lead">Exact gradients and Jacobians of deep networks beside what theory says of them. '
        f"Each number below was measured by the run that drew the figure beside it.</p>\n<p>{verdict}</p>\n</header>"
    )


def _summary(records: list[dict[str, Any]]) -> str:
    if not records:
        return ""
    rows = [
        [
            f'<th scope="row"><a href="#{escape(record["name"])}">{inline(record["title"])}</a></th>',
            _cell("", f'<ul class="claims">{"".join(_summary_item(claim) for claim in record["claims"])}</ul>'),
        ]
        for record in records
    ]
    return _table("Every claim", ["Study", "What it claims"], rows)


def _summary_item(claim: dict[str, Any]) -> str:
    return f"<li>{_verdict(claim)} {inline(claim['statement'])}</li>"


def _study(record: dict[str, Any], folder: Path) -> str:
    name = escape(record["name"])
    rest = record["docstring"].partition("\n")[2].strip("\n")
    after_question = rest.partition("\n\n")[2]
    return f"""<section class="study" id="{name}">
<p class="place">{escape(record["part"])} · {escape(record["preset"])} preset</p>
<h2>{inline(record["title"])}</h2>
<p class="question">{inline(record["question"])}</p>
{_notices(record, folder)}{docstring(after_question)}
{_picture(record, folder)}
{_claims(record)}
<p class="files">{_links(record, folder)}</p>
<details><summary>How it was run</summary>
{_settings(record)}
</details>
<details><summary>The study's source</summary>
<pre><code>{escape(record["source"])}</code></pre>
</details>
</section>"""


def _notices(record: dict[str, Any], folder: Path) -> str:
    notices = []
    if not is_sealed(record):
        notices.append("This record was edited after the run that made it: its digest does not fit its content.")
    picture = folder / f"{record['name']}.png"
    if picture.exists() and sha256(picture.read_bytes()) != record["files"].get("png"):
        notices.append("The picture is not the one that this record's run drew.")
    return "".join(f'<p class="notice">{notice}</p>\n' for notice in notices)


def _picture(record: dict[str, Any], folder: Path) -> str:
    path = folder / f"{record['name']}.png"
    if not path.exists():
        return '<p class="notice">The picture is missing.</p>'
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # where the PNG format puts them
    return (
        f'<figure><a href="{escape(path.name)}"><img src="{escape(path.name)}" width="{width}" height="{height}" '
        f'alt="{escape(record["figure"])}"></a>\n'
        f"<figcaption>{inline(record['title'])}. {_changed(record)}</figcaption></figure>"
    )


def _changed(record: dict[str, Any]) -> str:
    """What differs from the preset, in words."""
    changes = ", ".join(f"{name} = {value}" for name, value in record["changed"].items())
    return f"{escape(record['preset'].capitalize())} preset" + (f", but {escape(changes)}." if changes else ".")


def _claims(record: dict[str, Any]) -> str:
    rows = [
        [
            f'<th scope="row">{inline(claim["statement"])}</th>',
            _cell("Measured", _number(claim["measured"]), "number"),
            _cell("Expected", _expected(claim), "number"),
            _cell("Tolerance", f"± {_number(claim['tolerance'], digits=2)}", "number"),
            _cell("Source", inline(claim["source"])),
            _cell("Verdict", _verdict(claim)),
        ]
        for claim in record["claims"]
    ]
    return _table("Claims", ["Claim", "Measured", "Expected", "Tolerance", "Source", "Verdict"], rows)


def _links(record: dict[str, Any], folder: Path) -> str:
    words = {"csv": "The plotted numbers (CSV)", "pdf": "The figure (PDF)", "json": "The record (JSON)"}
    name = record["name"]
    present = [suffix for suffix in words if (folder / f"{name}.{suffix}").exists()]
    return "\n".join(f'<a href="{escape(name)}.{suffix}">{words[suffix]}</a>' for suffix in present)


def _settings(record: dict[str, Any]) -> str:
    rows = [
        [
            f'<th scope="row"><code>{escape(name)}</code></th>',
            _cell("Value", escape(value)),
            _cell("", inline(document)),
        ]
        for name, value in record["config"].items()
        for document in [record["fields"].get(name, "")]
    ]
    environment = dict(record["environment"])
    versions = ", ".join(f"{name} {version}" for name, version in environment.pop("versions").items())
    facts = [
        [f'<th scope="row">{escape(name.replace("_", " "))}</th>', _cell("", escape(value))]
        for name, value in [*environment.items(), ("versions", versions)]
    ]
    return _table("Settings", ["Field", "Value", "Meaning"], rows) + _table("Machine", ["Fact", "Value"], facts)


def _table(caption: str, columns: list[str], rows: Iterable[list[str]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<table class="stack"><caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table>\n"
    )


def _cell(label: str, content: str, kind: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (f' data-label="{label}"' if label else "")
    return f"<td{attributes}>{content}</td>"


def _verdict(claim: dict[str, Any]) -> str:
    kind, words = VERDICTS[bool(claim["holds"])]
    return f'<span class="verdict {kind}">{words}</span>'


def _expected(claim: dict[str, Any]) -> str:
    sign = RELATIONS[claim["relation"]].removeprefix("expected").strip()
    return f"{sign} {_number(claim['expected'])}".strip()


def _number(value: float | str, digits: int = 6) -> str:
    """A number as a reader wants it: a few digits, and a true minus."""
    return escape(value if isinstance(value, str) else f"{value:.{digits}g}").replace("-", "\N{MINUS SIGN}")


def _footer(unreadable: list[str]) -> str:
    notices = "".join(f'<p class="notice">{escape(message)}</p>\n' for message in unreadable)
    return (
        f"<footer>\n{notices}<p>Made by <code>python -m studies</code> from the records beside this page; "
        "<code>--replot</code> draws every figure again from its saved arrays and checks its claims.</p>\n</footer>"
    )
