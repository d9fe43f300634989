"""mteb evaluates a student on a small local task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from colbert_lab.api import Model
from colbert_lab.base.types import Split
from colbert_lab.model.student import Student
from colbert_lab.mteb_search import MtebSearch
from tests.evaluation.test_evaluator import make_evaluator, make_split
from tests.toy import new_student

mteb = pytest.importorskip("mteb", reason="the extra 'mteb' is not installed")


def local_task(split: Split, top_ranked: dict[str, list[str]] | None = None) -> Any:
    """A retrieval task over a split, without the hub."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalTask(AbsTaskRetrieval):  # type: ignore[misc]
        metadata = TaskMetadata(
            name="LocalTask", description="Text made for a test.", reference=None, type="Retrieval", category="t2t",
            modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="ndcg_at_10",
            dataset={"path": "local/none", "revision": "1"}, date=None, domains=[], task_subtypes=[], license=None,
            annotations_creators=None, dialect=[], sample_creation=None, bibtex_citation="",
        )  # fmt: skip

        def load_data(self, **_: Any) -> None:
            words = [text.split(" ", 1) for text in split.corpus.texts]
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": Dataset.from_list(
                            [
                                {"id": name, "title": first, "text": rest}
                                for name, (first, rest) in zip(split.corpus.ids, words, strict=True)
                            ]
                        ),
                        "queries": Dataset.from_list(
                            [{"id": q, "text": t} for q, t in split.queries.items()]
                        ),
                        "relevant_docs": {q: dict(grades) for q, grades in split.qrels.items()},
                        "top_ranked": top_ranked,
                    }
                }
            }
            self.data_loaded = True

    return LocalTask()


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


def test_mteb_measures_what_our_evaluator_measures(student: Student, tmp_path: Path) -> None:
    split = make_split("test", 6)
    (ours,) = make_evaluator({"test": split}, depth=25).evaluate_student(student, "test", progress=False)
    search = MtebSearch(Model(student), "lab/tiny")
    cache = mteb.ResultCache(tmp_path)
    (result,) = mteb.evaluate(search, local_task(split), cache=cache, co2_tracker=False).task_results
    (scores,) = result.scores["test"]
    assert scores["ndcg_at_10"] == pytest.approx(ours.per_query.mean("ndcg@10"), abs=1e-4)
    assert scores["recall_at_5"] == pytest.approx(ours.per_query.mean("recall@5"), abs=1e-4)
    assert 0 < scores["ndcg_at_10"] < 1


def test_lists_are_reranked(student: Student) -> None:
    split = make_split("test", 3)
    search = MtebSearch(Model(student), "lab/tiny")
    task = local_task(split)
    task.load_data()
    data = task.dataset["default"]["test"]
    search.index(data["corpus"])
    lists = {query: ["d3", "d9", "d20"] for query in split.queries}
    whole = search.search(data["queries"], top_k=25)
    few = search.search(data["queries"], top_k=2, top_ranked=lists)
    for query, found in few.items():
        best = sorted(lists[query], key=whole[query].__getitem__, reverse=True)[:2]
        assert list(found) == best
        assert found == pytest.approx({name: whole[query][name] for name in best}, abs=1e-5)


def test_a_query_without_a_list_gets_no_documents(student: Student, caplog: pytest.LogCaptureFixture) -> None:
    split = make_split("test", 3)
    search = MtebSearch(Model(student), "lab/tiny")
    task = local_task(split)
    task.load_data()
    data = task.dataset["default"]["test"]
    search.index(data["corpus"])
    first, second, *_ = split.queries
    found = search.search(data["queries"], top_k=2, top_ranked={first: ["d3", "d9"], second: []})
    assert list(found) == list(split.queries)
    assert [len(each) for each in found.values()] == [2, *[0] * (len(found) - 1)]
    assert "no list to rerank for " in caplog.text


def test_the_model_is_known_by_its_weights(student: Student) -> None:
    first = MtebSearch(Model(student), "lab/tiny").mteb_model_meta
    with torch.no_grad():
        next(student.model.parameters()).add_(0.1)
    assert first.name == "lab/tiny"
    assert MtebSearch(Model(student), "lab/tiny").mteb_model_meta.revision != first.revision
    with pytest.raises(ValueError, match="index a corpus"):
        MtebSearch(Model(student), "lab/tiny").search([], top_k=3)
