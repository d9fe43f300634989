"""The folder of FLMR's re-implementation of ColBERTv2 (LinWeizheDragon/ColBERT-v2, FLMRModelForRetrieval), to load.

config.json           ``model_type: flmr``; ``text_config`` says what differs from BERT-base; mask_punctuation
model.safetensors     ``context_text_encoder.bert_model.*`` and ``context_text_encoder_linear.weight`` [dim, hidden], or
                      the same under ``query_``; both where ``separate_query_and_context_text_encoder``
query_tokenizer/      BERT's vocabulary, query_maxlen, attend_to_mask_tokens
context_tokenizer/    the same vocabulary, doc_maxlen

The weights are those of the Stanford layout under other names, and text is read as there. The package (flmr) is not on
PyPI and was not run: a folder of this layout, made from a Stanford folder by tests/parity/formats_flmr.py after the
package's source, gives the same embeddings as that one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, BertTokenizerFast

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.shared import Parts
from colbert_lab.model.formats.stanford import head_of, rules_from
from colbert_lab.model.model_files import KEY, read_json, read_weights, value
from colbert_lab.model.unread import check_vocabulary

NAME = "flmr"
TOKENIZERS = ("query_tokenizer", "context_tokenizer")
SIDES = ("context", "query")
# Parts for images, which a text has no use for.
VISION = ("context_vision_", "query_vision_", "transformer_mapping_")


def read(folder: Path) -> Parts:
    """Read a folder in FLMR's layout, for text.

    Raises:
        InputError: a part is missing, does not fit, or does what one encoder for both roles cannot.
    """
    where = f"{KEY}={folder}"
    config = read_json(folder / "config.json")
    instruction = config.get("mask_instruction_token")
    if instruction is not None:
        raise InputError(
            f"{where}: mask_instruction_token={instruction}: instructions that do not score are not known"
        )
    settings = [read_json(folder / name / "tokenizer_config.json") for name in TOKENIZERS]
    tokenizer, other = (_tokenizer(folder / name, where) for name in TOKENIZERS)
    if tokenizer.truncation_side != other.truncation_side:
        raise InputError(
            f"{where}: {' and '.join(TOKENIZERS)} cut different ends of long texts (truncation_side); a student has one"
        )
    if tokenizer.get_vocab() != other.get_vocab():
        raise InputError(
            f"{where}: {' and '.join(TOKENIZERS)} have different vocabularies; a student has one"
        )
    weights, head = one_encoder(read_weights(folder, KEY), where)
    metadata: dict[str, Any] = {
        "mask_punctuation": config.get("mask_punctuation"),
        "query_maxlen": settings[0].get("query_maxlen"),
        "attend_to_mask_tokens": settings[0].get("attend_to_mask_tokens"),
        "doc_maxlen": settings[1].get("doc_maxlen"),
    }
    shape = value(config, "text_config", dict, folder / "config.json", {})
    text = {name: given for name, given in shape.items() if name != "model_type"}
    try:
        bert = AutoConfig.for_model("bert", **text)
    except Exception as error:  # transformers checks some values and fails on others
        raise InputError(
            f"{where}: text_config in config.json is no BERT ({' '.join(str(error).split())})"
        ) from error
    return Parts(
        folder,
        tokenizer,
        rules_from(metadata, tokenizer, folder),
        head_of({"linear.weight": head}, "linear.weight", folder),
        weights,
        bert,
    )


def _tokenizer(folder: Path, where: str) -> BertTokenizerFast:
    try:
        tokenizer = BertTokenizerFast.from_pretrained(folder)
    except Exception as error:  # tokenizers raises its own kinds for damaged files
        told = str(error).strip().splitlines()
        raise InputError(
            f"{where}: {folder.name} cannot be read: {told[0] if told else type(error).__name__}"
        ) from error
    check_vocabulary(tokenizer, f"{where}: {folder.name}")
    return tokenizer


def one_encoder(weights: dict[str, Tensor], where: str) -> tuple[dict[str, Tensor], Tensor]:
    """The weights of the text encoder that serves both roles, and its head.

    Args:
        weights: all of the folder.
        where: config key and folder, to name in errors.

    Raises:
        InputError: there is none, there are two that differ, or something unknown is left over.
    """
    parts: list[tuple[dict[str, Tensor], Tensor]] = []
    for side in SIDES:
        prefix, head = f"{side}_text_encoder.bert_model.", weights.get(f"{side}_text_encoder_linear.weight")
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if own and head is not None:
            parts.append((own, head))
    known = tuple(f"{side}_text_encoder{end}" for side in SIDES for end in (".", "_linear."))
    extra = sorted(name for name in weights if not name.startswith((*known, *VISION)))
    if extra or not parts:
        raise InputError(f"{where}: weights do not fit: {', '.join(extra[:5]) or 'no text encoder'}")
    first, *others = parts
    for second in others:
        same = first[0].keys() == second[0].keys() and torch.equal(first[1], second[1])
        if not same or any(not torch.equal(value, second[0][name]) for name, value in first[0].items()):
            raise InputError(f"{where}: its encoders of queries and of documents differ; a student has one")
    return first
