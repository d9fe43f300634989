"""The student: a ColBERT model together with the tokenizer that feeds it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import (
    load_backbone,
    load_tokenizer,
    positions,
    quiet_transformers,
    random_backbone,
)
from colbert_lab.model.colbert import ColBERT, Head, head_shapes
from colbert_lab.model.maxsim import MAXSIM
from colbert_lab.model.projection import TARGET, ProjectionHead, projection_of
from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
POOLINGS = ("mean", "cls")
WHOLE = 0.9  # share of the weights' tokens; vocabularies are padded by less


@dataclass(frozen=True)
class Student:
    """What is trained, saved, loaded and evaluated.

    Attributes:
        model: the network.
        tokenizer: text to tokens, with this student's prompts, markers and lengths.
    """

    model: ColBERT
    tokenizer: StudentTokenizer


@dataclass(frozen=True)
class NewStudent:
    """An untrained head on a pretrained backbone, or on one to train from scratch.

    Attributes:
        backbone: hub id, local folder or ``package:NAME/FOLDER``; with ``architecture`` the tokenizer's alone.
        dim: dimensions of an embedding; None takes the backbone's, without a head.
        bias: whether the head has a bias (the published ColBERT heads have none).
        dropout: the backbone's dropout rate while training; None keeps its own.
        attention: attention implementation of transformers.
        head: the other settings of the head, see :func:`colbert_lab.model.colbert.head_shapes`, or those of a
            :class:`~colbert_lab.model.projection.Projection` with its ``_target_``; None for one layer.
        output: ``multi`` for one vector a token; ``single`` for one a text, the dense twin.
        pooling: ``mean`` or ``cls``, for ``single``.
        trust_remote_code: run Python code that comes with a model; off unless asked for.
        architecture: a backbone with random weights instead, see
            :func:`~colbert_lab.model.architecture.architecture_config`.
        layers: first layers of the pretrained backbone to keep; None keeps all.
        new_markers: where the vectors of markers start that are new to the vocabulary: ``random``, as the backbone
            draws any weight; or ``mean``, the vocabulary's mean with a thousand millionth of its covariance, which is
            what transformers' ``resize_token_embeddings`` does by default and so what PyLate does.
    """

    backbone: str
    dim: int | None
    bias: bool
    dropout: float | None
    attention: str
    head: Mapping[str, Any] | None = None
    output: str = "multi"
    pooling: str = "mean"
    trust_remote_code: bool = False
    architecture: Mapping[str, Any] | None = None
    layers: int | None = None
    new_markers: str = "random"

    def network(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """The backbone; a random one is made for a tokenizer."""
        if self.architecture is not None:
            return random_backbone(
                self.architecture, tokenizer, dropout=self.dropout, attention=self.attention
            )
        return load_backbone(
            self.backbone,
            dropout=self.dropout,
            attention=self.attention,
            layers=self.layers,
            trust_remote_code=self.trust_remote_code,
        )


def build_student(new: NewStudent, rules: TokenRules) -> Student:
    """Make a student that is not trained.

    What is untrained is drawn from torch's global generator: seed it first.

    Args:
        new: its network.
        rules: how it reads text.

    Raises:
        InputError: a setting cannot be kept.
    """
    check_head(new.dim, new.bias, new.head)
    if pooling_of(new.output, new.pooling) is not None:
        for key, value, usual in (("expansion", rules.expansion, "none"), ("score", rules.score, MAXSIM)):
            if value != usual:
                raise InputError(
                    f"student.{key}={value}: has no place in student.output={new.output}; set it to {usual}"
                )
    if new.architecture is not None and new.layers is not None:
        raise InputError(
            f"student.layers={new.layers}: has no effect with student.architecture; set its num_hidden_layers"
        )
    check_attention(rules, new.attention)
    read = load_tokenizer(new.backbone, new.trust_remote_code)
    if read.truncation_side != rules.truncation_side:
        log.info(
            "student.backbone=%s: its tokenizer cuts the beginning of long texts; a new student cuts the end",
            new.backbone,
        )
    tokenizer = StudentTokenizer(read, rules)
    network = new.network(tokenizer.tokenizer)
    check_reading(
        tokenizer,
        network,
        "student.architecture" if new.architecture is not None else f"the backbone {new.backbone}",
    )
    vocabulary = len(tokenizer.tokenizer)
    if vocabulary > network.get_input_embeddings().num_embeddings:
        with quiet_transformers():
            network.resize_token_embeddings(vocabulary, mean_resizing=new.new_markers == "mean")
    elif new.new_markers == "mean":
        log.warning(
            "student.new_markers=mean has no effect: the backbone has a vector for every marker already"
        )
    head = new_head(network.config.hidden_size, new.dim, new.bias, new.head)
    return Student(ColBERT(network, head, pooling_of(new.output, new.pooling)), tokenizer)


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


def check_reading(
    tokenizer: StudentTokenizer, network: PreTrainedModel, name: str, where: str = "student"
) -> None:
    """Whether a backbone can read what a tokenizer makes; warns of a vocabulary that seems cut off.

    Args:
        tokenizer: of the student.
        network: its backbone.
        name: what errors call it.
        where: the config key above the lengths, for errors.

    Raises:
        InputError: texts are longer than its positions.
    """
    tokens, rows = len(tokenizer.tokenizer), network.get_input_embeddings().num_embeddings
    if where == "student" and tokens < WHOLE * rows:
        log.warning(
            "%s: its tokenizer has %s tokens and its weights have %s: are the tokenizer's files whole?",
            name, f"{tokens:,}", f"{rows:,}",
        )  # fmt: skip
    longest = positions(network)
    for role in ("query", "document"):
        length = tokenizer.length(role)
        if longest is not None and length > longest:
            raise InputError(
                f"{where}.{role}_length={length} is beyond the {longest} positions of {name}; set it to {longest} or "
                "less"
            )


def new_head(
    hidden: int, dim: int | None, bias: bool, settings: Mapping[str, Any] | None = None
) -> Head | ProjectionHead:
    """An untrained head from torch's global generator; one without layers for ``dim`` None."""
    if settings and TARGET in settings:
        assert dim is not None, "see check_head"
        return ProjectionHead(projection_of(settings), hidden, dim)
    return Head(head_shapes(hidden, dim, bias, **settings or {}))


