"""BGE-M3's folder (FlagEmbedding), for its token vectors: a backbone, and each head in a file of its own; to load.

config.json, pytorch_model.bin or model.safetensors, tokenizer files   the backbone, an XLM-RoBERTa
colbert_linear.pt    a pickled state dict: ``weight`` [dim, hidden] and ``bias`` [dim]
sparse_linear.pt     the weight of a token in lexical matching, which a student does not have

What FlagEmbedding 1.4.2 does with them (finetune/embedder/encoder_only/m3/modeling.py, inference/embedder/encoder_only/
m3.py): queries and documents are read alike, without markers, prompts, expansion or skiplist. The first token's hidden
state is the dense vector of the text and gives no token vector; all others do, the last special token too. The score
is the mean over a query's tokens.
"""

from __future__ import annotations

import logging
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import Head, LayerShape
from colbert_lab.model.formats.shared import Parts, fit, tokenizer_in
from colbert_lab.model.maxsim import MEAN
from colbert_lab.model.model_files import KEY, read_file, read_json, read_weights, value
from colbert_lab.model.tokenizer import TokenRules

log = logging.getLogger(__name__)
NAME = "bge_m3"
HEAD_FILE, SPARSE_FILE = "colbert_linear.pt", "sparse_linear.pt"
HEAD_WEIGHTS = {"weight", "bias"}
THEIRS = 512
"""Tokens at which FlagEmbedding cuts texts where its caller names no other length."""


def read(folder: Path) -> Parts:
    """Read a folder in BGE-M3's layout; its ``.pt`` files are read as tensors only.

    Raises:
        InputError: a part is missing, does not fit, or would run code.
    """
    weights = read_file(folder / HEAD_FILE, KEY)
    for names, what in (
        (HEAD_WEIGHTS - weights.keys(), "missing"),
        (weights.keys() - HEAD_WEIGHTS, "left over"),
    ):
        if names:
            raise InputError(
                f"{KEY}={folder}: weights do not fit: {HEAD_FILE}: {', '.join(sorted(names))} {what}"
            )
    dim, hidden = weights["weight"].shape
    head = Head([LayerShape(hidden, dim, bias=True)])
    fit(
        head, {f"0.linear.{name}": weight for name, weight in weights.items()}, f"{KEY}={folder}: {HEAD_FILE}"
    )
    tokenizer = tokenizer_in(folder)
    config = folder / "config.json"
    positions = value(read_json(config), "max_position_embeddings", int, config, tokenizer.model_max_length)
    # Roberta's positions begin after the number of the padding token.
    length = min(tokenizer.model_max_length, positions - (tokenizer.pad_token_id or 0) - 1)
    rules = TokenRules(
        query_length=length,
        document_length=length,
        query_marker=None,
        document_marker=None,
        query_prompt="",
        document_prompt="",
        extend_length=False,
        expansion="none",
        skiplist="none",
        truncation_side=tokenizer.truncation_side,
        score=MEAN,
        unscored=1,
    )
    unused = (
        f"{SPARSE_FILE} (weights of tokens for lexical matching) and "
        if (folder / SPARSE_FILE).is_file()
        else ""
    )
    log.info(
        "%s=%s: of BGE-M3 a student has the token vectors; %sthe dense vector are not used. Texts are read up to %s "
        "tokens, where FlagEmbedding's default is %d",
        KEY, folder, unused, f"{length:,}", THEIRS,
    )  # fmt: skip
    return Parts(folder, tokenizer, rules, head, read_weights(folder, KEY))
