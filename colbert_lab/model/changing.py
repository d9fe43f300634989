"""A loaded student with another output, wider embeddings, or other dimensions to train at."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT, widen
from colbert_lab.model.matryoshka import KEY
from colbert_lab.model.projection import ProjectionHead
from colbert_lab.model.student import Student, check_head, new_head, pooling_of

log = logging.getLogger(__name__)


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
        output: see :class:`NewStudent`, like the settings that follow.
        pooling: see there.
        dim: see there.
        bias: see there.
        head: see there.
    """
    wanted, model = pooling_of(output, pooling), student.model
    if wanted == model.pooling:
        return student
    check_head(dim, bias, head)
    if (wanted is None) == (model.pooling is None):
        return Student(ColBERT(model.backbone, model.head, wanted, model.matryoshka), student.tokenizer)
    layers = new_head(model.backbone.config.hidden_size, dim, bias, head)
    return Student(ColBERT(model.backbone, layers, wanted), student.tokenizer)


def widened(student: Student, dim: int) -> Student:
    """The student with wider embeddings, see :func:`colbert_lab.model.colbert.widen`.

    Raises:
        InputError: the head cannot be widened, or new dimensions are zero at encode time.
    """
    head = student.model.head
    if isinstance(head, ProjectionHead):
        raise InputError(
            f"student.widen={dim}: the student's head is of the class {head.target}, whose rows are not known; leave "
            "it out"
        )
    model = student.model
    network = ColBERT(model.backbone, widen(head, dim), model.pooling, model.matryoshka)
    wide = Student(network, student.tokenizer)
    network.eval()
    with torch.inference_mode():
        added = network(wide.tokenizer(["a"], "document")).emb_NLD[..., model.dim :]
    if not bool((added != 0).all()):
        raise InputError(f"student.widen={dim}: new dimensions are zero; the head's last layer has no spread")
    return wide


def trained_at(student: Student, dims: Sequence[int] | None) -> Student:
    """The student with the numbers of first dimensions that it is trained at; None leaves it as it is.

    Raises:
        InputError: they do not fit its embeddings, see :func:`colbert_lab.model.matryoshka.check_dims`.
    """
    model = student.model
    if dims is None:
        return student
    if dims and dims[-1] < model.dim:
        log.warning(
            "%s=%s: no loss sees the student's %d dimensions as a whole; add %d to train the last ones",
            KEY, list(dims), model.dim, model.dim,
        )  # fmt: skip
    return replace(student, model=ColBERT(model.backbone, model.head, model.pooling, dims))
