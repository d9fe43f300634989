"""What stops training before weights are spoilt, and keeps spoilt ones out of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from colbert_lab.base.errors import Diverged, some_ids
from colbert_lab.model.backbone import check_finite
from colbert_lab.model.batches import gather_states


class Watch:
    """Looks at each loss and at the norm of each step's gradient, before the optimizer takes the step.

    Float16 scales the loss, and its scaler leaves out steps whose gradients overflow, each time with half the scale. So
    there a gradient may overflow until the scale is below 1, and a loss once; else none may.

    Args:
        phase: the phase's name, for the message.
        query_ids: the queries of micro-batch number k.
    """

    def __init__(self, phase: str = "", query_ids: Callable[[int], Sequence[str]] = lambda k: ()) -> None:
        self.phase = phase
        self.query_ids = query_ids
        self._losses: list[Tensor] = []
        self._bad_losses = 0

    def loss(self, loss: Tensor) -> Tensor:
        """Remember a micro-batch's loss.

        Returns:
            The same loss. One that is not finite becomes NaN, and so do its gradients, which every process sees.
        """
        value = loss.detach()
        self._losses.append(value)
        factor = torch.ones_like(value).masked_fill(~value.isfinite(), torch.nan)
        return torch.mul(loss, factor)

    def gradient(self, norm: Tensor, step: int, accumulation: int, scale: Callable[[], float] | None) -> bool:
        """Whether a step's gradient is finite: the one thing of a step that the program waits for.

        Args:
            norm: of the whole gradient, the same in all processes.
            step: optimizer steps done.
            accumulation: micro-batches of a step.
            scale: tells what float16's losses were multiplied with; None in other precisions.

        Raises:
            Diverged: it is not, and no later step may be expected to be; the step has not been taken.
        """
        losses, self._losses = self._losses[-accumulation:], []
        if bool(norm.isfinite()):
            self._bad_losses = 0
            return True
        bad = [n for n, loss in enumerate(losses) if not bool(loss.isfinite())]
        self._bad_losses += any(gather_states(bool(bad)))  # all processes go on, or none
        if scale is not None and scale() >= 1 and self._bad_losses < 2:
            return False
        what = "loss" if bad else "gradient"
        first = step * accumulation
        ids = [query for n in bad or range(len(losses)) for query in self.query_ids(first + n)]
        raise Diverged(
            f"phases.{self.phase}: the {what} of step {step + 1} is not a finite number (queries: {some_ids(ids)}); it "
            f"was not taken, and the checkpoint before it is kept. Lower phases.{self.phase}.optimizer.lr, or raise "
            "the temperatures of its objective"
        )


class FiniteWeights(Callback):
    """Keeps weights that are not finite out of checkpoints: a gradient may be finite, and a step of it too long."""

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at the weights before they are written."""
        check_finite(pl_module, f"step {trainer.global_step}", gather_states)
