"""Stanford's ColBERT folder (colbert-ai; ColBERTv2): one model with its head inside, rules in ``artifact.metadata``.

config.json            of the backbone, ``architectures: ["HF_ColBERT"]``
model.safetensors      ``<name of the backbone>.*`` (``bert.*``) and ``linear.weight`` [dim, hidden], without bias
artifact.metadata      JSON: query_token_id, doc_token_id, query_maxlen, doc_maxlen, dim, mask_punctuation,
                       attend_to_mask_tokens, similarity ...
tokenizer files

What colbert-ai 0.2.22 does with them: markers are put after the first token of a text that is cut to the length less
one; queries are always filled up with the mask token; with ``mask_punctuation``, the first token of each punctuation
mark does not score in documents. Older metadata names no marker tokens; they are [unused0] and [unused1].
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import normalizers

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import Head, LayerShape
from colbert_lab.model.formats.modules import write_json
from colbert_lab.model.formats.shared import (
    Parts,
    fit,
    normalised_first,
    refuse,
    stripping,
    tokenizer_in,
    with_special_markers,
    write_backbone,
    write_tokenizer,
)
from colbert_lab.model.model_files import KEY, read_json, read_weights, value
from colbert_lab.model.projection import ProjectionHead
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import TokenRules, leading_special

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

NAME = "stanford"
METADATA_FILE, ARCHITECTURE, HEAD_WEIGHT = "artifact.metadata", "HF_ColBERT", "linear.weight"
PADDINGS = ("[PAD]", "<pad>", "<|padding|>")
# colbert-ai's own defaults (infra/config/settings.py), for metadata that does not say.
DEFAULTS: dict[str, Any] = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_maxlen": 32,
    "doc_maxlen": 220,
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "similarity": "cosine",
}


def read(folder: Path) -> Parts:
    """Read a folder that Stanford's ColBERT saved.

    Raises:
        InputError: a part is missing, does not fit or is not known.
    """
    metadata = read_json(folder / METADATA_FILE) if (folder / METADATA_FILE).is_file() else {}
    weights = read_weights(folder, KEY)
    head = head_of(weights, HEAD_WEIGHT, folder)
    if metadata.get("dim") not in (None, head.out_features):
        raise InputError(
            f"{KEY}={folder}: {METADATA_FILE} says dim={metadata['dim']}, and {HEAD_WEIGHT} has "
            f"{head.out_features} rows"
        )
    tokenizer = tokenizer_in(folder)
    return Parts(
        folder,
        tokenizer,
        rules_from(metadata, tokenizer, folder),
        head,
        {name: weight for name, weight in weights.items() if name != HEAD_WEIGHT},
    )


def head_of(weights: dict[str, Tensor], name: str, folder: Path) -> Head:
    """The head of one matrix [dim, hidden].

    Raises:
        InputError: there is no such matrix.
    """
    if name not in weights:
        raise InputError(f"{KEY}={folder}: weights do not fit: {name} is missing")
    dim, hidden = weights[name].shape
    head = Head([LayerShape(hidden, dim)])
    fit(head, {"0.linear.weight": weights[name]}, f"{KEY}={folder}")
    return head


def rules_from(metadata: dict[str, Any], tokenizer: PreTrainedTokenizerBase, folder: Path) -> TokenRules:
    """How Stanford's ColBERT reads text by its metadata.

    Raises:
        InputError: another similarity than cosine.
    """
    values = {
        key: value(metadata, key, type(usual), f"{folder / METADATA_FILE}", usual)
        for key, usual in DEFAULTS.items()
    }
    if values["similarity"] != "cosine":
        raise InputError(
            f"{KEY}={folder}: {METADATA_FILE}: similarity={values['similarity']}: only cosine is known"
        )
    skipped = []
    if values["mask_punctuation"]:
        first = [tokenizer.encode(mark, add_special_tokens=False)[0] for mark in string.punctuation]
        skipped = tokenizer.convert_ids_to_tokens(list(dict.fromkeys(first)))
    return TokenRules(
        query_length=values["query_maxlen"],
        document_length=values["doc_maxlen"],
        query_marker=values["query_token_id"],
        document_marker=values["doc_token_id"],
        query_prompt="",
        document_prompt="",
        extend_length=False,
        expansion="attended" if values["attend_to_mask_tokens"] else "unattended",
        skiplist=skipped,
        marker_after=None if leading_special(tokenizer) == 1 else 1,
        truncation_side=tokenizer.truncation_side,
    )


def save(student: Student, folder: Path) -> None:
    """Write a student as Stanford's ColBERT does.

    Args:
        student: the student.
        folder: an empty folder.

    Raises:
        InputError: the layout cannot hold it.
    """
    reading, rules, head = student.tokenizer, student.tokenizer.rules, student.model.head
    check_single(student, NAME)
    check_reading(rules)
    if reading.tokenizer.mask_token is None:
        raise refuse(
            NAME, "the layout expands queries with the mask token, which this tokenizer does not have"
        )
    if reading.markers_after != 1:
        raise refuse(
            NAME, f"its markers come after the first token, and this student's after {reading.markers_after}"
        )
    first = [*stripping(student), *([normalizers.Lowercase()] if rules.lowercase else [])]
    marks = rules_from({}, reading.tokenizer, folder).skiplist
    if set(reading.skipped) not in (set(), set(marks)):
        raise refuse(NAME, "the layout skips punctuation or nothing, and this student's skiplist is another")
    tokenizer = normalised_first(with_special_markers(student), *first)
    if tokenizer.pad_token_id == tokenizer.mask_token_id:
        # colbert-ai leaves out what equals the padding, and PyLate pads with the mask token.
        tokenizer.pad_token = padding(tokenizer)
    prefix = student.model.backbone.base_model_prefix
    weights = {f"{prefix}.{name}": weight for name, weight in student.model.backbone.state_dict().items()}
    weights[HEAD_WEIGHT] = head.state_dict()["0.linear.weight"]
    write_backbone(student, folder, weights, architectures=[ARCHITECTURE])
    write_tokenizer(tokenizer, folder)
    write_json(
        folder / METADATA_FILE,
        {
            "query_token_id": rules.query_marker,
            "doc_token_id": rules.document_marker,
            "query_token": "[Q]",
            "doc_token": "[D]",
            "query_maxlen": reading.length("query"),
            "doc_maxlen": reading.length("document"),
            "dim": head.out_features,
            "mask_punctuation": bool(reading.skipped),
            "attend_to_mask_tokens": rules.expansion == "attended",
            "similarity": "cosine",
            "interaction": "colbert",
        },
    )


def check_reading(rules: TokenRules) -> None:
    """Whether a student reads text as the layout can say.

    Raises:
        InputError: it does not; all that it was trained without, as another student has to be trained for it.
    """
    lacks = [
        told
        for lacking, told in (
            (
                rules.query_marker is None or rules.document_marker is None,
                "markers for queries and documents (student.query_marker, student.document_marker)",
            ),
            (rules.query_prompt or rules.document_prompt, "no prompts (prompts=none)"),
            (
                rules.expansion == "none",
                "queries that are expanded (student.expansion=attended or unattended)",
            ),
        )
        if lacking
    ]
    if lacks:
        raise refuse(
            NAME,
            f"the layout has {', and '.join(lacks)}, and this student was trained otherwise; train one with "
            "that, as +experiment=colbert_v2 does",
        )


def padding(tokenizer: PreTrainedTokenizerBase) -> str:
    """The vocabulary's padding token, for a tokenizer that was made to pad with another one.

    Raises:
        InputError: it has none of the usual names.
    """
    known = tokenizer.get_vocab()
    found = next((token for token in PADDINGS if token in known), None)
    if found is None:
        raise refuse(
            NAME, f"the layout needs a padding token of its own, and the vocabulary has none of {PADDINGS}"
        )
    return found


def check_single(student: Student, target: str) -> None:
    """Whether a student's head is one matrix.

    Raises:
        InputError: it is not.
    """
    head = student.model.head
    shapes = () if isinstance(head, ProjectionHead) else head.shapes
    if len(shapes) != 1 or shapes[0].bias or shapes[0].residual or shapes[0].activation != "Identity":
        raise refuse(
            target, "the layout holds one linear map without bias, and this student's head is more than that"
        )
