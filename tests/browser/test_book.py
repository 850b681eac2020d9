"""The book: built with the network cut off, then read in a browser that has none either."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.no_network]

#: Those that are executed here: all of them take minutes.
EXECUTED = ("00", "07")

#: One page of each kind.
PAGES = {
    "start": "index.html",
    "lesson": "lessons/07_accuracy_paradox.html",
    "lesson_not_executed": "lessons/11_capstone.html",
    "lessons": "lessons/index.html",
    "names": "docs/api.html",
    "function": "docs/api/featx.extract.html",
    "class": "docs/api/featx.LinearProbe.html",
    "prose": "docs/grading.html",
    "picture": "docs/architecture.html",
    "search": "search.html?q=batchnorm",
}


@pytest.fixture(scope="module")
def site(offline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a book in which only two lessons were executed."""
    out = tmp_path_factory.mktemp("book")
    done = offline(["docs/book.py", "--out", out, "--lessons", *EXECUTED], timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    index = Path(done.stdout.splitlines()[-1])
    assert index.is_file()
    return index.parent


@pytest.fixture
def reader(page: Page) -> Page:
    """A browser window that must not ask for anything but files."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.set_offline(True)
    yield page
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


class _Parts(HTMLParser):
    """What a page names and what it points to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []  # what a reader may follow
        self.loads: list[str] = []  # what the page itself needs
        self.alts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and "href" in given:
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])
        if tag == "img":
            self.alts.append(given.get("alt", ""))


def test_every_link_and_picture_is_there(site: Path) -> None:
    found = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: _Parts(path) for path in found}
    assert len(pages) > 80
    lost = []
    for path, parts in pages.items():
        for target in parts.loads + parts.links:
            url = urlsplit(target)
            if url.scheme == "data" or (url.scheme and target in parts.links):
                continue  # a link out of the book is the reader's choice
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            named = (
                not url.fragment or file not in pages or unquote(url.fragment) in pages[file].names
            )
            if url.scheme or not file.exists() or not (named or target == "#"):
                lost.append(f"{path.relative_to(site)}: {target}")
    assert lost == []


def test_every_picture_is_described(site: Path) -> None:
    lessons = {path.stem[:2]: _Parts(path) for path in (site / "lessons").glob("[0-9]*.html")}
    assert len(lessons) == 13
    for number in EXECUTED:
        assert lessons[number].alts
        assert all(alt.endswith(".") and len(alt) > 30 for alt in lessons[number].alts)
    assert len(lessons["07"].alts) >= 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", PAGES)
def test_everyone_can_read_it(site: Path, reader: Page, kind: str, scheme: str) -> None:
    """With all folded open, axe-core finds nothing."""
    reader.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    reader.goto(f"{site.as_uri()}/{PAGES[kind]}")
    expect(reader.locator("html")).to_have_attribute("data-theme", scheme)
    expect(reader.locator("h1")).to_be_visible()
    if kind == "search":
        expect(reader.locator("#search-results li").first).to_be_visible()
    shots = os.environ.get("FEATX_SCREENSHOTS")
    if shots:
        reader.screenshot(path=f"{shots}/book_{kind}_{scheme}.png")
    reader.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    audit = Axe().run(reader)
    assert audit.violations_count == 0, audit.generate_report()
    reader.set_viewport_size({"width": 390, "height": 800})
    width = reader.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "on a telephone nothing has to be scrolled sideways"
    if shots:
        reader.screenshot(path=f"{shots}/book_{kind}_{scheme}_narrow.png")


def test_an_answer_unfolds_by_keys(site: Path, reader: Page) -> None:
    reader.goto(f"{site.as_uri()}/lessons/07_accuracy_paradox.html")
    question = reader.locator(".question").first
    reason = question.get_by_text("Check it yourself:")
    expect(reason).to_be_hidden()
    question.locator("summary", has_text="Hint").focus()
    reader.keyboard.press("Tab")
    expect(question.locator("summary", has_text="Answer")).to_be_focused()
    reader.keyboard.press("Enter")
    expect(reason).to_be_visible()


def test_a_lesson_shows_what_came_out(site: Path, reader: Page) -> None:
    reader.goto(f"{site.as_uri()}/lessons/07_accuracy_paradox.html")
    main = reader.get_by_role("main")
    for words in (
        "In the notebook your answer is checked here",  # check
        "Not fixed yet.",  # a cell that the learner repairs, as it is given out
    ):
        expect(main.get_by_text(words).first).to_be_visible()
    expect(main.locator("pre", has_text="show_hint")).to_have_count(0)
    expect(main.locator(".question")).not_to_have_count(0)
    expect(main.get_by_role("link", name="this notebook")).to_be_visible()


def test_a_knob_turns_by_keys(site: Path, reader: Page) -> None:
    reader.goto(f"{site.as_uri()}/lessons/07_accuracy_paradox.html")
    knob = reader.locator(".knob").first
    status, slider = knob.get_by_role("status").last, knob.get_by_role("slider").last
    before, at = status.inner_text(), slider.get_attribute("aria-valuetext")
    picture = status.get_by_role("img")
    assert picture.get_attribute("alt") == before.strip()
    slider.focus()
    reader.keyboard.press("ArrowLeft")
    expect(status).not_to_have_text(before)
    assert slider.get_attribute("aria-valuetext") != at
    assert picture.get_attribute("alt") == status.inner_text().strip()
    assert picture.evaluate("each => each.complete && each.naturalWidth") > 300


def test_the_search_finds_a_word(site: Path, reader: Page) -> None:
    reader.goto(f"{site.as_uri()}/index.html")
    reader.keyboard.press("Control+k")
    reader.keyboard.type("prevalence")
    reader.keyboard.press("Enter")
    found = reader.locator("#search-results").get_by_role("link", name="07 The accuracy paradox")
    expect(found.first).to_be_visible()


def test_the_reader_chooses_light_or_dark(site: Path, reader: Page) -> None:
    reader.emulate_media(color_scheme="light")
    reader.goto(f"{site.as_uri()}/index.html")
    page, switch = reader.locator("html"), reader.get_by_role("button", name="Color mode").first
    for mode in ("Dark", "Light"):
        switch.click()
        reader.get_by_role("button", name=mode, exact=True).first.click()
        expect(page).to_have_attribute("data-theme", mode.lower())
    reader.reload()
    expect(page).to_have_attribute("data-mode", "light")  # it is kept


def test_on_paper_there_is_the_text_alone(site: Path, reader: Page) -> None:
    reader.goto(f"{site.as_uri()}/lessons/07_accuracy_paradox.html")
    around = [".bd-header", ".bd-sidebar-primary", ".bd-sidebar-secondary", ".prev-next-footer"]
    for each in around:
        expect(reader.locator(each).first).to_be_visible()
    reader.emulate_media(media="print")
    for each in around:
        expect(reader.locator(each).first).to_be_hidden()
    expect(reader.locator("h1")).to_be_visible()
    shots = os.environ.get("FEATX_SCREENSHOTS")
    if shots:
        reader.pdf(path=f"{shots}/book.pdf")
