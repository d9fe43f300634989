"""Write the golden numbers of PyLate's token pooling.

Runs as a script inside an environment with pylate==1.6.0, where colbert_lab need not be installed:

    python tests/parity/make_pooling_golden.py [FILE]

Without FILE it overwrites the committed numbers.
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
GOLDEN = Path(__file__).resolve().parent / f"golden_pylate_pooling_{VERSION}.json"
LENGTHS = [9, 1, 2, 6, 40, 17]
DIM = 6
SETTINGS = [(2, 1), (3, 0), (4, 2), (100, 1)]  # factor, protected tokens


def make_documents() -> torch.Tensor:
    """Unit-length tokens of all documents, end to end, float32 [T, D]."""
    tokens = torch.from_numpy(np.random.default_rng(0).standard_normal((sum(LENGTHS), DIM)))
    return torch.nn.functional.normalize(tokens, dim=-1).float()


def pool_by_pylate() -> list[dict[str, Any]]:
    """What PyLate makes of every document, a case for each pair of settings."""
    model = import_module("pylate.models").ColBERT
    documents = list(make_documents().split(LENGTHS))
    cases = []
    for factor, protected in SETTINGS:
        # The method uses nothing of the model.
        pooled = model.pool_embeddings_hierarchical(None, documents, factor, protected)
        rounded = [[[round(value, 7) for value in token] for token in text.tolist()] for text in pooled]
        cases.append({"factor": factor, "protected": protected, "documents": rounded})
    return cases


if __name__ == "__main__":
    installed = import_module("importlib.metadata").version("pylate")
    if installed != VERSION:
        sys.exit(f"these are the numbers of pylate {VERSION}, and {installed} is installed")
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    file.write_text(json.dumps(pool_by_pylate()) + "\n", encoding="utf-8")
