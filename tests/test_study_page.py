"""The page: the same bytes from the same records, everything escaped, nothing from outside, edits shown."""

import html.parser
import json
import math
import re

import pytest
import study_cases

from gradjax.study.ledger import ROWS
from gradjax.study.page import build_page
from gradjax.study.page.style import CSS


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    study_cases.write_study(root, "second", "research", [("ORDER = 7", "ORDER = 1"), ("A fair coin &", "Another coin")])
    study_cases.write_study(root, "coin")
    assert study_cases.run(root) == 0
    return root


@pytest.fixture
def folder(project, tmp_path):
    for path in (project / "figures" / "quick").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


class Reader(html.parser.HTMLParser):
    """Collects the tags, and checks that each one closes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += "" if self.open[-1:] == ["style"] else data


def test_the_page_is_made_from_records_and_pictures_alone_byte_for_byte(folder):
    written = (folder / "index.html").read_bytes()
    for path in folder.iterdir():
        if path.suffix in (".npz", ".html"):
            path.unlink()
    assert build_page(folder).encode() == written


def test_the_page_is_sound_html_that_says_what_the_records_say(folder):
    page = Reader(build_page(folder))
    for words in (
        "A fair coin & <its> mean",
        "How far does the mean",
        "The mean of <all> coins is",
        "Bernoulli & sons",
    ):
        assert words in page.words
    assert page.words.index("A fair coin") < page.words.index("Another coin")  # the article comes first
    assert "4 of 4 claims hold in 2 studies" in page.words and "fails" not in page.words
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert len(identifiers) == len(set(identifiers)) and {"#coin", "#second", "#claims", "coin.csv"} <= set(links)
    for link in links:
        assert link.removeprefix("#") in identifiers if link.startswith("#") else (folder / link).is_file()


def test_pictures_have_a_text_alternative_and_their_size(folder):
    pictures = [attributes for tag, attributes in Reader(build_page(folder)).tags if tag == "img"]
    assert [picture["src"] for picture in pictures] == ["coin.png", "second.png"]
    assert all("throws" in picture["alt"] and int(picture["width"]) > 100 for picture in pictures)


def test_pictures_have_a_palette_and_a_white_ground(folder):
    from PIL import Image

    with Image.open(folder / "coin.png") as picture:
        assert picture.mode == "P" and picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_nothing_comes_from_the_network(folder):
    text = build_page(folder)
    shown = re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)
    assert not re.search(r"https?:|//|@import|url\(|<script", shown)
    assert 'name="viewport"' in text and "@media print" in CSS


def with_explorer(folder, **changes):
    """The tiny study's record, given the explorer's name and two networks' arrays; gives the page."""
    record = json.loads((folder / "coin.json").read_bytes())
    shapes = {
        "signal": (1, 2, 1, 3),
        "below": (1, 2, 1, 3),
        "above": (1, 2, 1, 3),
        "line": (1, 1, 3),
        "low": (1, 2, 1, 1),
    }
    shapes |= {"size": (1, 2, 1, 1), "absent": (1, 2, 1, 1), "counts": (1, 2, 1, 1, 4), "layers": (3,), "names": (3,)}
    arrays = {
        name: {"dtype": "<i8", "shape": shape, "values": [7] * math.prod(shape)} for name, shape in shapes.items()
    }
    arrays["names"]["dtype"] = "<U20"
    arrays["names"]["values"] = ["</script><b>", "gaussian", "orthogonal"]
    config = {"scales": [1.0], "depths": [2], "shown": 20, "width": 8, "seeds": 3}
    record |= {"name": "weight_scale_explorer", "part": "research", "arrays": arrays, "config": config} | changes
    (folder / "weight_scale_explorer.json").write_text(json.dumps(record))
    return build_page(folder)


