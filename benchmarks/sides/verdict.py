"""What the peers' scripts of the workload ``verdict`` need besides their library: files, nDCG@10, a table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import bootstrap

RESAMPLES = 10_000  # as colbert_lab's tables


def rows(file: Path) -> list[dict[str, Any]]:
    """Objects of a JSON lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def sizes(folder: Path) -> dict[str, Any]:
    """What is trained: see ``suite_verdict.SIZES``."""
    found: dict[str, Any] = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    return found


def factors(folder: Path) -> Iterator[tuple[float, int, int]]:
    """Learning rate, document length and seed of every student."""
    size = sizes(folder)
    return product(size["rates"], size["lengths"], size["seeds"])


class Texts:
    """A folder in BEIR layout.

    Attributes:
        corpus: documents by id.
        queries: queries by id.
        judged: of the queries with a judgment: grades by document.
    """

    def __init__(self, folder: Path) -> None:
        self.corpus = {
            row["_id"]: f"{row.get('title') or ''} {row['text']}".strip()
            for row in rows(folder / "corpus.jsonl")
        }
        self.queries = {row["_id"]: row["text"] for row in rows(folder / "queries.jsonl")}
        self.judged: dict[str, dict[str, int]] = defaultdict(dict)
        file = folder / "qrels" / "test.tsv"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines()[1:]:
                query, document, grade = line.split("\t")
                self.judged[query][document] = int(grade)

    def lists(self, file: Path) -> list[dict[str, Any]]:
        """Score lists as texts."""
        return [
            {
                "query": self.queries[row["query_id"]],
                "documents": [self.corpus[name] for name in row["document_ids"]],
                "scores": row["scores"],
            }
            for row in rows(file)
        ]


def ndcg_at_10(texts: Texts, scores: torch.Tensor) -> np.ndarray:
    """nDCG@10 of each judged query.

    Args:
        texts: whose judgments count.
        scores: (judged queries, documents) in the order of the folder.
    """
    names = np.array(list(texts.corpus))
    top = names[scores.topk(min(10, len(names)), dim=1).indices.numpy()]
    discounts = 1 / np.log2(np.arange(2, 12))
    values = []
    for found, grades in zip(top, texts.judged.values(), strict=True):
        gains = np.array([grades.get(name, 0) for name in found])
        best = np.sort(list(grades.values()))[::-1][:10]
        values.append((gains * discounts[: len(gains)]).sum() / (best * discounts[: len(best)]).sum())
    return np.array(values)


def interval(values: np.ndarray) -> str:
    """A mean over queries with its 95% percentile bootstrap interval."""
    found = bootstrap((values,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0, batch=500)
    low, high = found.confidence_interval
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def table(cells: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Print each cell's nDCG@10, its seeds averaged query by query, and its difference to the first cell.

    Args:
        cells: by name, values of each seed.
    """
    means = {name: np.mean(values, axis=0) for name, values in cells.items()}
    first = next(iter(means.values()))
    for name, values in means.items():
        print(f"{name}: {interval(values)}", "" if values is first else interval(values - first))
    print(json.dumps({"ndcg@10": float(np.mean(list(means.values())))}))
