"""THE LightningModule: a thin layer between Lightning and the pure student."""

from __future__ import annotations

import math
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.retrieval import RetrievalMRR

from colbert_lab.objectives.contrastive import ignored
from colbert_lab.objectives.mix import Mix
from colbert_lab.scoring.backends import AllPairs
from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.scoring.gather import gather_documents
from colbert_lab.scoring.maxsim import maxsim_lists
from colbert_lab.student.chunked import concatenate, embed_chunks, split_rows, take
from colbert_lab.student.colbert import ColBERT
from colbert_lab.training.data import Batch
from colbert_lab.training.optim import OptimizerFactory, make_optimizer, make_scheduler
from colbert_lab.types import Embeddings

MEANS = ("loss", "distillation", "contrastive", "gradient_norm")


class StudentModule(pl.LightningModule):
    """Trains a student on micro-batches.

    Args:
        model: the student's network.
        objective: what to minimise.
        optimizer: makes the optimizer from parameter groups.
        lr_schedule: ``linear``, ``cosine`` or ``constant``.
        warmup: see :func:`colbert_lab.training.optim.warmup_steps`.
        max_steps: optimizer steps of the phase.
        log_every: optimizer steps between logged points; what is logged is the mean (or the closed-list
            measure) over all micro-batches and processes since the last point.
        token_budget: most padded tokens of a query chunk.
        recompute: compute each chunk's activations again in the backward pass (GradCache).
        head_lr: see :func:`colbert_lab.training.optim.make_optimizer`.
        layer_decay: see there.
        all_pairs: scores every query against every document.
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
        token_budget: int,
        recompute: bool,
        head_lr: float | None = None,
        layer_decay: float | None = None,
        all_pairs: AllPairs = maxsim_blocked,
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.optimizer_factory = optimizer
        self.head_lr = head_lr
        self.layer_decay = layer_decay
        self.all_pairs = all_pairs
        self.lr_schedule = lr_schedule
        self.warmup = warmup
        self.max_steps = max_steps
        self.log_every = log_every
        self.token_budget = token_budget
        self.recompute = recompute
        self.log_temperature = (
            torch.nn.Parameter(torch.tensor(math.log(objective.contrastive.temperature)))
            if objective.contrastive_weight > 0 and objective.contrastive.learnable
            else None
        )
        # Aggregated by torchmetrics over steps and processes between two logged points. MRR is over the closed
        # list of a step: does the student put the teacher's best document first?
        self.means = torch.nn.ModuleDict({name: MeanMetric() for name in MEANS})
        self.list_mrr = RetrievalMRR()

    def on_fit_start(self) -> None:
        """Turn training mode on: from_pretrained returns eval mode, which silently switches dropout off."""
        self.train()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one micro-batch."""
        queries = concatenate(
            embed_chunks(self.model, split_rows(batch.queries, self.token_budget), self.recompute)
        )
        chunks = embed_chunks(self.model, batch.documents, self.recompute)
        loss = queries.emb_NLD.new_zeros(())
        if self.objective.distillation_weight > 0:
            assert batch.teacher_BK is not None  # checked when the phase was prepared
            scores_BK = maxsim_lists(queries, take(concatenate(chunks), batch.rows_BK.flatten()))
            distillation = self.objective.distillation(scores_BK, batch.teacher_BK)
            loss = loss + self.objective.distillation_weight * distillation
            self._mean("distillation").update(distillation.detach())
            self._rank_lists(scores_BK.detach(), batch_idx)
        if self.objective.contrastive_weight > 0:
            contrastive, scores_BK = self.contrast(queries, chunks, batch)
            loss = loss + self.objective.contrastive_weight * contrastive
            self._mean("contrastive").update(contrastive.detach())
            if self.objective.distillation_weight == 0 and scores_BK.shape[1] > 1:
                self._rank_lists(scores_BK.detach(), batch_idx)
        self._mean("loss").update(loss.detach())
        return loss

    def contrast(self, queries: Embeddings, chunks: list[Embeddings], batch: Batch) -> tuple[Tensor, Tensor]:
        """InfoNCE over the documents of all processes; also the scores of each query's own documents."""
        settings = self.objective.contrastive
        everything, keys_N, first = gather_documents(chunks, batch.keys_N)
        rows_BK = batch.rows_BK + first
        scores_BN = self.all_pairs(queries, everything)
        ignore_BN = ignored(
            keys_N,
            rows_BK,
            batch.teacher_BK,
            settings.false_negative_ratio,
            settings.own_negatives,
            settings.batch_negatives,
        )
        temperature = None if self.log_temperature is None else self.log_temperature.exp()
        loss = settings(scores_BN, rows_BK[:, 0], ignore_BN, temperature)
        return loss, scores_BN.gather(1, rows_BK)

    def _rank_lists(self, scores_BK: Tensor, batch_idx: int) -> None:
        """Closed-list MRR of column 0 among each query's own documents."""
        target_BK = torch.zeros_like(scores_BK, dtype=torch.bool)
        target_BK[:, 0] = True
        owner_BK = torch.arange(len(target_BK), device=self.device)[:, None].expand_as(target_BK)
        owner_BK = owner_BK + batch_idx * len(target_BK)
        self.list_mrr.update(scores_BK.flatten(), target_BK.flatten(), owner_BK.flatten())

    def _mean(self, name: str) -> MeanMetric:
        return cast(MeanMetric, self.means[name])

    def point(self) -> dict[str, float]:
        """Means since the last point, and a fresh start for the next.

        Returns:
            ``train/loss``, the parts of the loss that are on, ``train/gradient_norm`` (before clipping),
            ``train/list_mrr`` (of the positive, or the teacher's best, in its closed list), ``train/temperature``
            when it is learned, and ``train/lr``.
        """
        values = {}
        for name in MEANS:
            metric = self._mean(name)
            if metric.update_count:
                values[f"train/{name}"] = float(metric.compute())
                metric.reset()
        if self.list_mrr.update_count:
            values["train/list_mrr"] = float(self.list_mrr.compute())
            self.list_mrr.reset()
        if self.log_temperature is not None:
            values["train/temperature"] = float(self.log_temperature.detach().exp())
        values["train/lr"] = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        return values

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm, and keep the norm for the next point.

        Lightning refuses to clip for fused optimizers under any mixed precision. Only float16 scales the loss, and
        Lightning leaves the gradients of a fused optimizer scaled until its step; they are unscaled here, which the
        scaler notes, so that the step does not do it again. A step whose gradients overflow is left out by the scaler.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        inner = getattr(optimizer, "optimizer", optimizer)
        if scaler is not None and getattr(inner, "_step_supports_amp_scaling", False):
            scaler.unscale_(inner)
        limit = float("inf") if gradient_clip_val is None else gradient_clip_val
        norm = torch.nn.utils.clip_grad_norm_(self.parameters(), limit)
        if scaler is None or torch.isfinite(norm):
            self._mean("gradient_norm").update(norm)

    def configure_optimizers(self) -> Any:
        """The optimizer and its per-step schedule."""
        optimizer = make_optimizer(self.optimizer_factory, self, self.model, self.head_lr, self.layer_decay)
        scheduler = make_scheduler(optimizer, self.lr_schedule, self.warmup, self.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
