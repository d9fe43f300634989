"""The pooled candidates of TREC DL 2019: a small collection in BEIR layout and a TREC run file.

    python experiments/006_teachers/pool.py COLLECTIONS/msmarco-dl-pool OUT

The candidates of a query are the first ``DEPTH`` documents of each of six systems; the collection holds them and all
documents that are judged relevant.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from colbert_lab.base.atomic import atomic_folder

DEPTH = 30
SYSTEMS = ("BM25", "BM25_RM3", "D_BERT_KD_TASB", "OPEN_AI_ADA2", "REP_LLAMA", "SPLADE_P_P_ENSEMBLE_DISTIL")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def candidates(source: Path) -> dict[str, list[str]]:
    """The candidates of each query, those of the better ranks first."""
    found: dict[str, dict[str, int]] = {}
    for system in SYSTEMS:
        for line in lines(source / "kd" / f"dl19.{system}.jsonl"):
            row = json.loads(line)
            pool = found.setdefault(row["query_id"], {})
            for rank, document in enumerate(row["document_ids"][:DEPTH]):
                pool[document] = min(pool.get(document, rank), rank)
    return {query: sorted(pool, key=lambda d: (pool[d], d)) for query, pool in found.items()}


def main(source: Path, out: Path) -> None:
    """Write the folder, whole or not at all."""
    pool = candidates(source)
    judged = [line.split("\t") for line in lines(source / "qrels" / "test.tsv")]
    kept = {document for documents in pool.values() for document in documents}
    kept |= {document for query, document, grade in judged[1:] if int(grade) > 0}
    judged = [judged[0], *(row for row in judged[1:] if row[1] in kept)]
    with atomic_folder(out) as folder:
        (folder / "qrels").mkdir()
        corpus = [line for line in lines(source / "corpus.jsonl") if json.loads(line)["_id"] in kept]
        queries = [line for line in lines(source / "queries.jsonl") if json.loads(line)["_id"] in pool]
        run = [
            f"{query} Q0 {document} {rank} {-rank} pool"
            for query, documents in sorted(pool.items())
            for rank, document in enumerate(documents, start=1)
        ]
        for name, content in (
            ("corpus.jsonl", corpus),
            ("queries.jsonl", queries),
            ("qrels/test.tsv", ["\t".join(row) for row in judged]),
            ("candidates.run", run),
        ):
            (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
    print(f"{out}: {len(pool)} queries, {len(corpus)} documents, {len(run)} candidates")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
