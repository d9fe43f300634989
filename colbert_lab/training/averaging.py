"""Average of a student's weights over the steps of a phase."""

from __future__ import annotations

from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from colbert_lab.model.colbert import ColBERT
from colbert_lab.training.module import StudentModule


class Averaging(Callback):
    """An exponential moving average of the weights (Morales-Brotons et al. 2024, arXiv 2411.18704), by PyTorch's own.

    It begins with the weights after the first optimizer step; each later step leaves ``decay`` of it and adds the rest
    of that step's weights. Training goes on from its own weights and never sees the average; what is evaluated and
    saved is the average. Checkpoints hold it, and every process has the same.

    Args:
        model: the student's network; the average has its weights before the first step.
        decay: ``phases.X.ema``, above 0 and below 1.
    """

    KEY = "average"

    def __init__(self, model: ColBERT, decay: float) -> None:
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self._step = 0

    @property
    def model(self) -> ColBERT:
        """The network with the averaged weights."""
        return cast(ColBERT, self._average.module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the average where the weights are."""
        self._average.to(pl_module.device)
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Average after each optimizer step."""
        assert isinstance(pl_module, StudentModule)
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self._average.update_parameters(pl_module.model)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the average."""
        checkpoint[self.KEY] = self._average.state_dict()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on from it."""
        self._average.load_state_dict(checkpoint[self.KEY])
