"""The glossary: words that a study's docstring defines by ``term: WORD, OTHER FORM: meaning``, and links to them.

A word is defined once, in the study that needs it first in the reading order; the first use in every other links to it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gradjax.study.page.markup import escape, plain

LINE = re.compile(r"^term:\s*([^:]+):\s*(.+)$")
OTHER = re.compile(r"^\s*(?:term|code|math|show):.*$|`[^`]*`|\$[^$\n]+\$|\{[^{}\n]*\}", re.MULTILINE)


class Term(NamedTuple):
    """A word of the glossary.

    Args:
        word: as it is listed.
        forms: every way in which it is written, the word itself among them.
        meaning: in plain words.
        study: the name of the study that defines it.
    """

    word: str
    forms: tuple[str, ...]
    meaning: str
    study: str

    @property
    def slug(self) -> str:
        """The word as an identifier: what links lead to."""
        return "-".join(re.findall(r"\w+", self.word.lower()))

    def pattern(self) -> re.Pattern[str]:
        """Finds the term as whole words, in any case and across a line's end."""
        forms = sorted(self.forms, key=len, reverse=True)
        words = "|".join(r"\s+".join(re.escape(part) for part in form.split()) for form in forms)
        return re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE)


def terms_of(docstring: str, study: str) -> list[Term]:
    """The terms that a docstring defines.

    >>> [term] = terms_of("term: loss, losses: how wrong a model is", "fit")
    >>> term.forms, term.meaning
    (('loss', 'losses'), 'how wrong a model is')
    """
    found = []
    for block in re.split(r"\n\s*\n", docstring):
        for line in lines_of(block, "term:") if block.startswith("term:") else []:
            if match := LINE.match(line):
                forms = tuple(" ".join(form.split()) for form in match[1].split(",") if form.strip())
                found.append(Term(forms[0], forms, match[2].strip(), study))
    return found


def lines_of(block: str, *marks: str) -> list[str]:
    """The lines of a block, those that begin with no mark joined to the one above."""
    joined: list[str] = []
    for line in block.splitlines():
        if line.startswith(marks) or not joined:
            joined.append(line.strip())
        else:
            joined[-1] += " " + line.strip()
    return joined


def glossary_of(records: Iterable[Mapping[str, Any]]) -> list[Term]:
    """Every term of the records, in their order; the first definition of a word counts."""
    found: dict[str, Term] = {}
    for record in records:
        for term in terms_of(record["docstring"], record["name"]):
            found.setdefault(term.slug, term)
    return list(found.values())


def running_text(docstring: str) -> str:
    """What of a docstring is read as words: no definitions, formulas, code or places for numbers."""
    definitions = re.compile(r"^term:.*?(?=\n\s*\n|\Z)", re.MULTILINE | re.DOTALL)
    return OTHER.sub(" ", definitions.sub(" ", docstring))


class Linker:
    """Links the first use of each term within one section.

    Args:
        terms: the glossary.
    """

    def __init__(self, terms: Iterable[Term]):
        self._waiting = {form.lower(): term for term in terms for form in term.forms}
        forms = sorted(self._waiting, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, forms))})(?![\w-])", re.IGNORECASE)

    def forget(self, slug: str) -> None:
        """Links this term no more: the section has just defined it."""
        self._waiting = {form: term for form, term in self._waiting.items() if term.slug != slug}

    def __call__(self, text: str) -> str:
        """The plain text as HTML, with its links."""
        if not self._waiting:
            return plain(text)
        pieces, end = [], 0
        for match in self._pattern.finditer(text):
            if (term := self._waiting.get(match[0].lower())) is None:
                continue
            self._waiting = {form: other for form, other in self._waiting.items() if other != term}
            link = f'<a class="term" href="#term-{escape(term.slug)}">{escape(match[0])}</a>'
            pieces += [plain(text[end : match.start()]), link]
            end = match.end()
        return "".join([*pieces, plain(text[end:])])
