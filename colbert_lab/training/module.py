"""THE LightningModule: a thin layer between Lightning and the pure student."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.retrieval import RetrievalMRR

from colbert_lab.objectives.mix import Mix
from colbert_lab.scoring.maxsim import maxsim, maxsim_lists
from colbert_lab.student.colbert import ColBERT
from colbert_lab.training.data import ListBatch
from colbert_lab.training.optim import OptimizerFactory, make_scheduler, parameter_groups
from colbert_lab.types import Embeddings, Tokens

MEANS = ("loss", "distillation", "contrastive", "gradient_norm")


class StudentModule(pl.LightningModule):
    """Trains a student on micro-batches of scored lists.

    Args:
        model: the student's network.
        objective: what to minimise.
        optimizer: makes the optimizer from parameter groups.
        lr_schedule: ``linear``, ``cosine`` or ``constant``.
        warmup: see :func:`colbert_lab.training.optim.warmup_steps`.
        max_steps: optimizer steps of the phase.
        log_every: optimizer steps between logged points; what is logged is the mean (or the closed-list
            measure) over all micro-batches and processes since the last point.
    """

    def __init__(
        self,
        model: ColBERT,
        objective: Mix,
        *,
        optimizer: OptimizerFactory,
        lr_schedule: str,
        warmup: float,
        max_steps: int,
        log_every: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.lr_schedule = lr_schedule
        self.warmup = warmup
        self.max_steps = max_steps
        self.log_every = log_every
        # Aggregated by torchmetrics over steps and processes between two logged points. MRR is over the closed
        # list of a step: does the student put the teacher's best document first?
        self.means = torch.nn.ModuleDict({name: MeanMetric() for name in MEANS})
        self.list_mrr = RetrievalMRR()

    def on_fit_start(self) -> None:
        """Turn training mode on: from_pretrained returns eval mode, which silently switches dropout off."""
        self.train()

    def training_step(self, batch: ListBatch, batch_idx: int) -> Tensor:
        """Loss of one micro-batch."""
        queries = self.model(batch.queries)
        documents = embed_chunks(self.model, batch.documents)
        scores_BK = maxsim_lists(queries, take(documents, batch.rows_BK.flatten()))
        loss = scores_BK.new_zeros(())
        if self.objective.distillation_weight > 0:
            distillation = self.objective.distillation(scores_BK, batch.teacher_BK)
            loss = loss + self.objective.distillation_weight * distillation
            self._mean("distillation").update(distillation.detach())
        if self.objective.contrastive_weight > 0:
            contrastive = self.objective.contrastive(maxsim(queries, documents), batch.rows_BK[:, 0])
            loss = loss + self.objective.contrastive_weight * contrastive
            self._mean("contrastive").update(contrastive.detach())
        self._mean("loss").update(loss.detach())
        target_BK = torch.zeros_like(batch.rows_BK, dtype=torch.bool)
        target_BK[:, 0] = True
        owner_BK = torch.arange(len(target_BK), device=self.device)[:, None].expand_as(target_BK)
        owner_BK = owner_BK + batch_idx * len(target_BK)
        self.list_mrr.update(scores_BK.detach().flatten(), target_BK.flatten(), owner_BK.flatten())
        return loss

    def _mean(self, name: str) -> MeanMetric:
        return cast(MeanMetric, self.means[name])

    def point(self) -> dict[str, float]:
        """Means since the last point, and a fresh start for the next.

        Returns:
            ``train/loss``, the parts of the loss that are on, ``train/gradient_norm`` (before clipping),
            ``train/teacher_best_mrr`` and ``train/lr``.
        """
        values = {}
        for name in MEANS:
            metric = self._mean(name)
            if metric.update_count:
                values[f"train/{name}"] = float(metric.compute())
                metric.reset()
        values["train/teacher_best_mrr"] = float(self.list_mrr.compute())
        self.list_mrr.reset()
        values["train/lr"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        return values

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm, and keep the norm for the next point.

        Lightning refuses to clip for fused optimizers under any mixed precision; only float16's loss scaling
        makes that wrong, so only there is it left to Lightning.
        """
        if self.trainer.precision == "16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        limit = float("inf") if gradient_clip_val is None else gradient_clip_val
        self._mean("gradient_norm").update(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))

    def configure_optimizers(self) -> Any:
        """The optimizer and its per-step schedule."""
        optimizer = self.optimizer_factory(parameter_groups(self.model))
        scheduler = make_scheduler(optimizer, self.lr_schedule, self.warmup, self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def embed_chunks(model: ColBERT, chunks: tuple[Tokens, ...]) -> Embeddings:
    """Embed chunks of different widths one by one and put them together.

    Args:
        model: the student's network.
        chunks: token batches [N_i, L_i].

    Returns:
        Embeddings [sum of N_i, longest L_i, D]; positions beyond a chunk's width are zero and masked.
    """
    parts = [model(chunk) for chunk in chunks]
    width = max(part.emb_NLD.shape[1] for part in parts)
    return Embeddings(
        torch.cat([F.pad(part.emb_NLD, (0, 0, 0, width - part.emb_NLD.shape[1])) for part in parts]),
        torch.cat([F.pad(part.mask_NL, (0, width - part.mask_NL.shape[1])) for part in parts]),
    )


def take(embeddings: Embeddings, rows: Tensor) -> Embeddings:
    """The embeddings of some texts, in the order of ``rows``."""
    return Embeddings(embeddings.emb_NLD[rows], embeddings.mask_NL[rows])
