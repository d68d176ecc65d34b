"""One study's section: its words with the figure in them, its claims, how it was run, its source."""

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradjax.study.files import sha256
from gradjax.study.page.glossary import Term
from gradjax.study.page.markup import escape, inline
from gradjax.study.page.prose import Prose
from gradjax.study.page.tables import claims_table, settings
from gradjax.study.records import is_sealed

LINKS = {"csv": "The plotted numbers (CSV)", "pdf": "The figure (PDF)", "json": "The record (JSON)"}


def section(record: Mapping[str, Any], place: str, terms: Iterable[Term], folder: Path) -> str:
    """The section of one record.

    Args:
        record: what is shown.
        place: where it stands: "Chapter 1".
        terms: the glossary.
        folder: where its picture and data lie.
    """
    name = escape(record["name"])
    prose = Prose(record, terms, lambda caption: _figure(record, folder, caption))
    after_question = record["docstring"].partition("\n")[2].strip("\n").partition("\n\n")[2]
    return f"""<section class="study" id="{name}">
<p class="place">{place}</p>
<h2>{inline(record["title"])}</h2>
<p class="question">{prose.inline(record["question"])}</p>
{_notices(record, folder)}{prose.text(after_question)}
{claims_table(record)}
<details><summary>How it was run</summary>
{settings(record)}
</details>
<details><summary>The code of {name}</summary>
<pre id="{name}-source" tabindex="0"><code>{escape(record["source"])}</code></pre>
</details>
</section>"""


def _notices(record: Mapping[str, Any], folder: Path) -> str:
    notices = []
    if not is_sealed(record):
        notices.append("This record was edited after the run that made it: its digest does not fit its content.")
    picture = folder / f"{record['name']}.png"
    if picture.exists() and sha256(picture.read_bytes()) != record["files"].get("png"):
        notices.append("The picture is not the one that this record's run drew.")
    return "".join(f'<p class="notice">{notice}</p>\n' for notice in notices)


def _figure(record: Mapping[str, Any], folder: Path, caption: str) -> str:
    """The picture with its text alternative, its caption, and the ways to its numbers, itself and its source."""
    path = folder / f"{record['name']}.png"
    if not path.exists():
        return '<p class="notice">The picture is missing.</p>'
    width, height = struct.unpack(">II", path.read_bytes()[16:24])  # where the PNG format puts them
    words = inline(caption or record["title"]).rstrip(".")
    return (
        f'<figure><a href="{escape(path.name)}"><img src="{escape(path.name)}" width="{width}" height="{height}" '
        f'alt="{escape(record["figure"])}"></a>\n<figcaption>{words}. {_changed(record)}\n'
        f'<span class="files">{_links(record, folder)}</span></figcaption></figure>'
    )


def _changed(record: Mapping[str, Any]) -> str:
    """What differs from the preset, in words."""
    changes = ", ".join(f"{name} = {value}" for name, value in record["changed"].items())
    return f"{escape(record['preset'].capitalize())} preset" + (f", but {escape(changes)}." if changes else ".")


def _links(record: Mapping[str, Any], folder: Path) -> str:
    """Links to the files beside the page that are there, and to the study's source."""
    name = escape(record["name"])
    present = [suffix for suffix in LINKS if (folder / f"{record['name']}.{suffix}").exists()]
    links = [f'<a href="{name}.{suffix}">{LINKS[suffix]}</a>' for suffix in present]
    return "\n".join([*links, f'<a href="#{name}-source">Its code</a>'])
