"""A callback: slow weights that follow the trained ones and take them along (Lookahead, Zhang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from colbert_lab.settings.allowed import number, whole


@dataclass(eq=False)
class Lookahead(Callback):
    """Every some steps the slow weights go a part of the way to the trained ones, which go on from there.

    Args:
        every: optimizer steps.
        share: of the way.
    """

    every: int = whole(1, default=5)
    share: float = number(above=0, high=1, default=0.5)

    def __post_init__(self) -> None:
        """Nothing is known of the weights yet."""
        self._slow: dict[str, Tensor] = {}
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are, or where a checkpoint left off."""
        known = self._slow
        self._slow = {
            name: known.get(name, weight).detach().to(weight.device, copy=True)
            for name, weight in pl_module.named_parameters()
        }
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """After an optimizer step that is due, once."""
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every == 0:
            for name, weight in pl_module.named_parameters():
                weight.copy_(self._slow[name].lerp_(weight, self.share))

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors, numbers and texts alone."""
        return {"slow": self._slow}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._slow = state_dict["slow"]
