"""Formulas from a light notation that reads well as plain text, to MathML that a browser sets without any library.

Letters and signs stand as they are. ``_`` and ``^`` begin a script, one letter or number long or a group whose
parentheses then vanish: χ^(L−l). A slash between spaces is a fraction of the whole terms on both sides; a tight one is
a slash. √(…) is a root; ∏, ∑, lim, max and min carry their scripts below and above; q* is q with a star; a product's
dot is ·; "quoted words" are text.
"""

import re
from html import escape
from typing import NamedTuple

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀᴸⁿⁱᵏ", "0123456789+−TLnik", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙᵢⱼₖₗₜ", "0123456789+−nijklt", strict=True))
LIMITS = {"∏", "∑", "lim", "max", "min", "argmin", "argmax"}
SEPARATORS = set("+−±=≈≠<>≤≥≪≫∝→←↦∈,;:")
SCRIPTS = "".join((*RAISED, *LOWERED))
THINGS = set("∂∇∞∅")
POSTFIX = ("′", "*")
WORDS = ("word", "text")
DIFFERENTIAL = re.compile("d[a-zA-Zα-ωΑ-Ω]")  # dx is d and x, and no word
GAP = '<mspace width="0.2em"></mspace>'
PAIRS = {"(": ")", "[": "]"}
TOKEN = re.compile(
    rf"""(?P<text>"[^"]*")|(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<raised>[{"".join(RAISED)}]+)|(?P<lowered>[{"".join(LOWERED)}]+)
    |(?P<fraction>\s+/\s+)|(?P<word>(?:(?![{SCRIPTS}])[^\W\d_][\u0300-\u036f]*)+)|(?P<space>\s+)|(?P<sign>.)""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of the notation: its kind (a group of ``TOKEN``) and its text."""

    kind: str
    text: str


def mathml(notation: str, block: bool = False) -> str:
    """The formula as one ``<math>`` element; the notation itself is its ``alttext``.

    Raises:
        ValueError: where a bracket, a quotation mark or a script lacks its other half.

    >>> print(mathml("a^2").partition(">")[2])
    <mrow><msup><mi>a</mi><mn>2</mn></msup></mrow></math>
    """
    notation = " ".join(notation.split())
    tokens = _tokens(notation)
    content = _row(tokens, "")
    if tokens:
        raise ValueError(f"the formula {notation!r} closes {tokens[-1].text!r}, which it never opened")
    display = ' display="block"' if block else ""
    return f'<math{display} alttext="{escape(notation)}">{content}</math>'


def _tokens(notation: str) -> list[Token]:
    """The pieces in reverse, so that ``pop`` gives the next."""
    found = [Token(match.lastgroup or "", match.group()) for match in TOKEN.finditer(notation)]
    if any(token.text == '"' for token in found):
        raise ValueError(f"the formula {notation!r} has a quotation mark without another")
    tidy = [token._replace(text=token.text.replace("-", "−").replace("'", "′")) for token in found]
    return [token for token in reversed(tidy) if token.kind != "space"]


def _row(tokens: list[Token], closing: str, keep: bool = False) -> str:
    """Everything up to the closing bracket (taken too, and shown with its opening one where ``keep`` is set)."""
    terms: list[list[str]] = [[]]  # the factors of a term in turn; a separator is a term of its own
    while tokens and (token := tokens[-1]).text != closing:
        if token.kind == "sign" and token.text in ")]":
            break
        if token.text in SEPARATORS:
            tokens.pop()
            terms += [[_sign(token.text)], []]
        elif token.kind == "fraction":
            tokens.pop()
            terms[-1].append("/")
        elif token.text in LIMITS and "/" not in terms[-1]:  # a limit of a fraction stands before it, not above
            terms += [[GAP if token.kind in WORDS and terms[-1] else "", _scripted(tokens), GAP], []]
        else:
            is_word = len(token.text) > 1 and token.kind in WORDS and not DIFFERENTIAL.fullmatch(token.text)
            before = GAP if is_word and terms[-1] and terms[-1][-1] not in (GAP, "/") else ""
            terms[-1] += [part for part in (before, _scripted(tokens), is_word and _gap(tokens)) if part]
    if closing and (not tokens or tokens.pop().text != closing):
        raise ValueError(f"a formula lacks a closing {closing!r}")
    content = "".join(_term(term) for term in terms)
    opening = next((o for o, c in PAIRS.items() if c == closing), "")
    return _mrow(_sign(opening) + content + _sign(closing)) if keep else _mrow(content)


def _term(factors: list[str]) -> str:
    """The factors side by side, or a fraction where a slash stands between them; a / b / c is (a / b) / c."""
    if "/" not in factors:
        return "".join(factors)
    place = len(factors) - 1 - factors[::-1].index("/")
    above, below = factors[:place], factors[place + 1 :]
    if not above or not below:
        raise ValueError("a formula has a fraction without one of its halves")
    return f"<mfrac>{_mrow(_bare(_term(above)))}{_mrow(_bare(_term(below)))}</mfrac>"


def _bare(content: str) -> str:
    """The content without the parentheses around all of it: a fraction needs none."""
    opening, closing = f"<mrow>{_sign('(')}", f"{_sign(')')}</mrow>"
    bracketed = content.startswith(opening) and content.endswith(closing) and _end(content) == 0
    return content[len(opening) : -len(closing)] if bracketed else content


def _scripted(tokens: list[Token]) -> str:
    """An atom with its scripts below and above."""
    over = tokens[-1].text in LIMITS
    base, below, above = _atom(tokens), "", ""
    while tokens:
        token = tokens[-1]
        if token.text == "_" or token.kind == "lowered":
            below += _script(tokens, LOWERED)
        elif token.text in ("^", *POSTFIX) or token.kind == "raised":
            above += _script(tokens, RAISED)
        else:
            break
    names = ("munderover", "munder", "mover") if over else ("msubsup", "msub", "msup")
    if below and above:
        return f"<{names[0]}>{base}{_mrow(below)}{_mrow(above)}</{names[0]}>"
    if below or above:
        name = names[1] if below else names[2]
        return f"<{name}>{base}{_mrow(below or above)}</{name}>"
    return base


def _script(tokens: list[Token], letters: dict[str, str]) -> str:
    token = tokens.pop()
    if token.kind in ("raised", "lowered"):
        return _row(_tokens("".join(letters[letter] for letter in token.text)), "")
    if token.text in POSTFIX:
        return _sign(token.text)
    if not tokens:
        raise ValueError(f"a formula ends in {token.text!r}")
    if tokens[-1].text == "(":
        tokens.pop()
        return _row(tokens, ")")
    sign = _sign(tokens.pop().text) if tokens[-1].text in ("−", "+") and len(tokens) > 1 else ""
    return sign + _atom(tokens)


def _atom(tokens: list[Token]) -> str:
    """A number, a letter, a word, a text, a root, a group in brackets or a sign."""
    kind, text = tokens.pop()
    if kind == "text":
        return f"<mtext>{escape(text.strip(chr(34)))}</mtext>"
    if kind == "number":
        return f"<mn>{escape(text)}</mn>"
    if DIFFERENTIAL.fullmatch(text):
        return f"<mrow><mi>d</mi><mi>{text[1]}</mi></mrow>"
    if kind == "word":
        return f"<mi>{escape(text)}</mi>"
    if text == "√":
        if not tokens:
            raise ValueError("a formula ends in a root of nothing")
        inside = tokens[-1].text == "(" and tokens.pop()
        return f"<msqrt>{_row(tokens, ')') if inside else _scripted(tokens)}</msqrt>"
    if text in PAIRS:
        return _row(tokens, PAIRS[text], keep=True)
    if kind in ("raised", "lowered") or text in ("_", "^"):
        raise ValueError(f"a formula has the script {text!r} on nothing")
    return _sign(text)


def _sign(text: str) -> str:
    """An operator, or a sign that stands for a thing; bars and brackets keep the height of the line."""
    if text in THINGS:
        return f'<mi mathvariant="normal">{text}</mi>'
    bars = ' stretchy="false" lspace="0" rspace="0"' if text in "|‖" else ""
    fixed = ' stretchy="false"' if text in "()[]" else bars
    return f"<mo{fixed}>{escape(text)}</mo>" if text else ""


def _gap(tokens: list[Token]) -> str:
    """A thin space after a word, unless a bracket or a separator follows."""
    follows = bool(tokens) and tokens[-1].kind != "fraction" and tokens[-1].text not in {*SEPARATORS, *"()[]|"}
    return GAP if follows else ""


def _mrow(content: str) -> str:
    """The content as one element, which a group or a single letter is already."""
    if re.fullmatch(r"<(m[ion])[^>]*>[^<]*</\1>", content) or (content.startswith("<mrow>") and _end(content) == 0):
        return content
    return f"<mrow>{content}</mrow>"


def _end(content: str) -> int:
    """How many characters follow the group that the content begins with."""
    depth = 0
    for match in re.finditer(r"<(/?)mrow>", content):
        depth += -1 if match[1] else 1
        if depth == 0:
            return len(content) - match.end()
    return -1
