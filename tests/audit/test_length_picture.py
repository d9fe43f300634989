"""The figure of a split's lengths."""

from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.audit.length_picture import draw_lengths, split_lengths
from colbert_lab.student.student import build_student
from colbert_lab.types import Corpus, Split


def test_one_panel_a_role_with_the_room_as_a_line(student_settings: dict[str, Any]) -> None:
    documents = ("red fish", "bird " * 40)
    text = Split("made", "test", Corpus(("d1", "d2"), documents, "c"), {"q": "red"}, {"q": {"d1": 1}}, "t")
    lengths = split_lengths(text, build_student(**student_settings).tokenizer)
    figure = draw_lengths(lengths)
    queries, found = figure.axes
    assert queries.get_title().startswith("1 queries of test\nroom for ")
    assert "50.0% cut" in found.get_title()
    assert found.get_xlabel().startswith("tokens of the text alone")
    assert queries.get_ylabel() == "share of texts (%)"
    (line,) = found.lines
    assert list(line.get_xdata()) == [lengths[1].room + 0.5] * 2  # type: ignore[arg-type]
