"""Pages name files, modules and functions that are there; the generated reference knows every setting."""

from __future__ import annotations

import re
from importlib import import_module
from pkgutil import resolve_name

import pytest

from colbert_lab.tasks.registry import TASKS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACES = r"`((?:colbert_lab|conf|tests|experiments|docs|benchmarks)/[\w/.-]*)(?:::\w+)*`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: object) -> None:
    text = page.read_text(encoding="utf-8")  # type: ignore[attr-defined]
    gone = [place for place in re.findall(PLACES, text) if not (ROOT / place).exists()]
    assert gone == []
    for name in re.findall(r"`(colbert_lab(?:\.\w+)+)`", text):
        if name not in ("colbert_lab.results.load", "colbert_lab.json"):  # of an older version; a file
            resolve_name(name)


def test_every_room_is_in_the_picture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "colbert_lab").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"`(\w+)`", text))


def test_the_readme_is_read_to_the_end() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_every_setting_has_its_line_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_site"))
    reference = import_module("reference")
    pages = reference.pages()
    rows = [line.split(" | ") for line in pages["settings"].splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []  # each has a meaning
    assert [row[0] for row in rows if not row[1]] == []  # and says what it may be
    keys = [row[0].strip("|` ") for row in rows]
    assert len(keys) == len(set(keys))
    for key in (
        "seed",
        "phases.*.keep",
        "student.head.depth",
        "evaluation.splits.*.protocol.exclude_same_id",
        "from",
    ):
        assert key in keys
    assert {name for name in TASKS if f"\n## {name}\n" not in pages["tasks"]} == set()
    options = re.findall(r"^\| `([^`]+)` \|", pages["options"], flags=re.MULTILINE)
    for path in (ROOT / "conf").rglob("*/*.yaml"):
        assert any(each.endswith((f"={path.stem}", f"/{path.stem}")) for each in options), path
    assert "| `value` |" in pages["records"]
