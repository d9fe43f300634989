"""The side of txtai, which only reads folders. Runs with txtai==9.14.0 (no extra is needed).

txtai knows neither expansion nor a skiplist: every token of a text scores. Its score is MaxSim divided by the
number of the query's tokens, which ranks alike. It gives no token ids; they come from its tokenizer here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor

from tests.parity.formats_golden import Encoded, Texts


def encode(folder: Path, texts: Texts) -> Encoded:
    """Load a folder with txtai's late-interaction pipeline, encode texts and score them.

    Returns:
        what it computes; its scores are means over the query's tokens.
    """
    similarity = import_module("txtai.pipeline").Similarity(str(folder), lateencode=True, gpu=False)
    pooling = similarity.lateencoder.model
    emb: dict[str, tuple[Tensor, ...]] = {}
    ids: dict[str, tuple[Tensor, ...]] = {}
    for role, category, rows, prefix, length in (
        ("query", "query", texts.queries, pooling.qprefix, pooling.qlength),
        ("document", "data", texts.documents, pooling.dprefix, pooling.dlength),
    ):
        padded_NLD = similarity.encode(list(rows), category)
        emb[role] = tuple(row[row.abs().sum(dim=1) > 0] for row in padded_NLD)
        tokens = pooling.tokenizer(
            [f"{prefix or ''}{row}" for row in rows],
            truncation="longest_first",
            max_length=length or pooling.maxlength,
        )
        ids[role] = tuple(torch.tensor(row) for row in tokens["input_ids"])
    scores_QN = torch.empty(len(texts.queries), len(texts.documents))
    for n, ranking in enumerate(similarity(list(texts.queries), list(texts.documents))):
        for document, score in ranking:
            scores_QN[n, document] = score
    return Encoded(emb["query"], emb["document"], ids["query"], ids["document"], scores_QN)
