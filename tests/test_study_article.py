"""The studies' words: formulas beside code that exists, numbers from claims that exist, no term before its meaning."""

import ast
import re
from pathlib import Path

import pytest

from gradjax.study import contract
from gradjax.study.page import build_page
from gradjax.study.page.glossary import lines_of, running_text, terms_of
from gradjax.study.page.markup import SPAN
from gradjax.study.page.mathml import mathml
from gradjax.study.page.numerals import PLACE, filled
from gradjax.study.page.prose import FILE, function_source
from gradjax.study.page.tables import claim_anchors
from gradjax.study.records import read_record

ROOT = Path(__file__).resolve().parents[1]
STUDIES = contract.discover(ROOT / "studies")
CHAPTERS = [study for study in STUDIES if study.part == "article"]
MARKS = ("math:", "code:", "show:", "term:", "Predict:", "Look:", "Answer:", "figure:")
each = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


def marked(study, mark):
    """What follows the mark in each paragraph or line of the docstring that begins with it."""
    blocks = [re.sub(r"(?m)^\s+", "", block) for block in re.split(r"\n\s*\n", study.docstring)]
    lines = [line for block in blocks if block.startswith(MARKS) for line in lines_of(block, *MARKS)]
    return [line.removeprefix(mark).strip() for line in lines if line.startswith(mark)]


def claims_of(study):
    """The claims of the study's committed record, if it has one."""
    path = ROOT / "figures" / f"{study.name}.json"
    return read_record(path)["claims"] if path.exists() else []


def squeezed(text):
    return " ".join(text.split())


@each
def test_every_formula_can_be_set(study):
    for notation in marked(study, "math:"):
        mathml(notation)
    for match in SPAN.finditer(study.docstring):
        if match["math"] is not None:
            mathml(match["math"])


@each
def test_every_line_of_code_beside_a_formula_stands_in_the_code(study):
    docstring = ast.parse(study.source).body[0]
    below = squeezed("\n".join(study.source.splitlines()[docstring.end_lineno :]))
    for line in marked(study, "code:"):
        match = FILE.match(line)
        where = squeezed((ROOT / match[2]).read_text(encoding="utf-8")) if match else below
        assert squeezed(match[1] if match else line) in where, line
    for name in marked(study, "show:"):
        assert function_source(study.source, name), name


@each
def test_every_number_in_question_and_answer_comes_from_a_claim(study):
    if not (claims := claims_of(study)):
        pytest.skip(f"{study.name} has no committed record")
    for mark in ("Predict:", "Look:", "Answer:"):
        for text in marked(study, mark):
            left = filled(text, claims)
            assert not PLACE.search(re.sub(r"`[^`]*`|\$[^$]*\$", "", left)), left


def test_the_article_has_its_six_chapters_in_their_order():
    assert [study.name for study in CHAPTERS] == [
        "what_is_a_gradient",
        "gradients_in_mathematics",
        "gradients_in_a_simple_model",
        "exploding_and_vanishing",
        "why_it_is_bad",
        "how_to_fix_it",
    ]


@pytest.mark.parametrize("study", CHAPTERS, ids=lambda study: study.name)
def test_each_chapter_asks_before_it_shows(study):
    questions, answers = marked(study, "Predict:"), marked(study, "Look:")
    assert questions and len(questions) == len(answers) and all("?" in question for question in questions)


def test_each_term_is_defined_once():
    words = [term.slug for study in STUDIES for term in terms_of(study.docstring, study.name)]
    assert len(words) == len(set(words)), sorted({word for word in words if words.count(word) > 1})


def test_each_term_is_used_in_a_text_a_claim_or_another_s_meaning():
    terms = [term for study in STUDIES for term in terms_of(study.docstring, study.name)]
    words = [running_text(study.docstring) for study in STUDIES]
    words += [claim["statement"] for study in STUDIES for claim in claims_of(study)]
    unused = [
        f"{term.word} ({term.study})"
        for term in terms
        if not any(term.pattern().search(text) for text in [*words, *(t.meaning for t in terms if t != term)])
    ]
    assert not unused


def test_no_chapter_uses_a_term_before_the_one_that_defines_it():
    early, before = [], ""
    for study in CHAPTERS:
        for term in terms_of(study.docstring, study.name):
            early += [f"{term.word} ({study.name}): ...{match[0]}..." for match in [_around(term, before)] if match]
        statements = "\n\n".join(claim["statement"] for claim in claims_of(study))
        before += f"\n\n{running_text(study.docstring)}\n\n{statements}"
    assert not early


def test_the_page_and_all_its_pictures_stay_below_five_megabytes():
    figures = ROOT / "figures"
    pictures = sum(path.stat().st_size for path in figures.glob("*.png"))
    assert len(build_page(figures).encode()) + pictures < 5e6


def test_every_link_within_the_page_has_one_place_to_lead_to():
    text = build_page(ROOT / "figures")
    places, links = re.findall(r'\bid="([^"]*)"', text), re.findall(r'href="#([^"]*)"', text)
    assert len(places) == len(set(places)) and set(links) <= set(places)
    for study in STUDIES:
        assert set(claim_anchors(study.name, [claim["name"] for claim in claims_of(study)])) <= set(places)


def _around(term, text):
    """The first use of the term in the text, with a few words around it."""
    return re.search(rf".{{0,40}}{term.pattern().pattern}.{{0,40}}", text, re.IGNORECASE | re.DOTALL)
