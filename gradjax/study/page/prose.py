"""A docstring as running text: paragraphs, formulas beside their lines of code, questions before answers, definitions.

Marks stand at the beginning of a paragraph and read well as plain text; what has none is a plain paragraph:

``math:`` and ``code:`` lines (a formula, and the line of the study that is it), ``term: word, form: meaning`` lines,
``Predict:`` and then ``Look:`` (a question, and the answer folded away; the figure follows), ``figure:`` (the caption,
where the figure stands), ``show: name`` (a function of the study), ``Answer:``, and a heading underlined by dashes.
"""

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradjax.study.page.glossary import LINE, Linker, Term, lines_of
from gradjax.study.page.markup import block, escape, inline
from gradjax.study.page.mathml import mathml
from gradjax.study.page.numerals import filled

HEADING = re.compile(r"^(\S.*)\n-{3,}$")
UNDERLINE = re.compile(r"(?m)(?<=.\n)-{3,}$")  # a heading may stand directly above its paragraph
FORMULA = ("math:", "code:")
FILE = re.compile(r"^(.*?)\s+#\s+(gradjax/\S+\.py)$")


class Prose:
    """Turns one record's words to HTML.

    Args:
        record: whose docstring, claims and source are shown.
        terms: the glossary.
        figure: gives the figure, from the words of its caption ("" for the usual one).
    """

    def __init__(self, record: Mapping[str, Any], terms: Iterable[Term], figure: Callable[[str], str]):
        self.record, self.figure = record, figure
        self.terms = {term.slug: term for term in terms}
        self.link = Linker(self.terms.values())
        self.drawn = False

    def inline(self, text: str) -> str:
        """A paragraph's text: numbers filled in, code and formulas set, terms linked."""
        return inline(filled(text, self.record["claims"]), self.link)

    def text(self, docstring: str) -> str:
        """The whole running text with its figure, which comes last where the docstring gives it no place."""
        apart = UNDERLINE.sub(r"\g<0>\n", textwrap.dedent(docstring).strip("\n"))
        blocks = re.split(r"\n\s*\n", apart)
        placed = any(found.startswith("figure:") for found in blocks)
        parts = []
        for found, following in zip(blocks, [*blocks[1:], ""], strict=True):
            parts.append(self._block(found))
            asked = found.startswith("Look:") or (found.startswith("Predict:") and not following.startswith("Look:"))
            if asked and not placed:
                parts.append(self._draw(""))
        if not self.drawn:
            before_reference = len(parts) - (blocks[-1].startswith("Reference"))
            parts.insert(before_reference, self._draw(""))
        return "\n".join(part for part in parts if part)

    def _draw(self, caption: str) -> str:
        if self.drawn:
            return ""
        self.drawn = True
        return self.figure(caption)

    def _block(self, text: str) -> str:
        if textwrap.dedent(text).startswith(FORMULA):  # an indented formula is no block of code
            text = textwrap.dedent(text)
        if heading := HEADING.match(text):
            return f"<h3>{inline(heading[1])}</h3>"
        for mark, make in self._marks().items():
            if text.startswith(mark):
                return make(text)
        return block(text, self.inline)

    def _marks(self) -> dict[str, Callable[[str], str]]:
        return {
            "math:": self._formula,
            "code:": self._formula,
            "term:": self._definitions,
            "Predict:": self._question,
            "Look:": self._answer,
            "figure:": lambda text: self._draw(_after(text)),
            "show:": self._function,
            "Answer:": lambda text: f'<p class="answer">{self.inline(_after(text))}</p>',
            "Reference": lambda text: f'<p class="reference">{self.inline(text)}</p>',
        }

    def _formula(self, text: str) -> str:
        lines = lines_of(text, *FORMULA)
        formulas = "".join(formula(_after(line)) for line in lines if line.startswith("math:"))
        codes = "".join(_code(_after(line), self.record["name"]) for line in lines if line.startswith("code:"))
        return f'<div class="formula">{formulas and f"<div>{formulas}</div>"}\n<div>{codes}</div></div>'

    def _definitions(self, text: str) -> str:
        matches = [LINE.match(line) for line in lines_of(text, "term:")]
        return "".join(self._definition(match[1], match[2]) for match in matches if match)

    def _definition(self, words: str, meaning: str) -> str:
        word = words.split(",")[0].strip()
        term = Term(word, (word,), meaning, "")
        self.link.forget(term.slug)
        mine = self.terms.get(term.slug, term).study == self.record["name"]
        place = f' id="{escape(f"first-{term.slug}")}"' if mine else ""
        return f'<p class="meaning"{place}><dfn>{escape(word)}</dfn>: {self.inline(meaning)}</p>'

    def _question(self, text: str) -> str:
        return f'<p class="predict"><strong>Predict, then look.</strong> {self.inline(_sentence(text))}</p>'

    def _answer(self, text: str) -> str:
        words = self.inline(_sentence(text))
        return f'<details class="look"><summary>Look: show the answer</summary>\n<p>{words}</p>\n</details>'

    def _function(self, text: str) -> str:
        name = _after(text)
        if source := function_source(self.record["source"], name):
            return f'<pre tabindex="0"><code>{escape(source)}</code></pre>'
        return f'<p class="notice">The study has no function {escape(name)}.</p>'


def formula(notation: str) -> str:
    """The formula set as MathML, or as it was written where the notation is not sound."""
    try:
        return mathml(notation, block=True)
    except ValueError:
        return f"<p><code>{escape(notation)}</code></p>"


def function_source(source: str, name: str) -> str:
    """The lines of the top-level function or class of that name; empty where there is none."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return ""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = [node for node in body if isinstance(node, kinds) and node.name == name]
    if not found:
        return ""
    first = min([found[0].lineno, *(decorator.lineno for decorator in found[0].decorator_list)])
    return "\n".join(source.splitlines()[first - 1 : found[0].end_lineno])


def answer(record: Mapping[str, Any]) -> str:
    """The paragraph marked ``Answer:``, its numbers filled in; empty where the record has none."""
    blocks = re.split(r"\n\s*\n", record["docstring"])
    found = next((text for text in blocks if text.startswith("Answer:")), "")
    return inline(filled(_after(found), record["claims"])) if found else ""


def _after(line: str) -> str:
    """What follows the mark, on one line."""
    return " ".join(line.partition(":")[2].split())


def _sentence(line: str) -> str:
    """What follows the mark, beginning like a sentence."""
    words = _after(line)
    return words[:1].upper() + words[1:]


def _code(line: str, name: str) -> str:
    """The line of code with the file where it stands: the study's own, or one that it names."""
    match = FILE.match(line)
    code, place = (match[1], escape(match[2])) if match else (line, f'<a href="#{escape(name)}-source">its code</a>')
    return f'<p class="code"><code>{escape(code)}</code> <span class="soft">in {place}</span></p>'
