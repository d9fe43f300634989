"""The student: a ColBERT model together with the tokenizer that feeds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import load_backbone, load_tokenizer, random_backbone
from colbert_lab.student.colbert import ColBERT
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules

OUTPUTS, POOLINGS = ("multi", "single"), ("mean", "cls")


@dataclass(frozen=True)
class Student:
    """What is trained, saved, loaded and evaluated.

    Attributes:
        model: the network.
        tokenizer: text to tokens, with this student's prompts, markers and lengths.
    """

    model: ColBERT
    tokenizer: StudentTokenizer


def build_student(
    *,
    backbone: str,
    dim: int | None,
    bias: bool,
    dropout: float | None,
    attention: str,
    query_length: int,
    document_length: int,
    query_marker: str | None,
    document_marker: str | None,
    expansion: str,
    skiplist: str | Sequence[str],
    query_prompt: str,
    document_prompt: str,
    extend_length: bool,
    output: str = "multi",
    pooling: str = "mean",
    trust_remote_code: bool = False,
    architecture: Mapping[str, Any] | None = None,
    layers: int | None = None,
) -> Student:
    """Put an untrained head on a pretrained backbone, or on one to train from scratch.

    What is untrained is drawn from torch's global generator: seed it first.

    Args:
        backbone: hub id, local folder or ``package:NAME/FOLDER``; with ``architecture`` the tokenizer's alone.
        dim: dimensions of an embedding; None takes the backbone's, without a head.
        bias: whether the head has a bias (the published ColBERT heads have none).
        dropout: the backbone's dropout rate while training; None keeps its own.
        attention: attention implementation of transformers.
        query_length: see :class:`TokenRules`, like the settings that follow.
        document_length: see there.
        query_marker: see there.
        document_marker: see there.
        expansion: see there.
        skiplist: see there.
        query_prompt: see there.
        document_prompt: see there.
        extend_length: see there.
        output: ``multi`` for one vector a token; ``single`` for one a text, the dense twin.
        pooling: ``mean`` or ``cls``, for ``single``.
        trust_remote_code: run Python code that comes with a model; off unless asked for.
        architecture: a backbone with random weights instead, see
            :func:`~colbert_lab.student.architecture.architecture_config`.
        layers: first layers of the pretrained backbone to keep; None keeps all.

    Raises:
        InputError: a setting cannot be kept.
    """
    if dim is not None and dim < 1:
        raise InputError(f"student.dim={dim}: must be at least 1, or null for no head")
    if pooling_of(output, pooling) is not None and expansion != "none":
        raise InputError(
            f"student.expansion={expansion}: has no place in student.output={output}; set it to none"
        )
    if expansion == "unattended" and attention.startswith("flash"):
        raise InputError(
            f"student.expansion=unattended with student.attention={attention}: FlashAttention zeroes tokens that "
            "are not attended, so expansion would score zeros; use expansion=attended or attention=sdpa"
        )
    if architecture is not None and layers is not None:
        raise InputError(
            f"student.layers={layers}: has no effect with student.architecture; set its num_hidden_layers"
        )
    rules = TokenRules(
        query_length=query_length,
        document_length=document_length,
        query_marker=query_marker,
        document_marker=document_marker,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        extend_length=extend_length,
        expansion=expansion,  # type: ignore[arg-type]  # checked by StudentTokenizer
        skiplist=skiplist,
    )
    tokenizer = StudentTokenizer(load_tokenizer(backbone, trust_remote_code), rules)
    if architecture is None:
        network = load_backbone(
            backbone,
            dropout=dropout,
            attention=attention,
            layers=layers,
            trust_remote_code=trust_remote_code,
        )
    else:
        network = random_backbone(architecture, tokenizer.tokenizer, dropout=dropout, attention=attention)
    longest = getattr(network.config, "max_position_embeddings", None)
    for role in ("query", "document"):
        length = tokenizer.length(role)
        if longest is not None and length > longest:
            raise InputError(
                f"student.{role}_length={length} is beyond the {longest} positions of "
                + (f"the backbone {backbone}" if architecture is None else "student.architecture")
            )
    vocabulary = len(tokenizer.tokenizer)
    if vocabulary > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(vocabulary, mean_resizing=False)
    return Student(
        ColBERT(network, new_head(network.config.hidden_size, dim, bias), pooling_of(output, pooling)),
        tokenizer,
    )


def new_head(hidden: int, dim: int | None, bias: bool) -> nn.Module:
    """An untrained projection from torch's global generator; none for ``dim`` None."""
    return nn.Identity() if dim is None else nn.Linear(hidden, dim, bias=bias)


def pooling_of(output: str, pooling: str) -> str | None:
    """How tokens are pooled: not at all for ``multi``.

    Raises:
        InputError: an unknown output or pooling.
    """
    for key, value, known in (("output", output, OUTPUTS), ("pooling", pooling, POOLINGS)):
        if value not in known:
            raise InputError(f"student.{key}={value}: must be one of {', '.join(known)}")
    return pooling if output == "single" else None


def with_output(student: Student, output: str, pooling: str, dim: int | None, bias: bool) -> Student:
    """The student with another output; between one and several vectors a text, the head is drawn anew.

    A dense model becomes the start of a multi-vector student, as ColBERT-Zero's cheap recipes have it.

    Args:
        student: a loaded student.
        output: see :func:`build_student`, like the settings that follow.
        pooling: see there.
        dim: see there.
        bias: see there.
    """
    wanted, model = pooling_of(output, pooling), student.model
    if wanted == model.pooling:
        return student
    head = model.head
    if (wanted is None) != (model.pooling is None):
        head = new_head(model.backbone.config.hidden_size, dim, bias)
    return Student(ColBERT(model.backbone, head, wanted), student.tokenizer)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def pick_device(accelerator: str) -> torch.device:
    """The torch device behind Lightning's accelerator name (``auto`` takes a GPU when there is one)."""
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        return torch.device("cuda")
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return torch.device("mps")
    return torch.device("cpu")
