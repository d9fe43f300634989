"""The side of Stanford's ColBERT of the golden folders. Runs with colbert-ai==0.2.22 and transformers==4.48.3.

Three things of theirs are stepped round, none of which touches a number:

- ``transformers.AdamW``, which newer versions of transformers lack, is torch's (nothing is trained here).
- On a CPU the library compiles a C++ extension that only packed scoring uses; it is told that it has it.
- With ``mask_punctuation=False`` it never sets the skiplist that its encoder reads; an empty one is set.

What they write into ``artifact.metadata`` and ``config.json`` about the machine (host, paths, time) is taken
out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tests.parity.formats_backbones import fill, save_backbone
from tests.parity.formats_golden import Encoded, Texts
from tests.parity.formats_texts import DOCUMENTS, QUERIES, edge_texts

METADATA = "artifact.metadata"
ABOUT_THE_MACHINE = ("meta", "root", "name", "checkpoint")
NEWER = ("query_token_id", "doc_token_id", "query_token", "doc_token")  # keys that older saves lack
DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 8, 16, 24


@dataclass(frozen=True)
class Case:
    """How one folder is made.

    Attributes:
        name: of the case.
        note: what it is there for.
        settings: keyword arguments of ``ColBERTConfig``.
        old: metadata without the markers, and weights in pytorch_model.bin, as older versions wrote both.
    """

    name: str
    note: str
    settings: dict[str, Any] = field(default_factory=dict)
    old: bool = False


CASES = (
    Case("bert", "the defaults: unattended expansion, punctuation does not score"),
    Case(
        "bert_attended",
        "attended expansion, punctuation scores, other markers",
        {
            "attend_to_mask_tokens": True,
            "mask_punctuation": False,
            "query_token_id": "[unused1]",
            "doc_token_id": "[unused0]",
        },
    ),
    Case("bert_old", "metadata without markers, weights in pytorch_model.bin", old=True),
)


def _library(name: str) -> Any:
    transformers = import_module("transformers")
    if not hasattr(transformers, "AdamW"):
        vars(transformers)["AdamW"] = torch.optim.AdamW
    import_module("colbert.modeling.colbert").ColBERT.loaded_extensions = True
    return import_module(name)


def make_cases(
    work: Path, backbone: Path | None = None
) -> Iterator[tuple[str, str, Path, Texts, dict[str, Any]]]:
    """Build every case and save it with Stanford's own ``save``.

    Args:
        work: a folder to work in.
        backbone: a Hugging Face folder of a BERT to use instead of the tiny ones, with the first case alone.

    Yields:
        name, note, folder, texts and settings of a case.
    """
    for case in CASES[:1] if backbone else CASES:
        name = "bert_given" if backbone else case.name
        source = backbone or save_backbone("bert", work / f"backbone_{case.name}")
        config = _library("colbert.infra").ColBERTConfig(
            dim=DIM, query_maxlen=QUERY_LENGTH, doc_maxlen=DOCUMENT_LENGTH, **case.settings
        )
        colbert = _library("colbert.modeling.base_colbert").BaseColBERT(str(source), colbert_config=config)
        fill(colbert.model.linear if backbone else colbert.model, case.name)
        folder = work / name
        colbert.save(str(folder))
        if case.old:
            (folder / "model.safetensors").unlink()
            colbert.model.save_pretrained(folder, safe_serialization=False)
        _leave_out(folder / METADATA, (*ABOUT_THE_MACHINE, *(NEWER if case.old else ())))
        _leave_out(folder / "config.json", ("_name_or_path",))
        settings = {"query_maxlen": QUERY_LENGTH, "doc_maxlen": DOCUMENT_LENGTH, **case.settings}
        yield name, case.note, folder, _texts(colbert.raw_tokenizer), settings


def _leave_out(file: Path, keys: tuple[str, ...]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: value for key, value in content.items() if key not in keys}
    file.write_text(json.dumps(kept, indent=4) + "\n", encoding="utf-8")


def _texts(tokenizer: Any) -> Texts:
    def count(text: str) -> int:
        return len(tokenizer(text)["input_ids"]) + 1

    return Texts(
        queries=(*QUERIES, *edge_texts(count, QUERY_LENGTH)),
        documents=(*DOCUMENTS, *edge_texts(count, DOCUMENT_LENGTH)),
    )


def encode(folder: Path, texts: Texts) -> Encoded:
    """Load any folder with Stanford's ``Checkpoint``; encode and score with its own functions."""
    config = _library("colbert.infra").ColBERTConfig()
    checkpoint = _library("colbert.modeling.checkpoint").Checkpoint(
        str(folder), colbert_config=config, verbose=0
    )
    if not checkpoint.colbert_config.mask_punctuation:
        checkpoint.skiplist = {}
    score = _library("colbert.modeling.colbert").colbert_score
    queries, documents = list(texts.queries), list(texts.documents)
    emb_QLD = checkpoint.queryFromText(queries)
    query_ids, _ = checkpoint.query_tokenizer.tensorize(queries)
    document_emb = checkpoint.docFromText(documents, keep_dims=False)
    ids_NL, attended_NL = checkpoint.doc_tokenizer.tensorize(documents)
    emb_NLD, scores_NL1 = checkpoint.doc(ids_NL, attended_NL, keep_dims="return_mask")
    scores = [score(query[None], emb_NLD, scores_NL1, config=checkpoint.colbert_config) for query in emb_QLD]
    return Encoded(
        query_emb=tuple(emb_QLD),
        document_emb=tuple(document_emb),
        query_ids=tuple(query_ids),
        document_ids=tuple(row[mask] for row, mask in zip(ids_NL, scores_NL1.squeeze(-1), strict=True)),
        scores_QN=torch.stack(scores),
    )
