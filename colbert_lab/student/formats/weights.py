"""Read a folder's weights and put them into a model, with every misfit named. No code in a file is ever run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from colbert_lab.errors import InputError, some_ids
from colbert_lab.student.backbone import quiet_transformers, without_pooler

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEXES = (f"{SAFETENSORS}.index.json", f"{PICKLE}.index.json")
# Weights of old checkpoints that late interaction has no use for: the sentence pooler, and position numbers, which
# are no weights.
UNUSED = (".pooler.", ".embeddings.position_ids")


def read_weights(folder: Path, key: str) -> dict[str, Tensor]:
    """The weights of a folder: safetensors, or PyTorch's own files, whole or in parts.

    Args:
        folder: where they are.
        key: the config key to name in errors.

    Raises:
        InputError: there are none, or they cannot be read without running code.
    """
    for index in INDEXES:
        if (folder / index).is_file():
            parts = sorted(
                set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
            )
            weights: dict[str, Tensor] = {}
            for part in parts:
                weights |= read_file(folder / part, key)
            return weights
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return read_file(folder / name, key)
    raise InputError(
        f"{key}={folder}: has no weights (looked for {SAFETENSORS}, {PICKLE}, {', '.join(INDEXES)})"
    )


def read_file(file: Path, key: str) -> dict[str, Tensor]:
    """The tensors of one file; ``.safetensors``, or a pickle of tensors and nothing else.

    Args:
        file: the file.
        key: the config key to name in errors.

    Raises:
        InputError: the file is missing or broken, or reading it would run code.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{key}: {file} holds more than tensors, and reading it could run code of whoever made it; it is not read. "
            "Ask for safetensors, or convert it where you trust it"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{key}: {file} cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{key}: {file} holds no weights by name")
    return dict(found)


def fit(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a model, in the model's own precision.

    Args:
        model: the model.
        weights: by the model's names.
        where: config key and folder, to name in errors.

    Raises:
        InputError: weights are missing, left over or of another shape; the model is then unchanged.
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

    transformers puts them in place, as it knows the older names of weights.

    Args:
        empty: a backbone of the same shape.
        weights: the checkpoint's, with or without the name of the backbone (``bert.``) before theirs.
        where: config key and folder, to name in errors.

    Raises:
        InputError: as for :func:`fit`.
    """
    with quiet_transformers():
        filled, info = type(empty).from_pretrained(
            None,
            config=empty.config,
            state_dict={name: value for name, value in weights.items() if not _unused(name)},
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
    return without_pooler(filled)


def _unused(name: str) -> bool:
    return any(part in f".{name}" for part in UNUSED)
