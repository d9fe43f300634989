"""The generated part of a study's README."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.studies.answer import answer
from colbert_lab.studies.pages import (
    BEGIN,
    END,
    NO_RUNS,
    generated,
    overview,
    to_html,
    write_overview,
    write_readme,
)
from colbert_lab.studies.reading import STUDY_FILE, read_study
from colbert_lab.studies.rows import read_rows, write_rows
from tests.browsing import NARROW, OVERFLOW, PAPER, WIDE, Elements
from tests.conftest import ROOT
from tests.studies.made_up import CONTENT, made_study

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")


def test_it_replaces_what_is_between_the_marks(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_made_up")
    path = study.folder / "README.md"
    (study.folder / "figures").mkdir()
    (study.folder / "figures" / "old.svg").write_text("")
    write_readme(answer(study))
    text = path.read_text()
    assert text.startswith(f"# A study\n\nBefore.\n\n{BEGIN}\n\n**Question.** What does a first phase add")
    assert text.endswith(f"{END}\n\nAfter.\n")
    names = {each.name for each in (study.folder / "figures").iterdir()}
    assert names == {"differences.svg", "quality_cost.svg", "lineage.svg"}
    for name in names:
        assert f"](figures/{name})" in text
    for line in (
        "**Verdict.** Of 2 claims, 2 hold (1, 2).",
        "    python experiments/study.py run experiments/001_made_up",
        "    python -m colbert_lab -m +experiment=colbert_zero 'schedule=[distill]' name=001_made_up seed=1,2,3",
        "- Hardware: Some CPU, 2 cores, 23 GiB.",
    ):
        assert line in text.splitlines(), line
    before, after = "0.5018 [0.4776, 0.5262] ± 0.0000", "0.5518 [0.5270, 0.5769] ± 0.0000"
    assert f"| two phases | 1, 2, 3 | {before} | {after} | 180 | 400,000 |" in text
    files = {each: each.read_bytes() for each in study.folder.rglob("*.*")}
    write_readme(answer(study))
    assert {each: each.read_bytes() for each in study.folder.rglob("*.*")} == files
    write_readme(answer(replace(study, cost=None)))  # a study that does not ask what its cells cost
    assert {each.name for each in (study.folder / "figures").iterdir()} == {"differences.svg", "lineage.svg"}


def test_the_conclusion_is_shown(tmp_path: Path) -> None:
    text = generated(answer(made_study(tmp_path / "x", conclusion="So it is.")))
    assert "\n\nSo it is.\n\n" in text


def test_runs_of_several_machines_say_which(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x")
    runs = read_rows(study)
    write_rows(study, [*runs[:-1], replace(runs[-1], facts={**runs[-1].facts, "hardware": "Another CPU"})])
    text = generated(answer(study))
    assert "- Machine 1: Some CPU, 2 cores, 23 GiB.\n- Machine 2: Another CPU.\n" in text
    machines = [line.split("|")[-2].strip() for line in text.splitlines() if "| 0123456 |" in line]
    assert machines == ["1"] * (len(runs) - 1) + ["2"]


def test_without_rows_it_says_so(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x", seeds=())
    write_readme(answer(study))
    text = (study.folder / "README.md").read_text()
    assert NO_RUNS in text
    assert "No verdict yet" in text
    assert not (study.folder / "figures").exists()


def test_marks_that_are_missing_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    study = made_study(tmp_path / "x")
    path = study.folder / "README.md"
    path.write_text(f"{END}\n{BEGIN}\n")
    with pytest.raises(InputError, match=r"README\.md: must have these two lines once"):
        write_readme(answer(study))
    assert path.read_text() == f"{END}\n{BEGIN}\n"
    assert not (study.folder / "figures").exists()
    path.unlink()
    with pytest.raises(InputError, match=r"README\.md: is missing"):
        write_readme(answer(study))


def test_every_tested_claim_is_a_row_below_its_study(tmp_path: Path) -> None:
    answers = [
        answer(made_study(tmp_path / "experiments" / "001_first")),
        answer(made_study(tmp_path / "experiments" / "002_without_runs", seeds=())),
        answer(made_study(tmp_path / "experiments" / "003_last", title="Does it, again?")),
    ]
    rows = [line for line in overview(answers, tmp_path).splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| [Does a second phase pay?](experiments/001_first/README.md)",
        "| ",
        "| [Does it, again?](experiments/003_last/README.md)",
        "| ",
    ]
    first = answers[0].found[0]
    assert first.interval is not None
    difference = f"{first.interval.mean:+.4f} [{first.interval.low:+.4f}, {first.interval.high:+.4f}]"
    assert rows[0].endswith(f"| Two are better than one. | {difference} | 200 x 3 | holds |")


def test_without_rows_nothing_is_shown_and_marks_are_asked_for(tmp_path: Path) -> None:
    nothing = [answer(made_study(tmp_path / "001_x", seeds=()))]
    path = tmp_path / "README.md"
    path.write_text(f"Before.\n{BEGIN}\nold\n{END}\nAfter.\n")
    write_overview(nothing, path)
    assert path.read_text() == f"Before.\n{BEGIN}\n\n\n{END}\nAfter.\n"
    path.write_text("no marks")
    with pytest.raises(InputError, match=r"README\.md: must have these two lines once"):
        write_overview(nothing, path)


pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")


STUDIES = sorted(path.parent for path in (ROOT / "experiments").glob(f"*/{STUDY_FILE}"))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "page.html"
    path.write_text(to_html(answer(made_study(folder / "001_made_up"))), encoding="utf-8")
    return path


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


def test_it_is_one_accessible_file_without_anything_active(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    elements = Elements(page).found
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


def test_it_opens_with_one_sentence_and_its_figure(page_file: Path) -> None:
    page = page_file.read_text(encoding="utf-8")
    first = answer(read_study(page_file.parent / "001_made_up")).found[0]
    assert first.interval is not None
    number = f"nDCG@10 {first.interval.mean:+.4f} [{first.interval.low:+.4f}, {first.interval.high:+.4f}]"
    sentence = re.search(r'<div class="verdict">(.*?)</div>', page, re.DOTALL)
    assert sentence is not None
    told = re.sub(r"<[^>]*>", "", sentence[1])
    assert told.startswith(
        f"Two are better than one. holds {number}, p &lt;0.0001 (Holm), over 200 queries and 3 seeds."
    )
    assert told.endswith("Of 2 claims, 2 hold (1, 2).")
    order = [
        page.index(each)
        for each in (sentence[1], "<svg", "What does a first phase add", "Prediction, written")
    ]
    assert order == sorted(order)


def test_text_of_a_study_is_inert(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7 * 7 }} [x](javascript:alert(3)) "'
    cells = {name: dict(cell) for name, cell in CONTENT["cells"].items()}
    cells["one"]["title"] = evil
    study = made_study(
        tmp_path / "evil", title=evil, question=evil, prediction=evil, limits=[evil], cells=cells
    )
    page = to_html(answer(study))
    tags = {tag for tag, _ in Elements(page).found}
    assert not {"script", "img", "a"} & tags
    assert "{{ 7 * 7 }}" in page


def test_the_same_rows_give_the_same_page(tmp_path: Path) -> None:
    study = made_study(tmp_path / "same")
    assert to_html(answer(study)) == to_html(answer(study))
