"""Write the golden numbers of PyLate's XTR: scores of training, and scores from tokens that were retrieved.

Runs as a script inside an environment with pylate==1.6.0, where colbert_lab need not be installed:

    python tests/parity/make_xtr_golden.py [FILE]

Without FILE it overwrites the committed numbers. PyLate retrieves tokens from an approximate index; here it is given
those that are the nearest.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

VERSION = "1.6.0"
GOLDEN = Path(__file__).resolve().parent / f"golden_pylate_xtr_{VERSION}.json"
QUERIES, DOCUMENTS = [4, 1, 6], [3, 9, 1, 5, 12, 7, 2, 8, 4, 10]
DIM, DEPTH = 6, 100
RETRIEVED = (1, 4, 20)
KEPT = (3, 25)
SHIFT = 0.9  # added to all vectors of training, so that no similarity is below 0, where PyLate's score is another one


def make_texts(lengths: list[int], seed: int, shift: float = 0.0) -> torch.Tensor:
    """Unit-length tokens of all texts, end to end, float32 [T, D]."""
    tokens = torch.from_numpy(np.random.default_rng(seed).standard_normal((sum(lengths), DIM))) + shift
    return torch.nn.functional.normalize(tokens, dim=-1).float()


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Three queries of four tokens, and two documents of five tokens for each."""
    return make_texts([4] * 3, 2, SHIFT).view(3, 4, DIM), make_texts([5] * 6, 3, SHIFT).view(3, 2, 5, DIM)


def searched(k: int) -> list[dict[str, float]]:
    """PyLate's scores of every query's candidates, documents by their row."""
    queries, documents = make_texts(QUERIES, 0).split(QUERIES), make_texts(DOCUMENTS, 1)
    owner = np.repeat(np.arange(len(DOCUMENTS)), DOCUMENTS)
    score = import_module("pylate.rank").score_xtr
    found = []
    for query in queries:
        values, places = (query @ documents.T).topk(k, dim=1)
        names = [[str(owner[place]) for place in row] for row in places.tolist()]
        ranking = score(names, values.tolist(), DEPTH)
        found.append({each["id"]: round(float(each["score"]), 6) for each in ranking})
    return found


def trained(k: int) -> list[list[float]]:
    """PyLate's scores of all queries and documents of a batch."""
    scores = import_module("pylate.scores").XTRScores(k=k)(*make_batch())
    return [[round(value, 6) for value in row] for row in scores.tolist()]


def golden() -> dict[str, Any]:
    """All numbers."""
    return {
        "searched": {str(k): searched(k) for k in RETRIEVED},
        "trained": {str(k): trained(k) for k in KEPT},
    }


if __name__ == "__main__":
    installed = import_module("importlib.metadata").version("pylate")
    if installed != VERSION:
        sys.exit(f"these are the numbers of pylate {VERSION}, and {installed} is installed")
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    file.write_text(json.dumps(golden()) + "\n", encoding="utf-8")
