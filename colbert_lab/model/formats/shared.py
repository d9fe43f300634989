"""What all formats share: a student from its parts, and the parts that a student is written as.

Weights are put into a model with every misfit named.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, normalizers
from torch import Tensor, nn
from transformers.dynamic_module_utils import custom_object_save

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.model.backbone import (
    backbone_from_config,
    check_finite,
    load_tokenizer,
    quiet_transformers,
    without_pooler,
)
from colbert_lab.model.colbert import ColBERT, Head
from colbert_lab.model.model_files import CODE_ROOT, KEY
from colbert_lab.model.student import Student, check_attention, check_reading
from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


# Weights of old checkpoints that late interaction has no use for: the sentence pooler, and position numbers, which
# are no weights.
UNUSED = (".pooler.", ".embeddings.position_ids")


def fit(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a model, in the model's own precision.

    Args:
        model: the model.
        weights: by the model's names.
        where: config key and folder, to name in errors.

    Raises:
        InputError: weights are missing, left over or of another shape, and the model is unchanged; or not finite.
    """
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    wrong = [
        f"{name} {list(weights[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(expected.keys() & weights.keys())
        if expected[name].shape != weights[name].shape
    ]
    check_fit(missing, extra, wrong, where)
    model.load_state_dict(dict(weights))
    check_finite(model, where)


def check_fit(missing: Sequence[str], extra: Sequence[str], wrong: Sequence[str], where: str) -> None:
    """Whether all weights found their place.

    Raises:
        InputError: not all did; they are named.
    """
    kinds = (("missing", missing), ("left over", extra), ("of another shape", wrong))
    named = [f"{some_ids(sorted(names))} {kind}" for kind, names in kinds if names]
    if named:
        raise InputError(f"{where}: weights do not fit: {'; '.join(named)}")


def fill_backbone(empty: PreTrainedModel, weights: Mapping[str, Tensor], where: str) -> PreTrainedModel:
    """A backbone with a checkpoint's weights, in float32.

    transformers puts them in place, as it knows the older names of weights; but not where code of the folder built
    the backbone, whose tables it would leave undefined.

    Args:
        empty: a backbone of the same shape.
        weights: the checkpoint's, with or without the name of the backbone (``bert.``) before theirs.
        where: config key and folder, to name in errors.

    Raises:
        InputError: as for :func:`fit`.
    """
    used = {name: value for name, value in weights.items() if not _unused(name)}
    if type(empty).__module__.split(".")[0] == CODE_ROOT:
        prefix = f"{empty.base_model_prefix}."
        fit(empty, {name.removeprefix(prefix): value for name, value in used.items()}, where)
        return empty
    with quiet_transformers():
        filled, info = type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict=used,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            attn_implementation=empty.config._attn_implementation,
            dtype=torch.float32,
        )
    check_fit(
        [name for name in info["missing_keys"] if not _unused(name)],
        list(info["unexpected_keys"]),
        [f"{name} {list(theirs)} instead of {list(ours)}" for name, theirs, ours in info["mismatched_keys"]],
        where,
    )
    check_finite(filled, where)
    return without_pooler(filled)


def _unused(name: str) -> bool:
    return any(part in f".{name}" for part in UNUSED)


class Parts(NamedTuple):
    """What another library's folder holds of a student.

    Attributes:
        folder: the checkpoint, with the backbone's configuration.
        tokenizer: its tokenizer.
        rules: how it reads text.
        head: its head, with weights.
        weights: of the backbone.
        config: of the backbone; None is the folder's, which alone may bring code.
    """

    folder: Path
    tokenizer: PreTrainedTokenizerBase
    rules: TokenRules
    head: Head
    weights: Mapping[str, Tensor]
    config: PreTrainedConfig | None = None


def assemble(parts: Parts, attention: str, trust_remote_code: bool) -> Student:
    """A student from the parts of a checkpoint.

    Args:
        parts: the parts.
        attention: attention implementation of transformers.
        trust_remote_code: run Python code that comes with the backbone.

    Raises:
        InputError: parts do not fit together.
    """
    folder, tokenizer, rules, head, weights, config = parts
    where = f"{KEY}={folder}"
    known = len(tokenizer)
    reading = StudentTokenizer(tokenizer, rules)
    check_attention(rules, attention)
    with torch.device("meta"):  # its shape alone; the weights come below
        backbone = backbone_from_config(
            config or folder, attention, config is None and trust_remote_code, KEY
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
    check_reading(reading, backbone, f"the backbone {folder}")
    backbone = fill_backbone(backbone, weights, where)
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
    plain = (
        config_to_write(backbone, folder).to_dict() | {"architectures": [type(backbone).__name__]} | config
    )
    plain.pop("_name_or_path", None)  # where this machine loaded it from
    (folder / "config.json").write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    save_file(
        {name: value.detach().cpu().contiguous() for name, value in written.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def config_to_write(backbone: PreTrainedModel, folder: Path) -> PreTrainedConfig:
    """A backbone's configuration, for a folder beside whose weights it is to lie.

    Code that came with the backbone and built it is copied there; code that was passed over is no longer named.

    Args:
        backbone: of the student.
        folder: where to; it exists.
    """
    config = copy.deepcopy(backbone.config)
    root = type(backbone).__module__.split(".")[0]
    for part in (config, backbone):
        if type(part).__module__.split(".")[0] == CODE_ROOT:
            custom_object_save(part, folder, config=config)
    if root == "transformers" and hasattr(config, "auto_map"):
        del config.auto_map
    return config


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
