"""The page's words: marks of a docstring, formulas, glossary, numbers from claims; everything escaped."""

import pytest

from gradjax.study.page.glossary import Linker, Term, glossary_of, running_text, terms_of
from gradjax.study.page.markup import block, inline
from gradjax.study.page.mathml import mathml
from gradjax.study.page.numerals import filled, in_words
from gradjax.study.page.prose import Prose, answer, function_source

CLAIMS = [
    {"name": "slope: tanh", "measured": 0.51234, "expected": 0.5},
    {"name": "huge", "measured": "inf", "expected": 1e30},
]
SOURCE = "import functools\n\n@functools.cache\ndef one():\n    return 1 < 2\n\nclass Two:\n    x = 1\n"
RECORD = {"name": "fit", "docstring": "", "claims": CLAIMS, "source": SOURCE}
TERMS = [
    Term("loss", ("loss", "losses"), "how wrong <it> is", "fit"),
    Term("learning rate", ("learning rate",), "a", "b"),
]


def prose(text, record=RECORD, terms=TERMS):
    return Prose(record, terms, lambda caption: f"<figure>{caption}</figure>").text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One\nparagraph.", "<p>One paragraph.</p>"),
        ("Of `a < b` and ``c``.", "<p>Of <code>a &lt; b</code> and <code>c</code>.</p>"),
        ("- one\n  goes on\n- two", "<ul><li>one goes on</li><li>two</li></ul>"),
        ("1. one\n2. two", "<ul><li>one</li><li>two</li></ul>"),
        ("Formula:\n    a  =  b", '<p>Formula:</p>\n<pre tabindex="0">a  =  b</pre>'),
        (">>> 1 < 2\nTrue", '<pre tabindex="0">&gt;&gt;&gt; 1 &lt; 2\nTrue</pre>'),
        ("", ""),
    ],
)
def test_blocks_become_plain_html(text, expected):
    assert block(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10^29.6,", "10<sup>29.6</sup>,"),
        ("power -0.99 (-1), 1996-97, A-1", "power −0.99 (−1), 1996-97, A-1"),
        ("at most 1.8e-19 or `1e-5`", "at most 1.8 × 10⁻¹⁹ or <code>1e-5</code>"),
        ("e^(-0.35) < 1", "e<sup>−0.35</sup> &lt; 1"),
        ("2^-L, n^-2/3", "2<sup>−L</sup>, n<sup>−2/3</sup>"),
        ("(2/3)^((L-l)/2)", "(2/3)<sup>(L−l)/2</sup>"),
        ("|x|^2 and 2^L.", "|x|<sup>2</sup> and 2<sup>L</sup>."),
        ("σ_1^2 of σ_max, w_(i,j)", "σ<sub>1</sub><sup>2</sup> of σ<sub>max</sub>, w<sub>i,j</sub>"),
        ("x_train, log_x, a ^ b, x^y^z, jax_x", "x_train, log_x, a ^ b, x^y<sup>z</sup>, jax_x"),
    ],
)
def test_scripts_of_plain_text_are_set(text, expected):
    assert inline(text) == expected


def test_a_lone_backtick_stays():
    assert inline("a ` b") == "a ` b"


