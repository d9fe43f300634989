"""Our side of the comparison: one training step on a table of token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.colbert import ColBERT
from colbert_lab.training.data import Batch
from colbert_lab.training.module import StudentModule
from colbert_lab.training.objectives.contrastive import Contrastive
from colbert_lab.training.objectives.distillation import Distillation
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.scoring import Scoring
from colbert_lab.training.objectives.term import Side
from colbert_lab.training.optim import Optimization
from colbert_lab.training.positives import DocumentKeys
from tests.parity.make_golden import Inputs, outcome

CHUNKS = 3  # of documents, sorted by length as in training


class Table(nn.Module):
    """A student that looks token vectors up."""

    def __init__(self, vectors_TD: Tensor, dims: Sequence[int] | None = None) -> None:
        super().__init__()
        self.vectors_TD = nn.Parameter(vectors_TD.clone())
        self.matryoshka = dims
        self.dims = dims or (vectors_TD.shape[1],)

    def forward(self, tokens: Tokens) -> Embeddings:
        return Embeddings(F.normalize(self.vectors_TD[tokens.input_ids_NL], dim=-1), tokens.score_mask_NL)


def contrastive(temperature: float) -> Objective:
    return Objective({"contrastive": Contrastive(temperature)})


def distillation(teacher: Side, student: Side) -> Objective:
    return Objective({"distillation": Distillation(teacher, student)})


def tokens(ids: Tensor, mask: Tensor) -> Tokens:
    """A padded batch, no wider than its longest text."""
    width = int(mask.nonzero()[:, 1].max()) + 1
    return Tokens(ids[:, :width], mask[:, :width].long(), mask[:, :width])


def as_batch(inputs: Inputs) -> Batch:
    """The inputs as the data module would hand them over: documents sorted by length and cut into chunks."""
    n = len(inputs.document_ids_NL)
    order = inputs.document_mask_NL.sum(dim=1).argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(n)
    chunks = [torch.from_numpy(part) for part in np.array_split(order.numpy(), CHUNKS)]
    return Batch(
        queries=tokens(inputs.query_ids_BQ, inputs.query_mask_BQ),
        documents=tuple(tokens(inputs.document_ids_NL[c], inputs.document_mask_NL[c]) for c in chunks),
        rows_BK=place.view_as(inputs.teacher_BK),
        teacher_BK=inputs.teacher_BK,
        keys_N=order,
        positives=DocumentKeys.of_lists(torch.arange(n).view_as(inputs.teacher_BK)[:, :1]),
        lengths=(),
        n_padded=0,
    )


def trained(
    inputs: Inputs,
    objective: Objective,
    recompute: bool = False,
    scoring: Scoring | None = None,
    dims: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Loss and gradient of one training step."""
    table = Table(inputs.vectors_TD, dims)
    module = StudentModule(
        cast(ColBERT, table),
        objective,
        Optimization(torch.optim.SGD, "constant", 0, 1),
        log_every=1,
        token_budget=2 * inputs.query_ids_BQ.shape[1],
        recompute=recompute,
        scoring=scoring,
    )
    loss = module.training_step(as_batch(inputs), 0)
    loss.backward()
    assert table.vectors_TD.grad is not None
    return outcome(inputs, loss, table.vectors_TD.grad)


def embedded(inputs: Inputs) -> tuple[Embeddings, Embeddings]:
    """Queries and documents, the documents of a query side by side."""
    unit_TD = F.normalize(inputs.vectors_TD, dim=-1)
    return (
        Embeddings(unit_TD[inputs.query_ids_BQ], inputs.query_mask_BQ),
        Embeddings(unit_TD[inputs.document_ids_NL], inputs.document_mask_NL),
    )
