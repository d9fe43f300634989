"""Where a phase gets its lists from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.sources import InstalledDocsLists, ScoredListFiles
from colbert_lab.text import installed_docs
from colbert_lab.text.installed_docs import from_rows
from colbert_lab.text.installed_docs_build import Row
from tests.conftest import sentences, write_beir
from tests.teachers.support import Hashed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = {f"d{n}": text for n, text in enumerate(sentences(4))}
    queries = {"q1": "red fish", "q2": "blue bird"}
    root = write_beir(tmp_path / "toy", documents, queries, {"train": [("q1", "d1", 1)]})
    row = {"query_id": "q2", "document_ids": ["d3", "d0", "d2"], "scores": [2.5, -1, 0.25]}
    (root / "teacher.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return root


def test_ready_lists_are_read_from_a_folder(folder: Path, tmp_path: Path) -> None:
    source = ScoredListFiles(str(folder), "teacher.jsonl")
    (lists,) = source.load(tmp_path / "cache")
    assert source.teacher is None
    assert lists.name == "toy/teacher"
    assert (list(lists.query_ids), list(lists.queries)) == (["q2"], ["blue bird"])
    assert [lists.corpus.ids[row] for row in lists.documents[0]] == ["d3", "d0", "d2"]
    assert lists.scores[0].tolist() == [2.5, -1.0, 0.25]


def test_ready_lists_that_are_missing_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.scores: \S+other\.jsonl: no such file"):
        ScoredListFiles(str(folder), "other.jsonl").load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.path: \S+nowhere"):
        ScoredListFiles(str(tmp_path / "nowhere"), None).load(tmp_path)


def installed(**changes: Any) -> InstalledDocsLists:
    settings: dict[str, Any] = {
        "teacher": Hashed("teacher"),
        "retrievers": {"one": Hashed("one")},
        "documents": None,
        "queries": None,
        "top": 2,
        "random": 1,
        "seed": 0,
    }
    return InstalledDocsLists(**(settings | changes))


@pytest.fixture
def small_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten documented functions: every fifth is of the test split."""
    rows = [
        Row(f"m{n}:f", f"document {n}", f"query {n}", "test" if n % 5 == 4 else "train") for n in range(10)
    ]
    monkeypatch.setattr(installed_docs, "load_installed_docs", lambda cache_dir: from_rows(rows, {}))


@pytest.mark.usefixtures("small_installation")
def test_lists_over_the_installed_documentation_hold_training_text_only(tmp_path: Path) -> None:
    (lists,) = installed().load(tmp_path)
    expected = [f"m{n}:f" for n in range(10) if n % 5 != 4]
    assert list(lists.corpus.ids) == expected
    assert list(lists.query_ids) == [f"q:{name}" for name in expected]
    assert {len(row) for row in lists.documents} == {3}
    assert lists.name == "installed_docs"


@pytest.mark.usefixtures("small_installation")
def test_the_cut_keeps_the_documents_of_the_chosen_queries(tmp_path: Path) -> None:
    (lists,) = installed(documents=4, queries=3).load(tmp_path)
    assert (len(lists.corpus), len(lists)) == (4, 3)
    assert {query.removeprefix("q:") for query in lists.query_ids} <= set(lists.corpus.ids)


@pytest.mark.usefixtures("small_installation")
def test_bad_settings_of_the_installed_documentation_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data\.teacher: installed_docs needs a teacher"):
        installed(teacher=None).load(tmp_path)
    with pytest.raises(InputError, match=r"^data: documents=2 is too few"):
        installed(documents=2, queries=3).load(tmp_path)
    with pytest.raises(InputError, match=r"^data: queries=0"):
        installed(queries=0).load(tmp_path)


def test_the_positive_is_the_teachers_best_or_the_lists_first(folder: Path, tmp_path: Path) -> None:
    row = {"query_id": "q2", "document_ids": ["d3", "d0", "d2"], "scores": [0.5, -1, 2.25]}
    (folder / "positive.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    found, marks = {}, set()
    for positive in ("best", "first"):
        source = ScoredListFiles(str(folder), "positive.jsonl", draw="order", positive=positive)
        (lists,) = source.load(tmp_path / "cache")
        example = lists.example(0, 2, np.random.default_rng(0))
        assert example.scores is not None
        found[positive] = (list(example.document_ids), example.scores.tolist())
        marks.add(lists.fingerprint)
    assert found == {"best": (["d2", "d3"], [2.25, 0.5]), "first": (["d3", "d0"], [0.5, -1.0])}
    assert len(marks) == 2
    with pytest.raises(InputError, match=r"data\.positive=last: must be best or first"):
        ScoredListFiles(str(folder), "positive.jsonl", positive="last").load(tmp_path)  # type: ignore[arg-type]