def check_head(dim: int | None, bias: bool, settings: Mapping[str, Any] | None) -> None:
    """Whether there can be a head of these settings, as far as that can be told without a backbone.

    Raises:
        InputError: there cannot.
    """
    if not settings or TARGET not in settings:
        head_shapes(1, dim, bias, **settings or {})
        return
    projection_of(settings)
    if dim is None:
        raise InputError(
            f"student.dim=null: leaves the student without a head, but student.head.{TARGET} names one "
            f"({settings[TARGET]}); set the width of its embeddings"
        )
    if bias:
        raise InputError(
            f"student.bias=true: has no effect on a head of {settings[TARGET]}, which has settings of its own"
        )


def pooling_of(output: str, pooling: str) -> str | None:
    """How tokens are pooled: not at all for ``multi``."""
    return pooling if output == "single" else None


def pick_device(accelerator: str) -> torch.device:
    """The torch device behind Lightning's accelerator name (``auto`` takes a GPU when there is one).

    Raises:
        InputError: that device is not there.
    """
    for name, names, there in (
        ("cuda", ("auto", "gpu", "cuda"), torch.cuda.is_available()),
        ("mps", ("auto", "gpu", "mps"), torch.backends.mps.is_available()),
    ):
        if there and accelerator in names:
            return torch.device(name)
    if accelerator in ("gpu", "cuda", "mps"):
        raise InputError(
            f"trainer.accelerator={accelerator}: PyTorch {torch.__version__} finds no such device here; set it to "
            "auto or cpu, or install a PyTorch that is built for the device"
        )
    return torch.device("cpu")


def torch_device(device: str | torch.device) -> torch.device:
    """A device by its torch name.

    Raises:
        InputError: torch has no such device here.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        told_of = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"device={device}: torch has no such device here ({told_of})") from error
