"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) in a student's backbone, by the library peft."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.formats.own import os_errors
from colbert_lab.settings.groups import LoraSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
"""What stands for all linear maps among the targets of adapters, as in peft."""
PREFIX = "base_model.model."
"""What a model is called inside peft's."""


def check_installed(settings: LoraSettings | None) -> None:
    """Whether peft is there where it is needed.

    Raises:
        InputError: it is not.
    """
    if settings is not None and find_spec("peft") is None:
        raise InputError(
            'student.lora: needs the package peft, which is not installed; pip install "colbert-lab[lora]"'
        )


def targets_of(backbone: PreTrainedModel, wanted: list[str]) -> list[str]:
    """Whole names of the linear maps that get adapters.

    Args:
        backbone: a Hugging Face encoder or decoder.
        wanted: ``student.lora.targets``: ends of names, such as ``query`` or ``attention.self.query``, or
            ``all-linear`` alone.

    Raises:
        InputError: one of them is the end of no linear map's name.
    """
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    if wanted == [ALL_LINEAR]:
        return linear
    for target in wanted:
        if not any(f".{name}".endswith(f".{target}") for name in linear):
            there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise InputError(
                f"student.lora.targets={target}: {type(backbone).__name__} has no linear map of this name; there are "
                f"{there}, and {ALL_LINEAR} alone for all of them"
            )
    return [name for name in linear if f".{name}".endswith(tuple(f".{target}" for target in wanted))]


@contextmanager
def adapted(model: ColBERT, settings: LoraSettings | None, seed: int) -> Iterator[None]:
    """Train adapters in the place of a backbone's weights for a while.

    To the output of each target is added ``alpha / rank`` times that of two small matrices, the second of which starts
    at zero. The weights of the backbone itself stay as they are, bit for bit; the head is trained as ever.

    Args:
        model: the student's network; at the end it is as it was, but for its head. What was trained is taken before,
            with :func:`plain`.
        settings: ``student.lora``; None leaves the network as it is.
        seed: of the first matrices.

    Raises:
        InputError: peft is not there, or there is nothing of a target's name.
    """
    if settings is None:
        yield
        return
    check_installed(settings)
    from peft import LoraConfig, inject_adapter_in_model

    targets = targets_of(model.backbone, list(settings.targets))
    modules = dict(model.backbone.named_modules())
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(modules[name], Conv1D) for name in targets),
    )
    trained = {name: parameter.requires_grad for name, parameter in model.backbone.named_parameters()}
    devices = [each.index for each in {p.device for p in model.backbone.parameters()} if each.type == "cuda"]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model.backbone)
    model.train(model.training)
    try:
        yield
    finally:
        _without_adapters(model, merge=False)
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(trained[name])


def plain(model: ColBERT) -> ColBERT:
    """An ordinary network with the same output: a copy with its adapters merged, the same one where it has none."""
    if not _adapters(model):
        return model
    copied = copy.deepcopy(model)
    _without_adapters(copied, merge=True)
    return copied.requires_grad_(True)


def save_adapter(model: ColBERT, folder: Path) -> None:
    """Write a backbone's adapters in peft's own layout: ``adapter_config.json`` and ``adapter_model.safetensors``.

    ``peft.PeftModel.from_pretrained(backbone, folder)`` puts them on the backbone that they were trained beside: that
    of the student that the phase began with. An older folder is replaced when the new one is whole.

    Args:
        model: a network with adapters in place.
        folder: where to write.

    Raises:
        OSError: the disk is full or not writable.
    """
    from peft import get_peft_model_state_dict

    config = copy.copy(model.backbone.peft_config["default"])
    config.inference_mode, config.target_modules = True, sorted(config.target_modules)
    weights = get_peft_model_state_dict(model.backbone, save_embedding_layers=False)
    with atomic_folder(folder) as temporary, os_errors(folder):
        config.save_pretrained(temporary)
        save_file(
            {f"{PREFIX}{name}": value.detach().cpu().contiguous() for name, value in weights.items()},
            temporary / "adapter_model.safetensors",
            metadata={"format": "pt"},
        )


def _adapters(model: ColBERT) -> dict[str, Any]:
    """Layers of peft by their names."""
    return {name: module for name, module in model.backbone.named_modules() if hasattr(module, "lora_A")}


def _without_adapters(model: ColBERT, merge: bool) -> None:
    """Put the layers of the backbone in the place of peft's."""
    for name, layer in _adapters(model).items():
        if merge:
            layer.merge()
        model.backbone.set_submodule(name, layer.get_base_layer())
    if hasattr(model.backbone, "peft_config"):
        del model.backbone.peft_config
