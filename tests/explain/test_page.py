from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from colbert_lab.explain.matches import Explanation, explain
from colbert_lab.explain.page import to_html
from tests.explain.support import student_of

EVIL = (
    '<script>alert(1)</script> " onmouseover="alert(2) \' <img src=x onerror=alert(3)> &amp; {{ 7 * 7 }} '
    "\x1b\x07 şəhər 😀"
)


class Page(HTMLParser):
    """Elements, and the text of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link"):
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attributes = self.open[-1]
            self.texts.append((tag, attributes.get("class") or "", data))

    def text(self, *inside: str) -> str:
        return "".join(data for tag, _, data in self.texts if tag in inside)


def explained(folder: Path, query: str, document: str, **rules: object) -> Explanation:
    return explain(student_of("byte_bpe", folder, **rules), query, document)


def page_of(explanation: Explanation, top: int = 2, heatmap: int = 6000, student: str = "here") -> str:
    return to_html(explanation, student=student, top=top, heatmap=heatmap, notes=["mind this"])


def test_text_is_inert_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = page_of(explained(tmp_path, EVIL, f"{EVIL} red", document_length=30), student=EVIL)
    parsed = Page(page)
    assert not parsed.open  # every element is closed
    elements = (
        "html head meta link title style body main h1 h2 p q i b strong code ul li "
        "table thead tbody tr th td div span"
    )
    assert {tag for tag, _ in parsed.elements} <= set(elements.split())
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert names <= {
        *(
            "lang",
            "charset",
            "name",
            "content",
            "http-equiv",
            "class",
            "scope",
            "title",
            "style",
            "aria-hidden",
            "rel",
            "href",
        )
    }
    assert not re.search(
        r"https?:|url\(|@import|src=|href=(?!\"data:)",
        page.replace("<img src=x", "").replace("&lt;img src=x", ""),
    )
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", page)
    assert parsed.text("q") == EVIL.replace("\x1b", "␛").replace("\x07", "␇")
    assert "{{ 7 * 7 }}" in parsed.text("q")


def test_the_whole_document_is_there_in_order(tmp_path: Path) -> None:
    document = "A red\n  fish 😀 swims, in the river. " * 2
    explanation = explained(tmp_path, "red", document, document_length=20, document_prompt="d: ")
    page = page_of(explanation)
    inner = re.search(r'<div class="text">(.*?)</div>', page, re.DOTALL)
    assert inner is not None
    assert Page(f"<p>{inner[1]}</p>").text("p", "span") == document
    parsed = Page(f"<p>{inner[1]}</p>")
    struck = [data for tag, kind, data in parsed.texts if kind == "cut"]
    assert struck
    assert document.endswith(struck[-1])
    assert any("skipped" in kind for _, kind, _ in parsed.texts)
    assert f"{explanation.document.cut} tokens of the document are cut" in page
    assert "mind this" in page


def test_the_map_has_every_similarity_and_frames_the_best(tmp_path: Path) -> None:
    explanation = explained(tmp_path, "red fish?", "the red fish, swims", query_marker="[Q]")
    body = page_of(explanation).partition('<table class="map">')[2]
    rows = [re.findall(r"<td class=\"([^\"]*)\">([^<]*)</td>", row) for row in body.split("<tr>")[2:]]
    assert len(rows) == len(explanation.document.tokens)
    framed = set()
    for n, row in enumerate(rows):
        assert len(row) == len(explanation.query.tokens)
        for q, (kind, shown) in enumerate(row):
            if not explanation.document.tokens[n].scores:
                assert (kind, shown) == ("off", "–")
                continue
            assert float(shown) == pytest.approx(float(explanation.similarity_QL[q, n]), abs=0.005001)
            assert shown != "-0.00"
            if "best" in kind:
                framed.add((q, n))
    assert framed == {(match.token, match.documents[0]) for match in explanation.matches}


def test_a_map_that_is_too_large_is_left_out_and_said(tmp_path: Path) -> None:
    explanation = explained(tmp_path, "red fish", "the red fish")
    size = explanation.similarity_QL.numel()
    assert '<table class="map">' in page_of(explanation, heatmap=size)
    page = page_of(explanation, heatmap=size - 1)
    assert '<table class="map">' not in page
    assert f"more than explain.heatmap={size - 1}" in page


def test_the_same_texts_give_the_same_page(tmp_path: Path) -> None:
    explanation = explained(tmp_path, "red", "fish")
    assert page_of(explanation) == page_of(explanation)
