"""Corpora of an evaluation, encoded by all processes of a run together."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from colbert_lab.metrics.evaluator import Evaluator
from colbert_lab.student.student import Student
from colbert_lab.training.strategy import strategy_of
from colbert_lab.types import Variant

log = logging.getLogger(__name__)
Wanted = Mapping[str, Sequence[Variant]]


class CorpusEncoder(pl.LightningModule):
    """Writes the shards of corpora that are not on disk, each process its share.

    The first process knows what is measured already and tells the others.

    Args:
        student: the model to evaluate.
        evaluator: the same in all processes.
        wanted: split name to the variants to search with; read in the first process alone.
        progress: whether to show progress bars.
    """

    def __init__(self, student: Student, evaluator: Evaluator, wanted: Wanted, progress: bool) -> None:
        super().__init__()
        self.model = student.model
        self.student = student
        self.evaluator = evaluator
        self.wanted = wanted
        self.progress = progress
        self.documents = 0

    def setup(self, stage: str) -> None:
        """Agree on the shards that are missing and on who makes which."""
        mine = self.evaluator.corpora(self.student, self.wanted)
        missing = [(c, rows) for c, shared in enumerate(mine) for rows in shared.encoding.missing()]
        self.wanted, self.todo = self.trainer.strategy.broadcast((self.wanted, missing))
        self.encodings = [s.encoding for s in self.evaluator.corpora(self.student, self.wanted)]
        share = self.todo[self.trainer.global_rank :: self.trainer.world_size]
        self.share: list[tuple[int, range]] = share

    def predict_dataloader(self) -> DataLoader[int]:
        """The numbers of this process' shards."""
        return DataLoader(range(len(self.share)), batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, batch: int) -> None:
        """Encode and write one shard."""
        corpus, rows = self.share[batch]
        title = f"encoding {batch + 1}/{len(self.share)}, process 1 of {self.trainer.world_size}"
        self.encodings[corpus].write(rows, title if self.progress and self.trainer.is_global_zero else None)
        self.documents += len(rows)


def count_processes(trainer: Mapping[str, Any]) -> int:
    """How many processes the settings of a trainer start, over all nodes."""
    return bare_trainer(trainer).world_size


def encode_together(
    trainer: Mapping[str, Any],
    student: Student,
    evaluator: Evaluator,
    wanted: Wanted,
    progress: bool,
) -> None:
    """Have all processes write the token embeddings that an evaluation in the first one will then find in files.

    All processes have to call this at the same points of a run. The student is on the CPU afterwards.

    Args:
        trainer: arguments of Lightning's Trainer (accelerator, devices, num_nodes, strategy).
        student: the model to evaluate.
        evaluator: what it will be evaluated with.
        wanted: split name to the variants to search with; read in the first process alone.
        progress: whether to show progress bars.
    """
    encoder = CorpusEncoder(student, evaluator, wanted, progress)
    lightning = bare_trainer(trainer)
    lightning.predict(encoder, return_predictions=False)
    lightning.strategy.barrier("corpora encoded")
    if encoder.todo:
        log.info(
            "%d processes encoded %s documents, this one %s of them",
            lightning.world_size,
            f"{sum(len(rows) for _, rows in encoder.todo):,}",
            f"{encoder.documents:,}",
        )


def bare_trainer(settings: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer that starts processes and shows and saves nothing.

    Args:
        settings: of the config's trainer; accelerator, devices, num_nodes and strategy are used.
    """
    chosen = {key: settings[key] for key in ("accelerator", "devices", "num_nodes")}
    return pl.Trainer(
        **chosen,
        strategy=strategy_of(settings["strategy"]),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
