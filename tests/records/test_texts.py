"""Texts that a run keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.records.texts import LONGEST, TOP, Texts, keep_texts, read_texts, texts_path

DOCUMENTS = {f"d{n}": f"text {n} é\n<b>" for n in range(20)}
SPLIT = Split(
    "made", "test", Corpus(list(DOCUMENTS), list(DOCUMENTS.values()), "c"), {"q2": "two", "q1": "one"},
    {"q1": {"d19": 2, "d0": 0}, "q2": {f"d{n}": 1 for n in range(10, 18)}}, "f",
)  # fmt: skip
FIRST = Ranking(["q1"], [[f"d{n}" for n in range(8)]], [[1.0] * 8])
SECOND = Ranking(["q2", "q1"], [["d9"], ["d1", "d18"]], [[1.0], [1.0, 0.5]])


def test_texts_of_tops_and_of_relevant_documents_are_kept_and_added_to(tmp_path: Path) -> None:
    keep_texts(tmp_path, "test", SPLIT, FIRST)
    found = read_texts(tmp_path, "test", "f")
    assert found.queries == SPLIT.queries
    assert found.relevant == {"q1": ("d19",), "q2": tuple(f"d{n}" for n in range(10, 18))}
    tops = {f"d{n}" for n in range(TOP)} | {"d19"} | {f"d{n}" for n in range(10, 10 + TOP)}
    assert found.documents == {document: DOCUMENTS[document] for document in tops}
    keep_texts(tmp_path, "test", SPLIT, SECOND)
    assert read_texts(tmp_path, "test", "f").documents.keys() == tops | {"d9", "d18"}
    assert [path.name for path in (tmp_path / "texts").iterdir()] == ["test.parquet"]


def test_the_order_of_rankings_does_not_matter_and_nothing_is_written_twice(tmp_path: Path) -> None:
    for folder, order in (("a", (FIRST, SECOND)), ("b", (SECOND, FIRST))):
        for ranking in order:
            keep_texts(tmp_path / folder, "test", SPLIT, ranking)
    paths = [texts_path(tmp_path / folder, "test") for folder in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    before = paths[0].stat().st_mtime_ns
    keep_texts(tmp_path / "a", "test", SPLIT, SECOND)
    assert paths[0].stat().st_mtime_ns == before


def test_long_texts_are_cut_and_what_is_no_utf_8_is_replaced(tmp_path: Path) -> None:
    corpus = Corpus(["d"], ["x" * (LONGEST + 1)], "c")
    split = Split("made", "test", corpus, {"q": "a\ud800b"}, {"q": {"d": 1}}, "f")
    keep_texts(tmp_path, "test", split, Ranking(["q"], [["d"]], [[1.0]]))
    found = read_texts(tmp_path, "test", "f")
    assert found.documents["d"] == "x" * (LONGEST - 1) + "…"
    assert found.queries["q"] == "a?b"


def test_without_a_file_or_with_that_of_another_split_there_are_none(tmp_path: Path) -> None:
    assert read_texts(tmp_path, "test", "f") == Texts()
    keep_texts(tmp_path, "test", SPLIT, FIRST)
    assert read_texts(tmp_path, "test", "other") == Texts()
    keep_texts(tmp_path, "test", replace(SPLIT, fingerprint="other"), SECOND)
    assert read_texts(tmp_path, "test", "f") == Texts()
    assert "d2" not in read_texts(tmp_path, "test", "other").documents


@pytest.mark.parametrize("damage", [b"", b"PAR1 nothing PAR1", b"cut"])
def test_a_damaged_file_is_one_warning_and_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    keep_texts(tmp_path, "test", SPLIT, FIRST)
    path = texts_path(tmp_path, "test")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == b"cut" else damage)
    assert read_texts(tmp_path, "test", "f") == Texts()
    assert f"{path}: cannot be read as texts" in caplog.text
    keep_texts(tmp_path, "test", SPLIT, FIRST)
    assert path.read_bytes() == whole