def test_the_explorer_stands_between_the_article_and_research_with_its_numbers(folder):
    text = with_explorer(folder)
    page = Reader(text)
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    order = [identifiers.index(name) for name in ("coin", "explorer", "second", "weight_scale_explorer", "claims")]
    assert order == sorted(order) and not any(tag == "b" for tag, _ in page.tags)
    written = re.search(r'id="explorer-data">(.*?)</script>', text)
    data = json.loads(written[1])
    assert data["activations"] == ["</script><b>"] and data["initializations"] == ["gaussian", "orthogonal"]
    assert data["signal"] == [7] * 6 and data["bins"] == 4 and data["depths"] == [2]
    assert not re.search(
        r"https?:|//|fetch|import|innerHTML|eval", text.rpartition("<script>")[2].partition("</script>")[0]
    )
    assert "of the scales offered here: </script><b> has 1." in page.words
    labelled = {attributes["for"] for tag, attributes in page.tags if tag == "label"}
    controls = {attributes["id"] for tag, attributes in page.tags if tag in ("input", "select")}
    assert labelled == controls and len(controls) == 4


def test_a_record_without_the_arrays_has_no_explorer(folder):
    assert 'id="explorer"' not in with_explorer(folder, arrays={}) and 'id="explorer"' not in build_page(folder)


def test_the_ledger_stands_on_the_page_where_one_of_its_claims_was_measured(folder):
    assert 'id="ledger"' not in build_page(folder)
    study, claim = next(row.at for row in ROWS if row.at and not row.outside)
    record = json.loads((folder / "coin.json").read_bytes())
    record |= {"name": study, "claims": [record["claims"][0] | {"name": claim}]}
    (folder / f"{study}.json").write_text(json.dumps(record))
    text = build_page(folder)
    assert text.index('id="claims"') < text.index('id="ledger"') and 'href="#ledger"' in text


def test_words_of_a_record_never_become_markup(folder):
    path = folder / "coin.json"
    record = json.loads(path.read_bytes())
    nasty = '<script>alert("&")</script>'

    def spoil(value):
        if isinstance(value, str):
            return nasty
        if isinstance(value, list):
            return [spoil(item) for item in value]
        return {name: spoil(item) for name, item in value.items()} if isinstance(value, dict) else value

    keep = ("format", "part", "preset", "name", "arrays", "arrays_left_out")  # a record with other names is refused
    spoiled = {name: value if name in keep else spoil(value) for name, value in record.items()}
    spoiled["docstring"] = "Title\n\nWhy?\n\n" + nasty
    for claim, old in zip(spoiled["claims"], record["claims"], strict=True):
        claim["relation"] = old["relation"]
    path.write_text(json.dumps(spoiled))
    page = Reader(build_page(folder))
    assert not any(tag == "script" for tag, _ in page.tags)
    assert nasty in page.words


def test_an_edited_record_is_shown_as_edited(folder):
    path = folder / "coin.json"
    assert "edited" not in build_page(folder)
    path.write_text(path.read_text().replace('"holds": true', '"holds": false'))
    page = Reader(build_page(folder)).words
    assert "This record was edited" in page and "2 of 4 claims hold" in page and "✗ fails" in page


def test_a_foreign_or_missing_picture_is_said(folder):
    (folder / "coin.png").write_bytes((folder / "coin.png").read_bytes() + b"0")
    (folder / "second.png").unlink()
    page = Reader(build_page(folder)).words
    assert "The picture is not the one" in page and "The picture is missing" in page


def test_files_that_are_no_records_are_named(folder):
    (folder / "half.json").write_text('{"format"')
    assert "half.json cannot be read" in Reader(build_page(folder)).words


def test_an_empty_folder_gives_a_page(tmp_path):
    assert "No study has run yet" in Reader(build_page(tmp_path)).words


def contrast(one, two):
    """The WCAG contrast ratio of two colours like #0b5394."""

    def light(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_text_colour_stands_out_from_its_ground():
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", CSS))
    pairs = [("ink", "wash"), ("soft", "wash"), ("accent", "wash"), ("good", "good-wash"), ("bad", "bad-wash")]
    assert all(contrast(colours[text], colours[ground]) >= 4.5 for text, ground in pairs)
