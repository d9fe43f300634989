"""Numbered pieces of work, shared out over the processes of a command."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from colbert_lab.encoding import bare_trainer, count_processes

log = logging.getLogger(__name__)


class Shared(pl.LightningModule):
    """Does its process' share of the pieces that the first process finds missing.

    Args:
        missing: the numbers of the pieces to do; asked in the first process alone.
        begin: told the numbers of this process' pieces.
        work: does one piece.
    """

    def __init__(
        self,
        missing: Callable[[], Sequence[int]],
        begin: Callable[[Sequence[int]], object],
        work: Callable[[int], object],
    ) -> None:
        super().__init__()
        self.missing, self.begin, self.work = missing, begin, work

    def setup(self, stage: str) -> None:
        """Agree on what is missing and on who does which."""
        todo = list(self.missing()) if self.trainer.is_global_zero else []
        todo = self.trainer.strategy.broadcast(todo)
        self.pieces = len(todo)
        self.share = todo[self.trainer.global_rank :: self.trainer.world_size]
        self.begin(self.share)

    def predict_dataloader(self) -> DataLoader[int]:
        """The numbers of this process' pieces."""
        return DataLoader(self.share, batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, batch: int) -> None:
        """Do one piece."""
        self.work(int(batch))


def share_out(
    trainer: Mapping[str, Any],
    missing: Callable[[], Sequence[int]],
    begin: Callable[[Sequence[int]], object],
    work: Callable[[int], object],
) -> None:
    """Do numbered pieces of work, in as many processes as the trainer's settings ask for.

    With several, Lightning starts the others, which run the same command up to here. All are done when this returns.

    Args:
        trainer: arguments of Lightning's Trainer (accelerator, devices, num_nodes, strategy).
        missing: the numbers of the pieces to do; asked in the first process alone.
        begin: told the numbers of this process' pieces, before the first one.
        work: does one piece; what it writes must be whole or not there.
    """
    if count_processes(trainer) == 1:
        todo = list(missing())
        begin(todo)
        for piece in todo:
            work(piece)
        return
    lightning = bare_trainer(trainer)
    shared = Shared(missing, begin, work)
    lightning.predict(shared, return_predictions=False)
    lightning.strategy.barrier("pieces done")
    log.info("%d processes did %d parts, this one %d", lightning.world_size, shared.pieces, len(shared.share))
