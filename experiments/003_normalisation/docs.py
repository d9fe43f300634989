"""The embedded text's evaluation splits as a folder in BEIR layout.

    python experiments/003_normalisation/docs.py OUT

The embedded text is what is installed, and PLAID needs an environment of its own with other packages: a copy makes both
search the same documents.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.text.collections.split_request import SplitRequest
from colbert_lab.text.collections.splits import load_splits

DOCUMENTS, QUERIES = 3500, {"test": 1000, "dev": 400}
"""As in ``conf/evaluation/installed_docs.yaml``."""


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(out: Path) -> None:
    """Write the folder, whole or not at all."""
    cache = Path(os.environ.get("COLBERT_LAB_CACHE", "~/.cache/colbert_lab")).expanduser()
    requests = {
        name: SplitRequest(type="installed_docs", split=name, queries=queries)
        for name, queries in QUERIES.items()
    }
    splits = load_splits(requests, documents=DOCUMENTS, cache_dir=cache)
    corpus = splits["test"].corpus
    queries = {key: text for split in splits.values() for key, text in split.queries.items()}
    with atomic_folder(out) as folder:
        (folder / "qrels").mkdir()
        pairs = zip(corpus.ids, corpus.texts, strict=True)
        write(folder / "corpus.jsonl", ({"_id": key, "title": "", "text": text} for key, text in pairs))
        write(folder / "queries.jsonl", ({"_id": key, "text": text} for key, text in queries.items()))
        for name, split in splits.items():
            lines = ["query-id\tcorpus-id\tscore"]
            lines += [
                f"{q}\t{d}\t{grade}" for q, judged in split.qrels.items() for d, grade in judged.items()
            ]
            (folder / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{out}: {len(corpus.ids):,} documents, {len(queries):,} queries")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
