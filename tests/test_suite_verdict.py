"""The workload ``verdict`` of the suite: its files, what its scripts share, and colbert_lab's script."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
import torch

from tests.command import command
from tests.toy import write_toy

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the suite or of its sides."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "sides"))
    return import_module


def write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """30 documents and 8 queries with graded judgments."""
    generator = np.random.default_rng(0)
    write_lines(
        tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "title": f"t{n}", "text": "text"} for n in range(30)]
    )
    write_lines(tmp_path / "queries.jsonl", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(8)])
    judgments = [
        f"q{n}\td{document}\t{generator.integers(1, 4)}"
        for n in range(8)
        for document in generator.choice(30, size=3, replace=False)
    ]
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judgments, ""]))
    return tmp_path


def test_the_scripts_ndcg_is_that_of_trec_eval(load: Any, collection: Path) -> None:
    verdict = load("verdict")
    texts = verdict.Texts(collection)
    assert next(iter(texts.corpus.values())) == "t0 text"
    scores = torch.from_numpy(np.random.default_rng(1).normal(size=(8, 30)))
    run = {
        query: dict(zip(texts.corpus, map(float, row), strict=True))
        for query, row in zip(texts.judged, scores, strict=True)
    }
    judged = {query: dict(grades) for query, grades in texts.judged.items()}
    wanted = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(run)
    assert verdict.ndcg_at_10(texts, scores) == pytest.approx(
        [wanted[query]["ndcg_cut_10"] for query in texts.judged], abs=1e-12
    )


def test_the_scripts_table_ends_with_the_mean_that_the_suite_reads(
    load: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = {"one": [np.full(20, 0.25), np.full(20, 0.75)], "two": [np.linspace(0.0, 1.0, 20)]}
    load("verdict").table(cells)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["one:", "+0.5000", "[+0.5000,", "+0.5000]"]
    assert lines[1].startswith("two: +0.5000 [+0.3")
    assert "0.0000 [-0.1" in lines[1]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    assert load("suite_verdict").mean_measured(tmp_path) == pytest.approx(0.5)


def test_lists_become_texts(load: Any, collection: Path) -> None:
    write_lines(
        collection / "lists.jsonl", [{"query_id": "q3", "document_ids": ["d2", "d9"], "scores": [2.0, 1.0]}]
    )
    (row,) = load("verdict").Texts(collection).lists(collection / "lists.jsonl")
    assert row == {"query": "query 3", "documents": ["t2 text", "t9 text"], "scores": [2.0, 1.0]}


def test_colbert_labs_script_trains_every_student_and_compares_them(
    load: Any, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy, texts = write_toy(tmp_path / "toy"), tmp_path / "texts"
    for part in ("train", "test"):
        (texts / part).parent.mkdir(exist_ok=True)
        (texts / part).symlink_to(toy)
    size = {"rates": [1e-3, 1e-2], "lengths": [12], "seeds": [1, 2], "steps": 2, "batch": 2, "ways": 4}
    (texts / "sizes.json").write_text(json.dumps(size))
    said: list[str] = []

    script = load("colbert_lab_verdict")

    def typed(*given: str) -> None:
        outcome = command(*given, *script.QUIET)
        assert outcome.status == 0, outcome.err
        said.append(outcome.out)

    monkeypatch.setattr(script, "typed", typed)
    monkeypatch.chdir(tmp_path)
    script.sweep(texts, str(tiny_bert))
    assert len(list((tmp_path / "outputs" / "verdict").glob("*-s[12]/results.jsonl"))) == 4
    assert "lr=0.01" in said[-1]
    assert "p, Holm" in said[-1]
    assert 0 < load("suite_verdict").mean_measured(tmp_path) <= 1
    (student,) = (tmp_path / "outputs" / "verdict").glob("latest/distill/student")
    script.measure(toy, str(student))
    assert "before" in said[-1] or "student" in said[-1]
