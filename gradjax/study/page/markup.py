"""From plain words to HTML: everything is escaped first, and only the plainest structure is recognised."""

import html
import re
import textwrap
from collections.abc import Callable

from gradjax.study.page.mathml import mathml

SPAN = re.compile(r"(`{1,2})(?!`)(?P<code>.+?)(?<!`)\1(?!`)|\$(?P<math>[^$\s](?:[^$]*[^$\s])?)\$")
LETTER = "A-Za-zα-ωΑ-Ω"
LOW = re.compile(rf"(?<![\w.])([{LETTER}])_(\d+|max|min|[{LETTER}]|\([^()]{{1,12}}\))(?!\w)")
INSIDE = r"\(((?:[^()]|\([^()]*\)){1,30})\)"
HIGH = re.compile(rf"(?<=[\w)\]|‖>])\^(?:{INSIDE}|([−+-]?(?:\d+(?:[./]\d+)?|[{LETTER}])|\*)(?![\w^]))")
MINUS = "\N{MINUS SIGN}"
NEGATIVE = re.compile(r"(?<![\w.)\]^-])-(?=\d)")
SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)e([+-]?\d+)(?!\w)")
RAISE = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
BULLET = re.compile(r"(?:[-*•]|\d+[.)])\s+")


def escape(value: object) -> str:
    """The text with every character that HTML gives a meaning replaced."""
    return html.escape(str(value), quote=True)


def powers(text: str) -> str:
    """The text with every 1e-05 in it as a power of ten.

    >>> powers("at most 2.5e-05")
    'at most 2.5 × 10⁻⁵'
    """

    def power(match: re.Match[str]) -> str:
        raised = str(int(match[2])).translate(RAISE)
        return f"10{raised}" if match[1] == "1" else f"{match[1]} × 10{raised}"

    return SCIENTIFIC.sub(power, text)


def plain(text: str) -> str:
    """Plain words escaped, with what plain text writes as 10^-3, e^(-L/2), σ_1, 1e-05 and -2 set as it is meant.

    >>> plain("10^-3 σ_1 & x_train")
    '10<sup>−3</sup> σ<sub>1</sub> &amp; x_train'
    """
    lowered = LOW.sub(
        lambda match: f"{match[1]}<sub>{match[2].strip('()')}</sub>", escape(NEGATIVE.sub(MINUS, powers(text)))
    )
    return HIGH.sub(lambda match: f"<sup>{(match[1] or match[2]).replace('-', MINUS)}</sup>", lowered)


def inline(text: str, words: Callable[[str], str] = plain) -> str:
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