@pytest.mark.parametrize(
    ("notation", "expected"),
    [
        ("a^2", "<msup><mi>a</mi><mn>2</mn></msup>"),
        ("a²", "<msup><mi>a</mi><mn>2</mn></msup>"),
        ("χ^(L−l)", "<msup><mi>χ</mi><mrow><mi>L</mi><mo>−</mo><mi>l</mi></mrow></msup>"),
        ("y^-1", "<msup><mi>y</mi><mrow><mo>−</mo><mn>1</mn></mrow></msup>"),
        ("y⁻¹", "<msup><mi>y</mi><mrow><mo>−</mo><mn>1</mn></mrow></msup>"),
        ("σ_w²", "<msubsup><mi>σ</mi><mi>w</mi><mn>2</mn></msubsup>"),
        ("Jᵀ", "<msup><mi>J</mi><mi>T</mi></msup>"),
        ("q*", "<msup><mi>q</mi><mo>*</mo></msup>"),
        ("a / b", "<mfrac><mi>a</mi><mi>b</mi></mfrac>"),
        ("a b / c + d", "<mfrac><mrow><mi>a</mi><mi>b</mi></mrow><mi>c</mi></mfrac><mo>+</mo><mi>d</mi>"),
        ("a/b", "<mi>a</mi><mo>/</mo><mi>b</mi>"),
        ("(a + b) / (c)", "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>"),
        ("√x", "<msqrt><mi>x</mi></msqrt>"),
        ("√(2 x)", "<msqrt><mrow><mn>2</mn><mi>x</mi></mrow></msqrt>"),
        ('"dear <x>"', "<mtext>dear &lt;x&gt;</mtext>"),
        ("a < b & c", "<mi>a</mi><mo>&lt;</mo><mi>b</mi><mo>&amp;</mo><mi>c</mi>"),
        ("0.5", "<mn>0.5</mn>"),
        ("dx", "<mi>d</mi><mi>x</mi>"),
    ],
)
def test_formulas_become_mathml(notation, expected):
    inside = mathml(notation).partition(">")[2].removesuffix("</math>")
    assert inside in (expected, f"<mrow>{expected}</mrow>")


def test_limits_stand_below_and_above_and_before_a_fraction():
    product = mathml("∏_(l=1)^L w_l")
    assert "<munderover><mo>∏</mo><mrow><mi>l</mi><mo>=</mo><mn>1</mn></mrow><mi>L</mi></munderover>" in product
    limit = mathml("lim_(h→0) f / h")
    assert limit.index("</munder>") < limit.index("<mfrac>")


def test_a_formula_says_its_notation_to_who_cannot_see_it():
    assert mathml('x < "y"').startswith('<math alttext="x &lt; &quot;y&quot;">')
    assert mathml("x", block=True).startswith('<math display="block"')


@pytest.mark.parametrize("notation", ["(a", "a)", "a_", "_a", '"x', "√", "[a)", "a^(b", "a = / b"])
def test_half_a_formula_is_refused(notation):
    with pytest.raises(ValueError, match="formula"):
        mathml(notation)


def test_a_formula_stands_beside_its_line_of_code():
    html = prose("math: a = b < c\ncode: a = b\ncode: x = f(y)  # gradjax/chain/door.py")
    assert '<div class="formula"><div><math display="block"' in html
    assert "<code>a = b</code>" in html and 'in <a href="#fit-source">its code</a>' in html
    assert "<code>x = f(y)</code>" in html and "gradjax/chain/door.py" in html


def test_an_indented_formula_is_one_too_and_code_may_stand_alone():
    assert "<math" in prose("Of this:\n\n  math: a\n  code: b") and "<pre" not in prose("  math: a")
    assert prose("code: x = 1").startswith('<div class="formula">\n<div><p class="code"><code>x = 1</code>')


def test_an_unsound_formula_is_shown_as_written():
    assert "<code>(a &lt; b</code>" in prose("math: (a < b") and inline("of $(a <$") == "of $(a &lt;$"


def test_inline_formulas_and_code_stay_apart():
    html = inline("Of $a^2$ in `$HOME$` for $5.")
    assert html.count("<math") == 1 and "<code>$HOME$</code>" in html and html.endswith("for $5.")


def test_a_question_comes_before_its_folded_answer_and_the_figure_after_both():
    html = prose("One.\n\nPredict: how much?\n\nLook: {slope: tanh:.2f} & no more.\n\nAfter.")
    order = ["One.", "How much?", "<details", "0.51 &amp; no more.", "</details>", "<figure></figure>", "After."]
    assert [html.index(words) for words in order] == sorted(html.index(words) for words in order)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("One.\n\nTwo.", ["One.", "Two.", "<figure>"]),
        ("One.\n\nReference: X (1900).", ["One.", "<figure>", "Reference"]),
        ("Predict: what?\n\nTwo.", ["What?", "<figure>", "Two."]),
        ("Predict: what?\n\nLook: so.\n\nTwo.\n\nfigure: the\ncaption\n\nX.", ["So.", "Two.", "the caption", "X."]),
    ],
)
def test_the_figure_is_drawn_once_in_its_place(text, order):
    html = prose(text)
    assert html.count("<figure>") == 1
    assert [html.index(words) for words in order] == sorted(html.index(words) for words in order)


