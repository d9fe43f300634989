"""The page of a study, in a real browser: nothing overflows, nothing is fetched, nothing is missing."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.studies.answer import answer
from colbert_lab.studies.page import to_html
from colbert_lab.studies.reading import STUDY_FILE, read_study
from tests.conftest import ROOT
from tests.studies.made_up import CONTENT, made_study

STUDIES = sorted(path.parent for path in (ROOT / "experiments").glob(f"*/{STUDY_FILE}"))
WIDE, NARROW, PAPER = 1280, 390, 688
"""Pixels of a screen, of a telephone, and of A4 between its margins."""
OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (e) => e && (getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
  const hidden = (e) => e.closest('thead') && getComputedStyle(e.closest('thead')).position === 'absolute';
  return [...document.querySelectorAll('body *:not(svg *)')].filter(
    (e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e) && !hidden(e)
  ).map((e) => e.outerHTML.slice(0, 80));
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "page.html"
    path.write_text(to_html(answer(made_study(folder / "001_made_up"))), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    quiet = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic"
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", *quiet.split()]
        )
        yield started
        started.close()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "media"), [(WIDE, "screen"), (NARROW, "screen"), (PAPER, "print")])
def test_it_reads_well(page_file: Path, browser: Any, width: int, media: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    requests: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(page_file.as_uri())
    page.emulate_media(media=media)
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(OVERFLOW) == []
    pictures = page.evaluate(
        "[...document.querySelectorAll('figure svg')].map((e) => [e.getBoundingClientRect().width, "
        "e.getBoundingClientRect().height, e.getAttribute('aria-label').length])"
    )
    assert len(pictures) == 3
    assert all(wide > 200 and high > 60 and told > 40 for wide, high, told in pictures)
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map((e) => e.getBoundingClientRect().height))"
    )
    assert smallest > 8  # pixels of a line of text in a picture
    cut = page.evaluate(
        "[...document.querySelectorAll('svg text')].filter((e) => { const own = e.getBoundingClientRect(), "
        "all = e.closest('svg').getBoundingClientRect(); return own.right > all.right + 1 || own.left < all.left - 1 })"
        ".map((e) => e.textContent)"
    )
    assert cut == []
    if media == "screen":
        clipped = page.evaluate(
            "[...document.querySelectorAll('td, th, p, code, li')].filter((e) => e.scrollWidth > e.clientWidth + 1 && "
            "e.clientWidth > 2 && getComputedStyle(e).display !== 'inline').map((e) => e.outerHTML.slice(0, 80))"
        )
        assert clipped == []
    if shots := os.environ.get("COLBERT_LAB_SCREENSHOTS"):
        page.screenshot(path=str(Path(shots) / f"{media}-{width}.png"), full_page=True)
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)
def test_the_pages_of_the_studies_fit(folder: Path, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(to_html(answer(read_study(folder))), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    for width, media in ((WIDE, "screen"), (1060, "screen"), (NARROW, "screen"), (PAPER, "print")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media=media)
        assert page.evaluate(OVERFLOW) == [], (width, media)
    page.close()


@pytest.mark.slow
def test_it_can_be_printed(page_file: Path, browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_it_is_one_accessible_file_without_anything_active(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    elements = _Elements(page).found
    tags = [tag for tag, _ in elements]
    assert not {"script", "iframe", "object", "img", "image", "a"} & set(tags)
    assert tags.count("h1") == tags.count("main") == 1
    assert "h3" not in tags
    assert all(attributes.get("scope") for tag, attributes in elements if tag == "th")
    assert tags.count("caption") == tags.count("table") > 3
    pictures = [attributes for tag, attributes in elements if tag == "svg"]
    assert all(each.get("role") == "img" and each.get("aria-label") for each in pictures)
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    outside = re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]*|url\((?!#)[^)]*|@import", page)
    assert outside == []


def test_it_says_everything(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    for text in (
        *("Does a second phase pay?", "What does a first phase add", "Prediction, written before the runs"),
        *("<em>something</em>", "schedule: one phase or two.", "<code>seed</code>", "It is made up."),
        *("Of 2 claims, 2 hold (1, 2).", "Some CPU, 2 cores, 23 GiB", "torch 2.13.0", "0123456", "A card."),
        "python -m colbert_lab -m +experiment=colbert_zero &#39;schedule=[distill]&#39; name=001_made_up seed=1,2,3",
        "student.checkpoint=outputs/001_made_up/0000000001-s2/supervised/student",
        "200 queries, 3,500 documents",
    ):
        assert text in page, text


def test_text_of_a_study_is_inert(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7 * 7 }} [x](javascript:alert(3)) "'
    cells = {name: dict(cell) for name, cell in CONTENT["cells"].items()}
    cells["one"]["title"] = evil
    study = made_study(
        tmp_path / "evil", title=evil, question=evil, prediction=evil, limits=[evil], cells=cells
    )
    page = to_html(answer(study))
    tags = {tag for tag, _ in _Elements(page).found}
    assert not {"script", "img", "a"} & tags
    assert "{{ 7 * 7 }}" in page


def test_the_same_rows_give_the_same_page(tmp_path: Path) -> None:
    study = made_study(tmp_path / "same")
    assert to_html(answer(study)) == to_html(answer(study))
