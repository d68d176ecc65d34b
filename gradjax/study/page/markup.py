"""From plain words to HTML: everything is escaped first, and only the plainest structure is recognised."""

import html
import re
import textwrap
from collections.abc import Callable

from gradjax.study.page.mathml import mathml

SPAN = re.compile(r"(`{1,2})(?!`)(?P<code>.+?)(?<!`)\1(?!`)|\$(?P<math>[^$\s](?:[^$]*[^$\s])?)\$")
BULLET = re.compile(r"(?:[-*•]|\d+[.)])\s+")


def escape(value: object) -> str:
    """The text with every character that HTML gives a meaning replaced."""
    return html.escape(str(value), quote=True)


def inline(text: str, words: Callable[[str], str] = escape) -> str:
    """One paragraph's text: escaped, with `backticked` words as code and $formulas$ as MathML.

    Args:
        text: plain text.
        words: turns what is neither to HTML; it must escape.
    """
    text, pieces, end = " ".join(text.split()), [], 0
    for match in SPAN.finditer(text):
        pieces += [words(text[end : match.start()]), _span(match)]
        end = match.end()
    return "".join([*pieces, words(text[end:])])


def _span(match: re.Match[str]) -> str:
    if match["code"] is not None:
        return f"<code>{escape(match['code'])}</code>"
    try:
        return mathml(match["math"])
    except ValueError:
        return escape(match[0])


def block(text: str, words: Callable[[str], str] = inline) -> str:
    """One block of a docstring; ``words`` turns a paragraph's text to HTML."""
    lines = text.splitlines()
    if not text.strip():
        return ""
    if lines[0].startswith(("    ", ">>>")) or all(line.startswith("  ") for line in lines):
        return _preformatted(text)
    if BULLET.match(lines[0]):
        items = "".join(f"<li>{words(item)}</li>" for item in _items(lines))
        return f"<ul>{items}</ul>"
    if len(lines) > 1 and all(line.startswith("  ") for line in lines[1:]):
        return f"<p>{words(lines[0])}</p>\n{_preformatted(chr(10).join(lines[1:]))}"
    return f"<p>{words(text)}</p>"


def _preformatted(text: str) -> str:
    """The lines as they are; whoever scrolls by keyboard can reach them."""
    return f'<pre tabindex="0">{escape(textwrap.dedent(text))}</pre>'


def _items(lines: list[str]) -> list[str]:
    """The items of a list: a line that begins with no bullet goes on with the item above it."""
    items: list[str] = []
    for line in lines:
        if BULLET.match(line):
            items.append(BULLET.sub("", line, count=1))
        else:
            items[-1] += " " + line
    return items
