"""The student: a ColBERT model together with the tokenizer that feeds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import load_backbone, load_tokenizer, random_backbone
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.heads import Head, head_shapes, widen
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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
    head: Mapping[str, Any] | None = None,
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
        head: the other settings of the head, see :func:`colbert_lab.student.heads.head_shapes`; None for one layer.
        output: ``multi`` for one vector a token; ``single`` for one a text, the dense twin.
        pooling: ``mean`` or ``cls``, for ``single``.
        trust_remote_code: run Python code that comes with a model; off unless asked for.
        architecture: a backbone with random weights instead, see
            :func:`~colbert_lab.student.architecture.architecture_config`.
        layers: first layers of the pretrained backbone to keep; None keeps all.

    Raises:
        InputError: a setting cannot be kept.
    """
    head_shapes(1, dim, bias, **head or {})
    if pooling_of(output, pooling) is not None and expansion != "none":
        raise InputError(
            f"student.expansion={expansion}: has no place in student.output={output}; set it to none"
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
    check_attention(rules, attention)
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
    check_reading(
        tokenizer, network, f"the backbone {backbone}" if architecture is None else "student.architecture"
    )
    vocabulary = len(tokenizer.tokenizer)
    if vocabulary > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(vocabulary, mean_resizing=False)
    return Student(
        ColBERT(network, new_head(network.config.hidden_size, dim, bias, head), pooling_of(output, pooling)),
        tokenizer,
    )


def check_attention(rules: TokenRules, attention: str) -> None:
    """Whether an attention implementation gives every token that scores an embedding.

    Args:
        rules: of the student.
        attention: attention implementation of transformers.

    Raises:
        InputError: it would zero tokens that score.
    """
    if rules.expansion == "unattended" and "flash" in attention:
        raise InputError(
            f"student.expansion=unattended with student.attention={attention}: FlashAttention zeroes tokens that "
            "are not attended, so expansion would score zeros; use expansion=attended or attention=sdpa"
        )


def check_reading(tokenizer: StudentTokenizer, network: PreTrainedModel, name: str) -> None:
    """Whether a backbone can read what a tokenizer makes.

    Args:
        tokenizer: of the student.
        network: its backbone.
        name: what errors call it.

    Raises:
        InputError: texts are longer than its positions.
    """
    longest = getattr(network.config, "max_position_embeddings", None)
    for role in ("query", "document"):
        length = tokenizer.length(role)
        if longest is not None and length > longest:
            raise InputError(f"student.{role}_length={length} is beyond the {longest} positions of {name}")


def new_head(hidden: int, dim: int | None, bias: bool, settings: Mapping[str, Any] | None = None) -> Head:
    """An untrained head from torch's global generator; one without layers for ``dim`` None."""
    return Head(head_shapes(hidden, dim, bias, **settings or {}))


def pooling_of(output: str, pooling: str) -> str | None:
    """How tokens are pooled: not at all for ``multi``.

    Raises:
        InputError: an unknown output or pooling.
    """
    for key, value, known in (("output", output, OUTPUTS), ("pooling", pooling, POOLINGS)):
        if value not in known:
            raise InputError(f"student.{key}={value}: must be one of {', '.join(known)}")
    return pooling if output == "single" else None


def with_output(
    student: Student,
    output: str,
    pooling: str,
    dim: int | None,
    bias: bool,
    head: Mapping[str, Any] | None = None,
) -> Student:
    """The student with another output; between one and several vectors a text, the head is drawn anew.

    A dense model becomes the start of a multi-vector student, as ColBERT-Zero's cheap recipes have it.

    Args:
        student: a loaded student.
        output: see :func:`build_student`, like the settings that follow.
        pooling: see there.
        dim: see there.
        bias: see there.
        head: see there.
    """
    wanted, model = pooling_of(output, pooling), student.model
    if wanted == model.pooling:
        return student
    layers = model.head
    if (wanted is None) != (model.pooling is None):
        layers = new_head(model.backbone.config.hidden_size, dim, bias, head)
    return Student(ColBERT(model.backbone, layers, wanted), student.tokenizer)


def widened(student: Student, dim: int) -> Student:
    """The student with wider embeddings, see :func:`colbert_lab.student.heads.widen`.

    Raises:
        InputError: the head cannot be widened, or new dimensions are zero at encode time.
    """
    wide = Student(
        ColBERT(student.model.backbone, widen(student.model.head, dim), student.model.pooling),
        student.tokenizer,
    )
    wide.model.eval()
    with torch.inference_mode():
        added = wide.model(wide.tokenizer(["a"], "document")).emb_NLD[..., student.model.dim :]
    if not bool((added != 0).all()):
        raise InputError(f"student.widen={dim}: new dimensions are zero; the head's last layer has no spread")
    return wide


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
