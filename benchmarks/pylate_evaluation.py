"""PyLate's side of evaluation_vs_pylate.py: its own in-training evaluator on the same weights and texts.

Runs in PyLate's environment (pylate==1.6.0), where colbert_lab need not be installed; the other script calls it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pylate import evaluation, models
from safetensors.torch import load_file

CORPUS_CHUNK = 500  # documents scored at once; the default of 50,000 asks for tens of gigabytes
BATCH_SIZE = 32  # the evaluator's default


def load(folder: Path) -> models.ColBERT:
    """PyLate's defaults (markers, lengths, expansion, skiplist) on the shared backbone and head."""
    head = load_file(folder / "head.safetensors")["weight"]
    model = models.ColBERT(str(folder / "model"), embedding_size=head.shape[0], device="cpu")
    dense = model[1].linear
    assert dense.weight.shape == head.shape, (dense.weight.shape, head.shape)
    with torch.no_grad():
        dense.weight.copy_(head)
    settings = json.loads((folder / "rules.json").read_text())
    found = {
        "query_length": model.query_length,
        "document_length": model.document_length,
        "query_marker": model.query_prefix,
        "document_marker": model.document_prefix,
        "expansion": "none"
        if not model.do_query_expansion
        else "attended"
        if model.attend_to_expansion_tokens
        else "unattended",
    }
    wanted = {name: settings[name] for name in found}
    assert found == wanted, f"PyLate's settings {found} are not {wanted}"
    return model


def evaluate(model: models.ColBERT, split: dict[str, Any]) -> dict[str, Any]:
    """nDCG@10 by PyLateInformationRetrievalEvaluator; seconds of encoding and of the whole."""
    encoding = 0.0
    encode = model.encode

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal encoding
        began = time.perf_counter()
        try:
            return encode(*args, **kwargs)
        finally:
            encoding += time.perf_counter() - began

    model.encode = timed
    evaluator = evaluation.PyLateInformationRetrievalEvaluator(
        queries=split["queries"],
        corpus=split["corpus"],
        relevant_docs={
            query: {document for document, grade in grades.items() if grade > 0}
            for query, grades in split["qrels"].items()
        },
        corpus_chunk_size=CORPUS_CHUNK,
        batch_size=BATCH_SIZE,
        write_csv=False,
    )
    start = time.perf_counter()
    measured = evaluator(model)
    whole = time.perf_counter() - start
    (ndcg,) = [value for name, value in measured.items() if name.endswith("ndcg@10")]
    return {
        "ndcg@10": float(ndcg),
        "encode": encoding,
        "search and measure": whole - encoding,
        "whole": whole,
    }


def main() -> None:
    """Write either the embeddings of a few texts or the result of the evaluator."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--embeddings", type=int, help="compare the embeddings of so many texts instead")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = load(given.folder)
    split = json.loads((given.folder / "split.json").read_text())
    if given.embeddings:
        arrays = {}
        for role, texts in (("query", split["queries"]), ("document", split["corpus"])):
            chosen = list(texts.values())[: given.embeddings]
            for n, emb in enumerate(model.encode(chosen, is_query=role == "query")):
                arrays[f"{role} {n}"] = emb
        np.savez(given.file, **arrays)
        return
    given.file.write_text(json.dumps(evaluate(model, split) | {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
