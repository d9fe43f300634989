"""The page of runs: every part, the comparison's numbers, nothing active but its own script, and how it looks."""

from __future__ import annotations

import json
import os
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.report.content import report
from colbert_lab.report.page import SCRIPT, to_html, waiting_page
from tests.browsing import NARROW, OVERFLOW, PAPER, WIDE, Elements
from tests.report.support import DOCUMENTS, EVIL, TEXTS, a_sweep, compared, one_run, set_config


def page_of(*runs: Path, live: int = 0) -> str:
    return to_html(report(compared(*runs), runs), live=live)


def plain(page: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", page))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of two factors and two seeds."""
    folder = tmp_path_factory.mktemp("page")
    runs = a_sweep(folder)
    for number, run in enumerate(runs):
        set_config(run, phases={"distill": {"lr": number // 2}}, name="study")
    path = folder / "page.html"
    path.write_text(page_of(*runs), encoding="utf-8")
    return path


def test_every_number_of_the_comparison_is_there_and_the_same(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    comparison, text = compared(*runs), plain(page_of(*runs))
    for rows in comparison.compared.values():
        for each in rows:
            value = f"{each.row.value:.4f}" + ("" if each.interval is None else f" {each.interval.bounds()}")
            assert value in text
            if each.difference is not None:
                assert str(each.difference) in text
    assert text.index("f0=1, f1=0 has a higher nDCG@10") < text.index("compared with f0=0, f1=0")


def test_every_part_is_there(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    ids = [attributes.get("id") for _, attributes in Elements(page).found]
    parts = [
        "differences",
        "comparison",
        "training",
        "sweep",
        "cost",
        "queries",
        "checks",
        "lineages",
        "settings",
        "commands",
    ]
    assert [each for each in ids if each in parts and each != "queries"] == [
        each for each in parts if each != "queries"
    ]
    text = plain(page)
    for said in (
        *(
            "f0=1, f1=0 is the best of 4 configurations",
            "phases.distill.lr",
            "study",
            TEXTS["q0"],
            DOCUMENTS["d0"],
        ),
        *(
            "✓ relevant",
            "A wins 8 queries",
            "Scores in the rankings of test",
            "-m +experiment=kd",
            "0000000000-s1",
        ),
    ):
        assert said in text, said
    assert '<td class="h0">0.3650</td>' in page


def test_a_run_alone_has_a_page_too(tmp_path: Path) -> None:
    page = page_of(one_run(tmp_path))
    assert "Training shows no clear change of nDCG@10 on test: from 0.3500 to 0.4500, +0.1000" in page
    assert 'id="sweep"' not in page
    assert 'id="settings"' not in page


def test_texts_of_others_do_nothing(tmp_path: Path) -> None:
    run = one_run(tmp_path, {**TEXTS, "q0": EVIL})
    records = (run / "results.jsonl").read_text()
    (run / "results.jsonl").write_text(records.replace('"study"', json.dumps(EVIL)))
    set_config(run, name=EVIL)
    page = page_of(run)
    elements = Elements(page).found
    assert not {"img", "iframe", "object"} & {tag for tag, _ in elements}
    assert [tag for tag, _ in elements].count("script") == 1
    assert page.count("<script>") == 1
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert EVIL in plain(page)
    assert page.count("{{ 7 * 7 }}") > 3


def test_it_is_one_file_that_asks_nothing_of_a_network(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    without = re.sub(r'xmlns(:\w+)?="http://www\.w3\.org/[^"]*"', "", page)
    assert not re.search(r"https?:|//[a-z]+\.|@import", without.replace(SCRIPT.read_text(), ""))
    assert not re.search(r"(?:src|href)=\"(?!#|data:)|url\((?!#)", page)
    elements = Elements(page).found
    links = {str(attributes["href"])[1:] for tag, attributes in elements if tag == "a"}
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert links <= set(ids)
    assert len(ids) == len(set(ids))
    pictures = [attributes for tag, attributes in elements if tag == "svg"]
    assert len(pictures) >= 5
    assert all(each.get("role") == "img" and len(str(each.get("aria-label"))) > 40 for each in pictures)
    assert all(attributes.get("scope") for tag, attributes in elements if tag == "th")
    assert not any("refresh" in attributes.values() for _, attributes in elements)


def test_a_live_page_loads_itself_anew(tmp_path: Path) -> None:
    page = page_of(one_run(tmp_path), live=7)
    assert '<meta http-equiv="refresh" content="7">' in page
    waiting = waiting_page(EVIL, EVIL, live=3)
    assert '<meta http-equiv="refresh" content="3">' in waiting
    assert "<script>" not in waiting
    assert plain(waiting).count(EVIL) == 3


def test_the_same_runs_give_the_same_page(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    assert page_of(run) == page_of(run)


@pytest.mark.slow
def test_tables_are_sorted_and_searched(page_file: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    bodies = "[...document.querySelector('#comparison table').tBodies]"
    heading = "[...document.querySelectorAll('#comparison table:first-of-type thead th')]"
    shown = f"{bodies}.filter((e) => !e.hidden)"
    names = f"{shown}.map((e) => e.rows[0].cells[0].textContent.trim())"
    cells = f"{bodies}.map((e) => e.rows[0].cells).filter((e) => e.length > 1).map((e) => parseFloat(e[1].textContent))"
    before = page.evaluate(names)
    assert before[0] == "made, test"
    page.evaluate(f"{heading}[1].querySelector('button').click()")
    assert page.evaluate(f"{heading}[1].getAttribute('aria-sort')") == "descending"
    values, n = page.evaluate(cells), len(before) // 2 - 1
    assert (values[:n], values[n:]) == (sorted(values[:n], reverse=True), sorted(values[n:], reverse=True))
    assert [page.evaluate(names)[0], page.evaluate(names)[n + 1]] == ["made, test", "made, dev"]
    page.evaluate(f"{heading}[1].querySelector('button').click()")
    values = page.evaluate(cells)
    assert values[:n] == sorted(values[:n])
    page.fill("input[data-of=comparison]", "F0=1, F1=1")
    assert page.evaluate(names) == ["made, test", "f0=1, f1=1", "made, dev", "f0=1, f1=1"]
    page.fill("input[data-of=comparison]", "")
    assert sorted(page.evaluate(names)) == sorted(before)
    page.fill("input[data-of=queries]", TEXTS["q3"])
    assert page.evaluate("[...document.querySelectorAll('.query')].filter((e) => !e.hidden).length") == 1
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "media"), [(WIDE, "screen"), (NARROW, "screen"), (PAPER, "print")])
def test_it_reads_well(page_file: Path, browser: Any, width: int, media: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(page_file.as_uri())
    page.emulate_media(media=media, color_scheme=scheme)
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert problems == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.evaluate(OVERFLOW) == []
    page.evaluate("document.querySelector('.notes li').textContent = '/one_folder_in_another'.repeat(20)")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(18, 21, 25)" if (scheme, media) == ("dark", "screen") else "rgb(255, 255, 255)")
    letters = page.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill")
    assert letters == ("rgb(240, 243, 246)" if (scheme, media) == ("dark", "screen") else "rgb(0, 0, 0)")
    if shots := os.environ.get("COLBERT_LAB_SCREENSHOTS"):
        page.screenshot(path=str(Path(shots) / f"runs-{media}-{width}-{scheme}.png"), full_page=True)
    context.close()
