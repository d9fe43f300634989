"""Synthetic token embeddings in files, for search alone; the same files are read by every side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

NOISE = 8.0  # to 1 part of a document's token in a query's: so much that not all of them are found first


class Given:
    """Embeddings of queries and documents by name.

    Attributes:
        documents: [C, L, H], in the file's pages.
        queries: [B, L, H].
        split: ids in place of texts, and which document is relevant to each query.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        folder = Path(spec["folder_of_embeddings"])
        self.documents = torch.from_numpy(np.load(folder / "documents.npy", mmap_mode="c"))
        self.queries = torch.from_numpy(np.load(folder / "queries.npy"))
        self.split: dict[str, Any] = json.loads((folder / "split.json").read_text(encoding="utf-8"))

    def of(self, name: str) -> torch.Tensor:
        """Embeddings of one text."""
        return (self.documents if name[0] == "d" else self.queries)[int(name[1:])]

    def encode(self, names: list[str], *_: Any, **__: Any) -> list[torch.Tensor]:
        """In place of a model's: embeddings by name."""
        return [self.of(name) for name in names]


def write(folder: Path, documents: int, tokens: int, queries: int, query_tokens: int, dim: int) -> None:
    """Write random unit vectors; a query's are noisy copies of one document's.

    Args:
        folder: where; what is there already is kept.
        documents: how many.
        tokens: of each.
        queries: how many.
        query_tokens: of each, at most ``tokens``.
        dim: of a vector.
    """
    if (folder / "split.json").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    file = np.lib.format.open_memmap(
        folder / "documents.npy", mode="w+", dtype=np.float32, shape=(documents, tokens, dim)
    )
    for start in range(0, documents, 1000):
        file[start : start + 1000] = unit(generator, (min(1000, documents - start), tokens, dim))
    relevant = [n * documents // queries for n in range(queries)]
    noise = generator.standard_normal((queries, query_tokens, dim), dtype=np.float32) * NOISE / np.sqrt(dim)
    near = file[relevant][:, :query_tokens] + noise
    near /= np.linalg.norm(near, axis=-1, keepdims=True)
    np.save(folder / "queries.npy", near.astype(np.float32))
    file.flush()
    names = {"queries": {f"q{n}": f"q{n}" for n in range(queries)}}
    names["corpus"] = {f"d{n}": f"d{n}" for n in range(documents)}
    qrels = {f"q{n}": {f"d{row}": 1} for n, row in enumerate(relevant)}
    (folder / "split.json").write_text(json.dumps({**names, "qrels": qrels}), encoding="utf-8")


def unit(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random unit vectors."""
    values = generator.standard_normal(shape, dtype=np.float32)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)
