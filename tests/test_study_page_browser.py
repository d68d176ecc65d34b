"""The page of the committed records in a real browser: no error, nothing fetched, nothing cut, everything reachable.

Chromium is a program and no Python package: where it is missing these tests say so and are skipped.
"""

import shutil
from pathlib import Path

import pytest

from gradjax.study.page import build_page
from gradjax.study.page.explorer import STUDY, explorer_data
from gradjax.study.records import read_record

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

FIGURES = Path(__file__).resolve().parents[1] / "figures"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
FLAGS += ["disable-component-update", "disable-sync"]
WIDTHS = (360, 1400)
PAPER = 718  # pixels of A4 between margins
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: the page was not opened in a browser"),
    pytest.mark.skipif(not (FIGURES / f"{STUDY}.json").exists(), reason="the explorer's study has no figures yet"),
]
TOO_WIDE = """(width) => [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest('pre, table.stack thead'))
    .map((e) => e.outerHTML.slice(0, 120))"""
VISIBLE = "(element) => element.checkVisibility()"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[f"--{flag}" for flag in FLAGS])
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for path in FIGURES.glob("*.*"):
        if path.suffix in (".json", ".png", ".csv", ".pdf"):
            (folder / path.name).symlink_to(path)
    (folder / "index.html").write_text(build_page(folder), encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture
def opened(browser, address):
    """Opens the page, and at the test's end asks whether anything went wrong in it."""
    wrong, contexts = [], []

    def open_page(width, **options):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on("request", lambda request: request.url.startswith("file:") or wrong.append(request.url))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("width", WIDTHS)
def test_the_layout_holds_and_every_picture_is_there(opened, width):
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE, width) == []
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("[...document.querySelectorAll('math')].every((m) => m.getBoundingClientRect().height > 8)")


@pytest.mark.slow
@pytest.mark.parametrize(("width", "unfolded"), [(360, True), (1400, False)])
def test_axe_finds_nothing(opened, width, unfolded):
    page = opened(width)
    page.evaluate("(open) => document.querySelectorAll('details').forEach((d) => { d.open = open; })", unfolded)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def state(page):
    """What the explorer shows: both drawings, and what it says of them."""
    drawings = [page.inner_html(f"#explorer-{name}") for name in ("values", "signal")]
    return *drawings, page.inner_text("#explorer-summary")


@pytest.mark.parametrize("control", ["scale", "depth", "activation", "initialization"])
def test_each_control_changes_both_plots_and_the_words_by_keyboard(opened, control):
    page = opened(1400)
    before, value = state(page), page.input_value(f"#explorer-{control}")
    page.focus(f"#explorer-{control}")
    page.keyboard.press("ArrowLeft" if control in ("scale", "depth") else "ArrowDown")
    assert page.input_value(f"#explorer-{control}") != value
    assert all(old != new for old, new in zip(before, state(page), strict=True))
    if control in ("scale", "depth"):
        assert page.get_attribute(f"#explorer-{control}", "aria-valuetext") == page.inner_text(
            f"#explorer-{control}-value"
        )


def test_the_explorer_shows_the_record_s_numbers(opened):
    data, page = explorer_data(read_record(FIGURES / f"{STUDY}.json")), opened(1400)
    choice = {"activation": 2, "initialization": 1, "scale": 4, "depth": 3}  # neither the first nor the last of any
    for name, value in choice.items():
        if name in ("scale", "depth"):
            page.fill(f"#explorer-{name}", str(value))
        else:
            page.select_option(f"#explorer-{name}", str(value))
    lengths = [min(depth, data["shown"]) + 1 for depth in data["depths"]]
    network = (2 * len(data["initializations"]) + 1) * len(data["scales"]) + 4
    begin = network * sum(lengths) + sum(lengths[:3])
    signal = data["signal"][begin : begin + lengths[3]]
    dots = page.evaluate(
        "[...document.querySelectorAll('#explorer-signal circle')].map((dot) => +dot.getAttribute('cy'))"
    )
    assert len(dots) == len(signal)
    slope = (dots[-1] - dots[0]) / (signal[-1] - signal[0])  # the place of a dot is linear in its number
    assert all(abs(dots[0] + slope * (s - signal[0]) - y) < 0.01 for s, y in zip(signal, dots, strict=True))
    cell = (network * len(data["depths"]) + 3) * data["bins"]
    counts = data["counts"][cell : cell + data["bins"]]
    bars = page.evaluate(
        "[...document.querySelectorAll('#explorer-values rect')].map((bar) => +bar.getAttribute('height'))"
    )
    assert len(bars) == sum(count > 0 for count in counts) and page.locator("#explorer svg .theory").count() == 2
    shown = [count for count in counts if count]
    assert all(abs(bar / bars[0] - count / shown[0]) < 1e-6 for bar, count in zip(bars, shown, strict=True))


def test_no_state_of_the_explorer_draws_what_is_no_number(opened):
    bad = opened(1400).evaluate("""() => {
        const names = ['scale', 'depth', 'activation', 'initialization'];
        const controls = names.map((name) => document.getElementById('explorer-' + name));
        const ends = controls.map((c) => c.options ? c.options.length : Number(c.max) + 1);
        const bad = [], total = ends.reduce((a, b) => a * b, 1);
        for (let k = 0; k < total; k++) {
            let rest = k;
            controls.forEach((c, i) => { c.value = rest % ends[i]; rest = Math.floor(rest / ends[i]); });
            controls[0].dispatchEvent(new Event('input', { bubbles: true }));
            const html = document.getElementById('explorer').querySelector('.plots').innerHTML;
            const words = document.getElementById('explorer-summary').textContent;
            if (/NaN|Infinity|undefined/.test(html + words)) bad.push(controls.map((c) => c.value).join());
        }
        return bad;
    }""")
    assert bad == []


def test_without_javascript_the_answers_unfold_and_the_explorer_says_what_it_needs(opened):
    page = opened(360, java_script_enabled=False)
    assert "needs JavaScript" in page.inner_text("noscript")
    answer = page.locator("details.look").first
    assert not answer.locator("p").is_visible()
    answer.locator("summary").click()
    assert answer.locator("p").is_visible()


def test_print_hides_controls_unfolds_answers_and_cuts_nothing(opened):
    page = opened(PAPER)
    page.emulate_media(media="print")
    hidden = page.locator(".controls, .look summary, .files")
    assert hidden.count() > 3 and not any(hidden.evaluate_all(f"(all) => all.map({VISIBLE})"))
    answers = page.locator("details.look > p")
    assert answers.count() and all(
        height > 10 for height in answers.evaluate_all("(a) => a.map((e) => e.offsetHeight)")
    )
    assert page.evaluate(TOO_WIDE, PAPER) == []
    assert page.evaluate("[...document.querySelectorAll('pre')].every((e) => e.scrollWidth <= e.clientWidth + 1)")
    assert page.pdf(format="A4").startswith(b"%PDF")
