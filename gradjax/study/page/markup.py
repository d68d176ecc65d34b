"""From a record's words to HTML: everything is escaped first, and only the plainest structure is recognised."""

import html
import re
import textwrap

CODE = re.compile(r"(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)")
BULLET = re.compile(r"(?:[-*•]|\d+[.)])\s+")


def escape(value: object) -> str:
    """The text with every character that HTML gives a meaning replaced."""
    return html.escape(str(value), quote=True)


def inline(text: str) -> str:
    """One paragraph's text: escaped, with `backticked` words as code."""
    return CODE.sub(r"<code>\2</code>", escape(" ".join(text.split())))


def docstring(text: str) -> str:
    """A docstring as paragraphs, lists and preformatted blocks (indented text and doctests)."""
    blocks = (block for block in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")) if block.strip())
    return "\n".join(_block(block) for block in blocks)


def _block(block: str) -> str:
    lines = block.splitlines()
    if lines[0].startswith(("    ", ">>>")) or all(line.startswith("  ") for line in lines):
        return f"<pre>{escape(textwrap.dedent(block))}</pre>"
    if BULLET.match(lines[0]):
        items = "".join(f"<li>{inline(item)}</li>" for item in _items(lines))
        return f"<ul>{items}</ul>"
    if len(lines) > 1 and all(line.startswith("  ") for line in lines[1:]):
        return f"<p>{inline(lines[0])}</p>\n<pre>{escape(textwrap.dedent(chr(10).join(lines[1:])))}</pre>"
    return f"<p>{inline(block)}</p>"


def _items(lines: list[str]) -> list[str]:
    """The items of a list: a line that begins with no bullet goes on with the item above it."""
    items: list[str] = []
    for line in lines:
        if BULLET.match(line):
            items.append(BULLET.sub("", line, count=1))
        else:
            items[-1] += " " + line
    return items
