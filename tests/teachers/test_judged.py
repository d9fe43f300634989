"""Judgments from any training source."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.judged import judged_split
from colbert_lab.teachers.sources import ScoredListFiles
from colbert_lab.teachers.triple_sources import TripleFiles
from colbert_lab.text.beir import load_beir
from tests.toy import write_toy


def test_a_folder_gives_its_own_judgments(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    found = judged_split(TripleFiles(str(toy)), tmp_path)
    assert found.fingerprint == load_beir(toy, "train").fingerprint


def test_pairs_make_a_corpus_of_their_documents(tmp_path: Path) -> None:
    rows = [("a", "one"), ("b", "two"), ("a", "two"), ("a", "one")]
    lines = [f'{{"query": "{query}", "document": "{document}"}}\n' for query, document in rows]
    (tmp_path / "pairs.jsonl").write_text("".join(lines))
    found = judged_split(TripleFiles(str(tmp_path)), tmp_path / "cache")
    assert dict(zip(found.corpus.ids, found.corpus.texts, strict=True)) == {"d0": "one", "d1": "two"}
    assert found.queries == {"q0": "a", "q1": "b"}
    assert found.qrels == {"q0": {"d0": 1, "d1": 1}, "q1": {"d1": 1}}


def test_score_lists_have_no_judgments(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    with pytest.raises(InputError, match="one source of pairs or a folder with judgments is needed, not toy"):
        judged_split(ScoredListFiles(str(toy), "lists.jsonl"), tmp_path)
