"""PyLate 1.6's side of the golden folders. Runs in an environment with pylate==1.6.0.

Scores are PyLate's own ``pylate.scores.colbert_scores`` on one query and one document at a time, both without
padding: in a padded batch it multiplies masked similarities by 0, which then beat negative ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.parity.formats_backbones import HIDDEN, Kind, fill, save_backbone
from tests.parity.formats_golden import GOLDENS, Encoded, Golden, Texts
from tests.parity.formats_texts import DOCUMENTS, QUERIES, edge_texts

PROMPTS = {"query": "search_query: ", "document": "search_document: "}
DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 8, 16, 24


@dataclass(frozen=True)
class Case:
    """How PyLate makes one folder.

    Attributes:
        name: of the case.
        note: what it is there for.
        backbone: see formats_backbones.py.
        settings: keyword arguments of ``pylate.models.ColBERT``.
        lower: ``do_lower_case`` of the Transformer module.
        stacked: three Dense layers instead of one.
        used: save after a query was encoded, which leaves its length in the tokenizer's files.
    """

    name: str
    note: str
    backbone: Kind = "bert"
    settings: dict[str, Any] = field(default_factory=dict)
    lower: bool = False
    stacked: bool = False
    used: bool = False


CASES = (
    Case("bert", "the defaults: markers, unattended expansion, punctuation does not score"),
    Case("bert_attended", "expansion is attended", settings={"attend_to_expansion_tokens": True}),
    Case("bert_no_expansion", "queries are not expanded", settings={"do_query_expansion": False}),
    Case("bert_no_markers", "empty prefixes", settings={"query_prefix": "", "document_prefix": ""}),
    Case("bert_prompts", "prompts by role", settings={"prompts": PROMPTS}),
    Case("bert_stacked", "GELU, biases, residuals, one between unequal widths", stacked=True),
    Case("bert_lower", "a cased vocabulary with do_lower_case", backbone="bert_cased", lower=True),
    Case(
        "bert_skiplist",
        "words of the skiplist that the vocabulary lacks mask [UNK]",
        settings={"skiplist_words": ["the", "honey", "!", "bal", "Honey", "lighthouse", "##r"]},
    ),
    Case("modernbert", "byte-level BPE, no token types; saved after use", backbone="modernbert", used=True),
    Case("llama", "a decoder with BOS: EOS expands queries", backbone="llama"),
    Case(
        "ettin",
        "mxbai-edge-colbert: ModernBERT without expansion, lower-cased, Dense layers with residuals",
        backbone="modernbert",
        settings={"do_query_expansion": False},
        lower=True,
        stacked=True,
    ),
    Case("lfm2", "LFM2-ColBERT: a decoder of convolutions and attention, with a pad token", backbone="lfm2"),
    Case("qwen2", "a decoder without BOS: the marker comes after the first token", backbone="qwen2"),
)
FOREIGN = {
    "read_stanford": ("stanford-0.2.22/bert", "a Stanford folder as it is"),
    "read_stanford_attended": ("stanford-0.2.22/bert_attended", "punctuation is skipped, unlike there"),
    "read_stanford_old": ("stanford-0.2.22/bert_old", "the markers' names are PyLate's own knowledge"),
}


def make_cases(
    work: Path, backbone: Path | None = None
) -> Iterator[tuple[str, str, Path, Texts, dict[str, Any]]]:
    """Build every case and save it with PyLate.

    Args:
        work: a folder to work in.
        backbone: a Hugging Face folder to use instead of the tiny ones, with the defaults alone.

    Yields:
        name, note, folder, texts and settings of a case.
    """
    for case in CASES[:1] if backbone else CASES:
        name = "bert_given" if backbone else case.name
        source = backbone or save_backbone(case.backbone, work / f"backbone_{case.name}")
        model = _build(case, source)
        fill(model[1] if backbone else model, case.name)
        folder = work / name
        if case.used:
            model.encode(QUERIES[0])
        model.save_pretrained(str(folder))
        yield name, case.note, folder, _texts(model, case), _settings(model, case)
    for name, (source_case, note) in FOREIGN.items() if not backbone else ():
        folder = GOLDENS / source_case / "model"
        model = import_module("pylate.models").ColBERT(model_name_or_path=str(folder), device="cpu")
        yield name, note, folder, Golden.load(folder.parent).texts, _settings(model, CASES[0])


def _build(case: Case, source: Path) -> Any:
    models = import_module("pylate.models")
    settings: dict[str, Any] = {
        "query_length": QUERY_LENGTH,
        "document_length": DOCUMENT_LENGTH,
        "device": "cpu",
        **case.settings,
    }
    if not (case.lower or case.stacked):
        return models.ColBERT(model_name_or_path=str(source), embedding_size=DIM, **settings)
    transformer = import_module("sentence_transformers.models").Transformer(
        str(source), do_lower_case=case.lower
    )
    gelu, identity = torch.nn.GELU(), torch.nn.Identity()
    stack = (
        [
            models.Dense(HIDDEN, HIDDEN, bias=True, activation_function=gelu, use_residual=True),
            models.Dense(HIDDEN, 24, bias=True, activation_function=gelu, use_residual=True),
            models.Dense(24, DIM, bias=False, activation_function=identity),
        ]
        if case.stacked
        else [models.Dense(HIDDEN, DIM, bias=False, activation_function=identity)]
    )
    return models.ColBERT(modules=[transformer, *stack], **settings)


def _texts(model: Any, case: Case) -> Texts:
    prompts = {role: PROMPTS[role] if "prompts" in case.settings else "" for role in PROMPTS}
    markers = {"query": model.query_prefix_id, "document": model.document_prefix_id}

    def count(role: str, text: str) -> int:
        text = (prompts[role] + text).strip()
        text = text.lower() if case.lower else text
        return len(model.tokenizer(text)["input_ids"]) + (markers[role] is not None)

    named = {role: role if prompts[role] else None for role in PROMPTS}
    return Texts(
        queries=(*QUERIES, *edge_texts(lambda text: count("query", text), QUERY_LENGTH)),
        documents=(*DOCUMENTS, *edge_texts(lambda text: count("document", text), DOCUMENT_LENGTH)),
        query_prompt_name=named["query"],
        document_prompt_name=named["document"],
    )


def _settings(model: Any, case: Case) -> dict[str, Any]:
    names = (
        "query_prefix",
        "document_prefix",
        "query_length",
        "document_length",
        "do_query_expansion",
        "attend_to_expansion_tokens",
        "skiplist_words",
        "prompts",
    )
    return {**{name: getattr(model, name) for name in names}, "do_lower_case": case.lower}


def encode(folder: Path, texts: Texts) -> Encoded:
    """Load any folder with PyLate and encode texts with its public ``encode``."""
    model = import_module("pylate.models").ColBERT(model_name_or_path=str(folder), device="cpu")
    emb: dict[str, tuple[Tensor, ...]] = {}
    ids: dict[str, tuple[Tensor, ...]] = {}
    for role, rows, prompt in (
        ("query", texts.queries, texts.query_prompt_name),
        ("document", texts.documents, texts.document_prompt_name),
    ):
        settings = {"is_query": role == "query", "prompt_name": prompt, "convert_to_tensor": True}
        emb[role] = tuple(model.encode(list(rows), **settings))
        whole = model.encode(list(rows), output_value=None, **settings)
        ids[role] = tuple(row[mask] for row, mask in zip(whole["input_ids"], whole["masks"], strict=True))
    score = import_module("pylate.scores").colbert_scores
    scores_QN = torch.tensor(
        [[float(score(q[None], d[None])) for d in emb["document"]] for q in emb["query"]]
    )
    return Encoded(emb["query"], emb["document"], ids["query"], ids["document"], scores_QN)
