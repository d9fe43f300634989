"""The side of sentence-transformers 6.2 of the golden folders. Runs with sentence-transformers==6.2.0.

Its ``MultiVectorEncoder`` keeps a marker as text of the prompt, and as a special token of the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from string import punctuation
from typing import Any

import torch
from torch import Tensor

from tests.parity.formats_backbones import HIDDEN, Kind, fill, save_backbone
from tests.parity.formats_golden import GOLDENS, Encoded, Texts
from tests.parity.formats_texts import DOCUMENTS, QUERIES, edge_texts

DIM, QUERY_LENGTH, DOCUMENT_LENGTH = 8, 16, 24
MARKERS = {"query": "[Q] ", "document": "[D] "}
PROMPTS = {"query": "search_query: ", "document": "search_document: "}
BOTH = {role: MARKERS[role] + PROMPTS[role] for role in MARKERS}
FIXED = {"strategy": "fixed", "attend": False, "length": QUERY_LENGTH}


@dataclass(frozen=True)
class Case:
    """How one folder is made.

    Attributes:
        name: of the case.
        note: what it is there for.
        backbone: see formats_backbones.py.
        prompts: of the model; empty for none.
        markers: tokens to add to the tokenizer.
        transformer: keyword arguments of the Transformer module.
        mask: keyword arguments of the MultiVectorMask module.
        stacked: three Dense layers instead of one.
    """

    name: str
    note: str
    backbone: Kind = "bert"
    prompts: dict[str, str] = field(default_factory=lambda: MARKERS)
    markers: tuple[str, ...] = ("[Q]", "[D]")
    transformer: dict[str, Any] = field(default_factory=lambda: {"query_expansion": FIXED})
    mask: dict[str, Any] = field(default_factory=lambda: {"skiplist_words": list(punctuation)})
    stacked: bool = False


CASES = (
    Case("bert", "markers as special tokens, unattended expansion, punctuation does not score"),
    Case(
        "bert_attended",
        "expansion is attended; prompts are text without a marker",
        prompts=PROMPTS,
        markers=(),
        transformer={"query_expansion": {**FIXED, "attend": True}},
    ),
    Case(
        "bert_no_expansion",
        "queries are cut and not expanded; marker and prompt together; no skiplist",
        prompts=BOTH,
        transformer={"query_length": QUERY_LENGTH},
        mask={},
    ),
    Case(
        "bert_min",
        "expansion to a least length, of a token that is named; neither markers nor prompts",
        prompts={},
        markers=(),
        transformer={
            "query_length": QUERY_LENGTH,
            "query_expansion": {"strategy": "min", "attend": False, "length": 8, "token": "[unused0]"},
        },
    ),
    Case(
        "bert_min_mask",
        "expansion to a least length, of the mask token; longer queries are cut at another length",
        transformer={
            "query_length": QUERY_LENGTH,
            "query_expansion": {"strategy": "min", "attend": False, "length": 8},
        },
    ),
    Case(
        "lfm2_min",
        "a decoder of convolutions and attention; expansion to a least length is attended",
        backbone="lfm2",
        transformer={
            "query_length": QUERY_LENGTH,
            "query_expansion": {"strategy": "min", "attend": True, "length": 8},
        },
    ),
    Case(
        "bert_lower",
        "a cased vocabulary with do_lower_case; GELU, biases, residuals, one between unequal widths",
        backbone="bert_cased",
        transformer={"query_expansion": FIXED, "do_lower_case": True},
        stacked=True,
    ),
    Case(
        "bert_skiplist",
        "words that the vocabulary lacks are left out of the skiplist; it holds for queries too",
        mask={
            "skiplist_words": ["the", "honey", "!", "bal", "Honey", "lighthouse", "##r"],
            "skiplist_tasks": ["query", "document"],
        },
    ),
    Case("modernbert", "byte-level BPE, no token types", backbone="modernbert"),
    Case("qwen2", "a decoder without BOS: the marker is the first token", backbone="qwen2"),
)
FOREIGN = {
    "from_pylate": ("pylate-1.6.0/modernbert", "a PyLate folder loaded and saved again"),
    "read_pylate": ("pylate-1.6.0/bert", "a PyLate folder as it is"),
    "read_pylate_prompts": ("pylate-1.6.0/bert_prompts", "a PyLate folder with prompts as it is"),
    "read_pylate_skiplist": ("pylate-1.6.0/bert_skiplist", "unknown words are left out, unlike in PyLate"),
    "read_pylate_qwen2": ("pylate-1.6.0/qwen2", "the marker is the first token, unlike in PyLate"),
    "read_stanford": ("stanford-0.2.22/bert", "a Stanford folder as it is"),
}


def make_cases(
    work: Path, backbone: Path | None = None
) -> Iterator[tuple[str, str, Path, Texts, dict[str, Any]]]:
    """Build every case and save it with sentence-transformers.

    Args:
        work: a folder to work in.
        backbone: a Hugging Face folder to use instead of the tiny ones, with the first case alone.

    Yields:
        name, note, folder, texts and settings of a case.
    """
    for case in CASES[:1] if backbone else CASES:
        name = "bert_given" if backbone else case.name
        source = backbone or save_backbone(case.backbone, work / f"backbone_{case.name}")
        model = _build(case, source)
        for module in list(model)[1:] if backbone else model:
            fill(module, case.name)
        folder = work / name
        model.save_pretrained(str(folder), create_model_card=False)
        yield name, case.note, folder, _texts(model), _settings(model)
    for name, (source_case, note) in FOREIGN.items() if not backbone else ():
        folder = GOLDENS / source_case / "model"
        model = _load(folder)
        texts, settings = _texts(model), _settings(model)
        if name.startswith("from_"):
            folder = work / name
            model.save_pretrained(str(folder), create_model_card=False)
        yield name, note, folder, texts, settings


def _build(case: Case, source: Path) -> Any:
    base = import_module("sentence_transformers.base.modules")
    library = import_module("sentence_transformers.multi_vector_encoder")
    transformer = base.Transformer(str(source), document_length=DOCUMENT_LENGTH, **case.transformer)
    if transformer.tokenizer.pad_token is None:  # which this library asks for
        transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
    if case.markers:
        transformer.tokenizer.add_special_tokens({"additional_special_tokens": list(case.markers)})
        transformer.model.resize_token_embeddings(len(transformer.tokenizer))
    width = transformer.model.config.hidden_size
    named = {"module_input_name": "token_embeddings"}
    gelu, identity = torch.nn.GELU(), torch.nn.Identity()
    stack = (
        [
            base.Dense(HIDDEN, HIDDEN, activation_function=gelu, use_residual=True, **named),
            base.Dense(HIDDEN, 24, activation_function=gelu, use_residual=True, **named),
            base.Dense(24, DIM, bias=False, activation_function=identity, **named),
        ]
        if case.stacked
        else [base.Dense(width, DIM, bias=False, activation_function=identity, **named)]
    )
    modules = import_module("sentence_transformers.multi_vector_encoder.modules")
    mask = modules.MultiVectorMask(**case.mask)
    return library.MultiVectorEncoder(
        modules=[transformer, *stack, mask, base.Normalize(**named)],
        prompts=dict(case.prompts) or None,
        device="cpu",
    )


def _texts(model: Any) -> Texts:
    transformer = model[0]
    expansion = transformer.query_expansion
    longest = {
        "query": transformer.query_length or expansion["length"],
        "document": transformer.document_length,
    }

    def edges(role: str) -> tuple[str, ...]:
        prompt = model.prompts.get(role) or ""
        return edge_texts(lambda text: len(transformer.tokenizer(prompt + text)["input_ids"]), longest[role])

    return Texts(queries=(*QUERIES, *edges("query")), documents=(*DOCUMENTS, *edges("document")))


def _settings(model: Any) -> dict[str, Any]:
    names = ("query_length", "document_length", "query_expansion", "do_lower_case")
    mask = next(module for module in model if type(module).__name__ == "MultiVectorMask")
    return {
        "prompts": dict(model.prompts),
        **{name: getattr(model[0], name) for name in names},
        "skiplist_words": mask.skiplist_words,
        "skiplist_tasks": mask.skiplist_tasks,
    }


def _load(folder: Path) -> Any:
    library = import_module("sentence_transformers.multi_vector_encoder")
    return library.MultiVectorEncoder(str(folder), device="cpu")


def encode(folder: Path, texts: Texts) -> Encoded:
    """Load any folder and encode texts with ``encode_query`` and ``encode_document``."""
    model = _load(folder)
    emb: dict[str, tuple[Tensor, ...]] = {}
    ids: dict[str, tuple[Tensor, ...]] = {}
    for role, rows in (("query", texts.queries), ("document", texts.documents)):
        method = getattr(model, f"encode_{role}")
        emb[role] = tuple(method(list(rows)))
        whole = method(list(rows), output_value=None)
        ids[role] = tuple(row["input_ids"][row["attention_mask"].bool()] for row in whole)
    scores_QN = model.similarity(list(emb["query"]), list(emb["document"]))
    return Encoded(emb["query"], emb["document"], ids["query"], ids["document"], scores_QN)
