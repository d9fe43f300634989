"""Small runs with known numbers, rankings and texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from colbert_lab.analysis.compare import Comparison, compare_runs
from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.records.rankings import ranking_path, read_per_query, write_ranking
from colbert_lab.records.records import read_records, rewrite_records
from colbert_lab.records.texts import keep_texts
from tests.records.run_folders import QUERIES, write_run

EVIL = '<script>alert(1)</script> "{{ 7 * 7 }}" <img src=x onerror=alert(2)>'
DOCUMENTS = {f"d{n}": f"document {n} of the made text" for n in range(12)}
TEXTS = {query: f"what is {query}?" for query in QUERIES}


def with_texts(run: Path, split: str = "test", texts: dict[str, str] | None = None) -> Path:
    """Give a run of :func:`write_run` rankings and texts: training moves a query's document from rank 3 to rank 1."""
    texts = texts or TEXTS
    whole = Split(
        "made", split, Corpus(list(DOCUMENTS), list(DOCUMENTS.values()), "c"), texts,
        {query: {f"d{n}": 1} for n, query in enumerate(QUERIES)}, "text",
    )  # fmt: skip
    for phase, rank in (("before", 2), ("distill", 0)):
        lists = []
        for n in range(len(QUERIES)):
            others = [document for document in DOCUMENTS if document != f"d{n}"][:6]
            lists.append([*others[:rank], f"d{n}", *others[rank:]])
        path = ranking_path(run, "student", phase, split)
        per_query = read_per_query(path)
        ranking = Ranking(list(QUERIES), lists, [[float(-k) for k in range(7)] for _ in QUERIES])
        write_ranking(path, ranking, per_query)
        keep_texts(run, split, whole, ranking)
    return run


def one_run(outputs: Path, texts: dict[str, str] | None = None) -> Path:
    """A run whose training gains 0.1 on average on test."""
    gains = [0.3, 0.2, 0.1, 0.2, 0.1, 0.0, 0.1, -0.2]
    run = write_run(outputs, "aa", 1, {"lr": "0.1"}, {"distill": {"test": gains, "dev": 0.1}})
    return with_texts(run, texts=texts)


def a_sweep(outputs: Path, factors: int = 2) -> list[Path]:
    """Two values of each factor, two seeds; the best on test is not the best on dev."""
    runs = []
    for number in range(2**factors):
        values = {f"f{k}": str(number >> k & 1) for k in range(factors)}
        dev = 0.4 if number == 1 else 0.1
        for seed in (1, 2):
            gains = {"distill": {"test": 0.05 * number + 0.01 * seed, "dev": dev}}
            run = with_texts(write_run(outputs, f"{number:02x}", seed, values, gains, time=float(number)))
            trained = {"distill": f"phase of {run.name}"}
            records = read_records(run / "results.jsonl")
            records = [replace(record, phase_hash=trained.get(record.phase)) for record in records]
            rewrite_records(run / "results.jsonl", records)
            runs.append(run)
    return runs


def set_config(run: Path, **values: object) -> None:
    """Give a run a config.yaml and the words that it was asked with."""
    (run / "config.yaml").write_text(json.dumps(values))
    status = json.loads((run / "status.json").read_text())
    words = ["+experiment=kd", *(f"{key}={value}" for key, value in values.items())]
    (run / "status.json").write_text(json.dumps({**status, "run": {"overrides": words}}))


def compared(*folders: Path) -> Comparison:
    """Runs compared as a page compares them."""
    return compare_runs(folders, systems=None)
