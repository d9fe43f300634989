from __future__ import annotations

from pathlib import Path

from colbert_lab.explain import summary
from colbert_lab.explain.matches import explain
from tests.explain.support import student_of


def test_only_signs_that_are_there_are_explained(tmp_path: Path) -> None:
    plain = explain(student_of("wordpiece", tmp_path), "red", "fish")
    assert summary.signs(plain) == ""
    assert summary.signs(explain(student_of("wordpiece", tmp_path), "red", "fish fish")).startswith("#2: ")
    signs = summary.signs(explain(student_of("byte_bpe", tmp_path), "red red", "fish 😀"))
    assert [part.strip()[:2] for part in signs.split(";")] == ["… ", "(1", "#2"]


def test_counts_say_what_tokens_are_there_for(tmp_path: Path) -> None:
    rules = {"document_length": 8, "document_marker": "[D]", "document_prompt": "red: "}
    found = explain(student_of("wordpiece", tmp_path, **rules), "red 😀", "fish, the fish")
    assert summary.counts(found.query) == (
        "query: 4 tokens of at most 16: 1 of the text, 1 of the text but unknown to the vocabulary, 2 special"
    )
    assert summary.counts(found.document) == (
        "document: 8 tokens of at most 8: 3 of the text, 2 of the prompt, 1 marker, 2 special; "
        "2 tokens skipped (not scoring); 1 token of the document is cut"
    )
    assert summary.headline(found).startswith(f"score {found.score:.4f}: the sum over 4 tokens of the query")


def test_control_characters_are_seen_and_not_obeyed() -> None:
    assert summary.visible("a\x1b[31m\x00\n\t\x7f\x9b ş") == "a␛[31m␀\n\t␡\ufffd ş"
