"""THE LightningModule, thin between Lightning and the student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MeanMetric

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.batches import Embed, concatenate, embed_chunks, gather_documents, split_rows, take
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import FULL, lowered
from colbert_lab.model.matryoshka import prefix
from colbert_lab.model.maxsim import maxsim_lists
from colbert_lab.training.data import Batch
from colbert_lab.training.objectives.objective import BY_DIM, Objective
from colbert_lab.training.objectives.scoring import Scoring
from colbert_lab.training.objectives.term import Learned, Pairs, Scored, Texts
from colbert_lab.training.optim import Optimization, make_optimizer
from colbert_lab.training.schedules import make_scheduler
from colbert_lab.training.watch import Watch

MEANS = ("loss", "gradient_norm", "list_mrr")
"""What is logged beside the terms of the objective."""


class StudentModule(pl.LightningModule):
    """Trains a student on micro-batches.

    Args:
        model: the student's network.
        objective: what to minimise.
        optimization: how its parameters are updated.
        log_every: optimizer steps between logged points; what is logged is the mean (or the closed-list
            measure) over all micro-batches and processes since the last point.
        token_budget: most padded tokens of a query chunk.
        recompute: compute each chunk's activations again in the backward pass (GradCache).
        scoring: what makes scores of embeddings; None for MaxSim of all tokens.
        precision: Lightning's name; the context of a mixed one is the caller's.
        watch: stops training that diverges.
    """

    def __init__(
        self,
        model: ColBERT,
        objective: Objective,
        optimization: Optimization,
        *,
        log_every: int,
        token_budget: int,
        recompute: bool,
        scoring: Scoring | None = None,
        precision: str = FULL,
        watch: Watch | None = None,
    ) -> None:
        super().__init__()
        self.watch = watch or Watch()
        self.model = model
        self.objective = objective
        self.optimization = optimization
        self.scoring = scoring or Scoring()
        self.log_every = log_every
        self.token_budget = token_budget
        self.recompute = recompute
        self.compiled: Embed | None = None
        self.precision = precision
        # Logarithms, so that what is learned stays positive.
        self.learned = torch.nn.ParameterDict(
            {
                f"{name}_{what}": torch.nn.Parameter(torch.tensor(math.log(start)))
                for name, what, start in objective.learned
            }
        )
        # Aggregated by torchmetrics over steps and processes between two logged points.
        by_dim = [] if model.matryoshka is None else [f"{BY_DIM}{dim}" for dim in model.matryoshka]
        names = ("loss", *by_dim, *objective.terms, *objective.parts, *MEANS[1:])
        self.means = torch.nn.ModuleDict({name: MeanMetric(nan_strategy="disable") for name in names})

    def on_fit_start(self) -> None:
        """Turn training mode on: from_pretrained returns eval mode, which silently switches dropout off."""
        self.train()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one micro-batch."""
        parts = split_rows(batch.queries, self.token_budget)
        chunks = self.embedded([*parts, *batch.documents])
        queries, documents = concatenate(chunks[: len(parts)]), self.scoring.documents(chunks[len(parts) :])
        by_dim = self.scored(queries, documents, batch)
        losses = []
        for dim, scored in by_dim.items():
            loss = queries.emb_NLD.new_zeros(())
            for name, term in self.objective.terms.items():
                part = term.loss(scored, self.learned_by(name))
                loss = loss + term.weight * part
                self._add(name, part)  # of a term, the mean over dimensions too
                self._add_parts(name, scored)
            losses.append(loss)
            if self.model.matryoshka is not None:
                self._add(f"{BY_DIM}{dim}", loss)
        if batch.rows_BK.shape[1] > 1:
            with torch.no_grad():  # where no term has asked for these scores
                own_BK = by_dim[max(by_dim)].own_BK.detach()
            self._add("list_mrr", reciprocal_ranks(own_BK, batch.negative_BK))
        # A mean, so that learning rate and clipping are of the same scale however many there are.
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        self._add("loss", loss)
        return self.watch.loss(loss)

    def embedded(self, chunks: Sequence[Tokens]) -> list[Embeddings]:
        """Embeddings of a micro-batch, chunk by chunk."""
        return embed_chunks(
            self.compiled or lowered(self.model, self.precision, once=True), chunks, self.recompute
        )

    def scored(self, queries: Embeddings, chunks: list[Embeddings], batch: Batch) -> dict[int, Scored]:
        """A micro-batch, its documents pooled, at every number of dimensions that the student is trained at, rising.

        Scores are computed when they are asked for. Documents are gathered from other processes once, whole.
        """

        @cache
        def own() -> Embeddings:
            return take(concatenate(chunks), batch.rows_BK.flatten())

        @cache
        def gathered() -> tuple[list[Embeddings], Tensor, int]:
            return gather_documents(chunks, batch.keys_N)

        def asking(dim: int) -> Embeddings:
            return self.scoring.queries(prefix(queries, dim))

        def lists(dim: int) -> Tensor:
            return maxsim_lists(asking(dim), prefix(own(), dim))

        def pairs(dim: int) -> Pairs:
            found = tokens(dim)
            return Pairs(self.scoring.all_pairs(asking(dim), found.documents), found.keys_N, found.rows_BK)

        def tokens(dim: int) -> Texts:
            everything, keys_N, first = gathered()
            cut = [prefix(each, dim) for each in everything]
            return Texts(prefix(queries, dim), cut, keys_N, batch.rows_BK + first)

        def scored(dim: int) -> Scored:
            return Scored(batch, partial(lists, dim), partial(pairs, dim), partial(tokens, dim))

        return {dim: scored(dim) for dim in self.model.dims}

    def learned_by(self, name: str) -> Learned:
        """Values of what a term learns."""
        term = self.objective.terms[name]
        return {what: self.learned[f"{name}_{what}"].exp() for what in term.learned()}

    def _mean(self, name: str) -> MeanMetric:
        return cast(MeanMetric, self.means[name])

    def _add(self, name: str, values: Tensor) -> None:
        """Take values into a mean; what is not a number has no weight, and is not waited for, as torchmetrics would.

        torchmetrics 1.9 takes given weights for ones where it does not look for what is no number.
        """
        values, mean = values.detach(), self._mean(name)
        known = ~values.isnan()
        mean.update(values.new_empty(0))  # so that it counts as updated
        mean.mean_value += values.masked_fill(~known, 0).sum().to(mean.mean_value)
        mean.weight += known.sum().to(mean.weight)

    def _add_parts(self, name: str, scored: Scored) -> None:
        """Take what a term logged into its means.

        Raises:
            InputError: its class does not say that it logs it.
        """
        parts = self.objective.terms[name].parts
        if other := [part for part in scored.logged if part not in parts]:
            raise InputError(f"objective.{name}: logs {other[0]}, which its class does not name in parts")
        for part in parts:  # in every process, as they sum up together
            self._add(f"{name}_{part}", scored.logged.pop(part, scored.batch.keys_N.new_empty(0).float()))

    def sums(self) -> dict[str, list[Tensor]]:
        """What this process has summed since the last point: of each mean, the values and their number."""
        means = {name: self._mean(name) for name in self.means}
        return {name: [mean.mean_value.cpu(), mean.weight.cpu()] for name, mean in means.items()}

    def set_sums(self, sums: Mapping[str, Sequence[Tensor]]) -> None:
        """Go on from what :meth:`sums` returned."""
        for name, (value, weight) in sums.items():
            mean = self._mean(name)
            mean.mean_value, mean.weight = value.to(mean.device), weight.to(mean.device)

    def point(self) -> dict[str, float]:
        """Means since the last point, and a fresh start for the next.

        Returns:
            ``train/loss``, with Matryoshka that at each number of dimensions, such as ``train/loss_dim32``, each term
            of the objective by its name and what it logs, such as ``train/contrastive_accuracy``,
            ``train/gradient_norm`` (before clipping), ``train/list_mrr`` (of the
            positive, or the teacher's best, in its closed list, at most dimensions), what terms learn, such as
            ``train/contrastive_temperature``, and ``train/lr``.
        """
        weights = torch.stack([self._mean(name).weight for name in self.means]).tolist()
        # Processes sum up together: what is updated is the same in all, where some may have seen no number.
        some = [
            name
            for name, weight in zip(self.means, weights, strict=True)
            if weight > 0 or self._mean(name).update_called
        ]
        found = {name: self._mean(name).compute() for name in some}
        found |= {name: logarithm.detach().exp() for name, logarithm in self.learned.items()}
        for name in some:
            self._mean(name).reset()
        numbers = torch.stack(list(found.values())).tolist()
        values = {
            f"train/{name}": value for name, value in zip(found, numbers, strict=True) if value == value
        }
        return values | {"train/lr": float(self.trainer.optimizers[0].param_groups[0]["lr"])}

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the global norm or each value by itself, and keep the norm of before for the next point.

        Lightning refuses to clip for fused optimizers under any mixed precision. Only float16 scales the loss, and
        Lightning leaves the gradients of a fused optimizer scaled until its step; they are unscaled here, which the
        scaler notes, so that the step does not do it again. A step whose gradients overflow is left out by the scaler.
        """
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        inner = getattr(optimizer, "optimizer", optimizer)
        if scaler is not None and getattr(inner, "_step_supports_amp_scaling", False):
            scaler.unscale_(inner)
        by_value = gradient_clip_algorithm == "value"
        limit = float("inf") if gradient_clip_val is None or by_value else gradient_clip_val
        norm = self.gradient_norm(limit)
        if by_value and gradient_clip_val is not None:
            for each in self.parameters():  # one by one: some may be spread over processes, and others not
                if each.grad is not None:
                    torch.nn.utils.clip_grad_value_(each, gradient_clip_val)
        scale, step = None if scaler is None else scaler.get_scale, self.trainer.global_step
        if self.watch.gradient(norm, step, self.trainer.accumulate_grad_batches, scale):
            self._add("gradient_norm", norm)

    def gradient_norm(self, limit: float) -> Tensor:
        """The norm of the gradient, which is then scaled down to ``limit``."""
        return torch.nn.utils.clip_grad_norm_(self.parameters(), limit)

    def configure_optimizers(self) -> Any:
        """The optimizer and its per-step schedule."""
        chosen = self.optimization
        optimizer = make_optimizer(chosen.factory, self, self.model, chosen.head_lr, chosen.layer_decay)
        scheduler = make_scheduler(
            optimizer, chosen.lr_schedule, chosen.warmup, chosen.max_steps, chosen.decay
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def reciprocal_ranks(scores_BK: Tensor, negative_BK: Tensor) -> Tensor:
    """One over the rank of each query's column 0 in its closed list [B].

    torchmetrics' RetrievalMRR gives 0 wherever the positive's score is not above 0, which a dense student's may be.

    Args:
        scores_BK: of each query's own documents.
        negative_BK: which of them column 0 is ranked against; those with an equal score count as ranked before it.
    """
    before_B = ((scores_BK >= scores_BK[:, :1]) & negative_BK).sum(dim=1)
    return 1 / (1 + before_B)
