"""Pages name files, modules and functions that are there; the README stays short."""

from __future__ import annotations

import re
from pkgutil import resolve_name

import pytest

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
