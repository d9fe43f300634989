"""What all formats share: a student from a folder's parts, and the parts that a student is written as."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, normalizers
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import backbone_from_config, load_tokenizer
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.formats.weights import fill_backbone
from colbert_lab.student.heads import Head
from colbert_lab.student.student import Student, check_attention, check_reading
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

KEY = "student.checkpoint"


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file of a checkpoint.

    Raises:
        InputError: it is missing or broken.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{KEY}: {file} cannot be read ({error})") from error
    return found


def assemble(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    rules: TokenRules,
    head: Head,
    weights: Mapping[str, Tensor],
    *,
    attention: str,
    trust_remote_code: bool,
    config: PreTrainedConfig | None = None,
) -> Student:
    """A student from the parts of a checkpoint.

    Args:
        folder: the checkpoint, with the backbone's configuration.
        tokenizer: its tokenizer.
        rules: how it reads text.
        head: its head, with weights.
        weights: of the backbone.
        attention: attention implementation of transformers.
        trust_remote_code: run Python code that comes with the backbone.
        config: of the backbone; None is the folder's.

    Raises:
        InputError: parts do not fit together.
    """
    where = f"{KEY}={folder}"
    known = len(tokenizer)
    reading = StudentTokenizer(tokenizer, rules)
    check_attention(rules, attention)
    with torch.device("meta"):  # its shape alone; the weights come below
        backbone = backbone_from_config(
            folder if config is None else config, attention, trust_remote_code, KEY
        )
    if head.shapes and head.shapes[0].inputs != backbone.config.hidden_size:
        raise InputError(
            f"{where}: its head takes {head.shapes[0].inputs} dimensions and its backbone gives "
            f"{backbone.config.hidden_size}"
        )
    rows = backbone.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        added = f" (with the markers {rules.query_marker} and {rules.document_marker})" * (
            len(tokenizer) > known
        )
        raise InputError(
            f"{where}: its tokenizer has {len(tokenizer)} tokens{added} and its weights {rows}; vectors of tokens that "
            "were never trained would be random"
        )
    backbone = fill_backbone(backbone, weights, where)
    check_reading(reading, backbone, f"the backbone {folder}")
    return Student(ColBERT(backbone, head), reading)


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint; no code of it is run.

    Raises:
        InputError: there is none.
    """
    return load_tokenizer(str(folder.resolve()), key=KEY)


def write_backbone(
    student: Student, folder: Path, weights: Mapping[str, Tensor] | None = None, **config: Any
) -> None:
    """Write ``config.json`` and ``model.safetensors`` as transformers does.

    Args:
        student: whose backbone to write.
        folder: where to; it exists.
        weights: what to write; None is the backbone's weights.
        config: values of ``config.json`` to set.
    """
    backbone = student.model.backbone
    written = backbone.state_dict() if weights is None else weights
    plain = backbone.config.to_dict() | {"architectures": [type(backbone).__name__]} | config
    plain.pop("_name_or_path", None)  # where this machine loaded it from
    (folder / "config.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in written.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer so that older and newer transformers read it."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    # transformers 5 names a class of its own here and lists special tokens under a name of its own; transformers 4
    # fails on both, and both versions read these.
    plain["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(plain.get("extra_special_tokens"), list):
        plain["additional_special_tokens"] = plain.pop("extra_special_tokens")
    file.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def with_special_markers(student: Student) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer that reads a marker written in a text as one token, whatever its normaliser does."""
    rules = student.tokenizer.rules
    tokenizer = copy.deepcopy(student.tokenizer.tokenizer)
    add_special(
        tokenizer, [marker for marker in (rules.query_marker, rules.document_marker) if marker is not None]
    )
    return tokenizer


def add_special(tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]) -> None:
    """Make markers special tokens; those that the vocabulary has keep their ids."""
    tokenizer.add_tokens(
        [AddedToken(marker, normalized=False, special=True) for marker in markers], special_tokens=True
    )


def reads_white_space(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether white space around a text changes its tokens, as with byte-level BPE and not with BERT."""
    plain = tokenizer.tokenize("a")
    return bool(tokenizer.tokenize(" a") != plain or tokenizer.tokenize("a ") != plain)


def normalised_first(
    tokenizer: PreTrainedTokenizerBase, *steps: normalizers.Normalizer
) -> PreTrainedTokenizerBase:
    """A copy of a tokenizer that normalises text in these ways before its own."""
    if not steps:
        return tokenizer
    changed = copy.deepcopy(tokenizer)
    backend = changed.backend_tokenizer
    own = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([*steps, *own])
    return changed


def stripping(student: Student) -> list[normalizers.Normalizer]:
    """What a tokenizer must do itself where a layout does not say that white space around texts is removed."""
    needed = student.tokenizer.rules.strip and reads_white_space(student.tokenizer.tokenizer)
    return [normalizers.Strip()] if needed else []


def refuse(target: str, why: str) -> InputError:
    """The error of a student that a layout cannot hold."""
    return InputError(f"to={target}: {why}")