def test_headings_lists_and_references_are_what_they_look_like():
    html = prose("A `head`\n--------\n\n- one\n- two\n\nReference: X & Y (1900).")
    assert prose("Tight\n-----\ntext").startswith("<h3>Tight</h3>\n<p>text</p>")
    assert "<h3>A <code>head</code></h3>" in html and "<ul><li>one</li><li>two</li></ul>" in html
    assert '<p class="reference">Reference: X &amp; Y (1900).</p>' in html


def test_a_function_of_the_study_is_shown_with_its_decorators():
    assert function_source(SOURCE, "one") == "@functools.cache\ndef one():\n    return 1 < 2"
    assert function_source(SOURCE, "Two") == "class Two:\n    x = 1"
    assert "return 1 &lt; 2" in prose("show: one") and "no function three" in prose("show: three")
    assert function_source("def", "one") == ""


def test_definitions_are_shown_where_they_stand_and_collected():
    text = "A loss.\n\nterm: loss, losses: how wrong\n  <it> is\nterm: learning rate: a"
    html = prose(text)
    assert 'A <a class="term" href="#term-loss">loss</a>.' in html and html.count("<a ") == 1  # none in a definition
    assert '<p class="meaning" id="first-loss"><dfn>loss</dfn>: how wrong &lt;it&gt; is</p>' in html
    assert '<p class="meaning"><dfn>learning rate</dfn>' in html  # another study's, so the anchor is there
    assert [(term.word, term.forms, term.study) for term in terms_of(text, "fit")] == [
        ("loss", ("loss", "losses"), "fit"),
        ("learning rate", ("learning rate",), "fit"),
    ]
    again = [RECORD | {"docstring": text}, RECORD | {"name": "later", "docstring": text}]
    assert [term.study for term in glossary_of(again)] == ["fit", "fit"]


def test_the_first_use_of_a_term_in_any_form_and_case_is_linked():
    link = Linker(TERMS)
    assert link("<Losses> and loss") == '&lt;<a class="term" href="#term-loss">Losses</a>&gt; and loss'
    assert link("loss, glossy, learning rates") == "loss, glossy, learning rates"
    assert link("a learning rate") == 'a <a class="term" href="#term-learning-rate">learning rate</a>'
    assert Linker([])("a < b") == "a &lt; b"
    link = Linker(TERMS)
    link.forget("loss")
    assert link("loss") == "loss"


def test_running_text_is_what_a_reader_reads():
    text = "Loss in `code`.\n\nmath: x\ncode: y\n\nterm: rate: how\n  fast\n\nOf $z$ is {slope: tanh}."
    words = running_text(text)
    assert "Loss in" in words and "Of" in words
    assert not any(hidden in words for hidden in ("code", "math", "rate", "fast", "z", "slope"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{slope: tanh}", "0.512"),
        ("{slope: tanh:.1f} and {expected slope: tanh:.0%}", "0.5 and 50%"),
        ("{huge} {expected huge}", "inf 10³⁰"),
        ("{unknown} {unknown:.2f} {x}", "{unknown} {unknown:.2f} {x}"),
        ("{huge:what}", "{huge:what}"),
    ],
)
def test_numbers_come_from_the_claims(text, expected):
    assert filled(text, CLAIMS) == expected


@pytest.mark.parametrize(
    ("number", "expected"), [("-0.5", "−0.5"), ("1.5e-07", "1.5 × 10⁻⁷"), ("1e+04", "10⁴"), ("21e3", "21 × 10³")]
)
def test_numbers_are_set_as_a_sentence_has_them(number, expected):
    assert in_words(number) == expected


def test_the_answer_is_found_and_filled():
    text = "Title\n\nWhy?\n\nAnswer: by {slope: tanh:.1f}\n< 1.\n\nMore."
    assert answer(RECORD | {"docstring": text}) == "by 0.5 &lt; 1." and answer(RECORD) == ""
