"""Measure some training steps of a phase, as it will take them, and predict the others."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.batches import process_number
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import autocast
from colbert_lab.plan.counting import Counted, Rates, Size, evenly, fit_rates, size_of
from colbert_lab.training.callbacks import Averaging, RandomState
from colbert_lab.training.cost import peak_bytes, peak_device_bytes, reset_peak
from colbert_lab.training.data import Batch, MicroBatches
from colbert_lab.training.freezing import frozen
from colbert_lab.training.module import StudentModule
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.strategy import stops_as_interrupts
from colbert_lab.training.trainer import phase_trainer, training_module


@dataclass(frozen=True)
class Step:
    """A measured micro-batch, with an optimizer step.

    Attributes:
        size: of it.
        seconds: of everything.
        optimizer: seconds of clipping and the optimizer.
        peak: resident bytes at most.
        device_peak: bytes on the device at most; None on a CPU.
    """

    size: Size
    seconds: float
    optimizer: float
    peak: int
    device_peak: int | None


@dataclass(frozen=True)
class Measured:
    """What was measured of a phase.

    Attributes:
        first: the first step, in which torch makes itself ready.
        steps: the others, from small to large.
        per_cell: seconds of one similarity of a batch that is scored as a whole; 0 where it was not measured apart.
        saving: seconds of one checkpoint.
        whole: whether these are the phase's own micro-batches; otherwise smaller ones of the same data.
        recompute: whether activations are computed again in the backward pass.
    """

    first: Step
    steps: Sequence[Step]
    per_cell: float
    saving: float
    whole: bool
    recompute: bool

    def rates(self) -> Rates:
        """Seconds of a micro-batch by its size."""
        works = [step.size.work(not self.whole) for step in self.steps]
        return fit_rates(works, [step.seconds for step in self.steps], self.per_cell)

    def seconds(self, counted: Counted, accumulation: int) -> float:
        """Seconds of all of a phase's micro-batches."""
        rates = self.rates()
        works = [size.work(not self.whole) for size in counted.sizes]
        each = sum(map(rates.of, works)) / len(works)
        optimizer = sum(step.optimizer for step in self.steps) / len(self.steps)
        idle = counted.total * (1 - 1 / accumulation) * optimizer  # every measured one had an optimizer step
        ready = max(0.0, self.first.seconds - rates.of(self.first.size.work(not self.whole)))
        return float(counted.total * each - idle + ready)


@dataclass(frozen=True)
class Choice:
    """Which micro-batches to measure: pairs of batches and number, the first one to warm up.

    Attributes:
        batches: where each comes from, and its number there; from small to large but for the first.
        whole: whether they are the phase's own.
    """

    batches: Sequence[tuple[MicroBatches, int]]
    whole: bool


class Chosen(Dataset[Batch]):
    """Micro-batches that were chosen; each is made when it is asked for."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def __len__(self) -> int:
        """How many."""
        return len(self.choice.batches)

    def __getitem__(self, n: int) -> Batch:
        batches, k = self.choice.batches[n]
        return batches[k]


class Clock(pl.Callback):
    """Times micro-batches and takes their memory.

    Args:
        device: where the student computes.
        before: called with the size of each before it is computed; may raise.
        after: called with the size and the peak of each.
    """

    def __init__(
        self, device: torch.device, before: Callable[[Size], None], after: Callable[[Size, int], None]
    ) -> None:
        self.device = device
        self.before = before
        self.after = after
        self.steps: list[Step] = []
        self._begun = self._optimizing = 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Start the clock."""
        self.before(size_of(batch))
        reset_peak(self.device)
        self._begun = self._now()

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Gradients are there; what follows happens once an optimizer step."""
        self._optimizing = self._now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Stop the clock."""
        now = self._now()
        seconds, optimizer = now - self._begun, now - self._optimizing
        done = Step(size_of(batch), seconds, optimizer, peak_bytes(), peak_device_bytes(self.device))
        self.steps.append(done)
        self.after(done.size, done.peak if done.device_peak is None else done.device_peak)


def choose(batches: MicroBatches, counted: Counted, steps: int, most: int) -> Choice:
    """Choose micro-batches over the whole range of sizes.

    Where the phase's own hold more than ``most`` padded tokens, smaller ones of the same data are taken: a half of
    them as large as that allows, the others half as large, so that what a token takes can be told from what a step
    takes.

    Args:
        batches: the phase's, this process' share.
        counted: some of them.
        steps: how many to measure.
        most: padded tokens.
    """
    sizes = counted.sizes
    order = sorted(range(len(sizes)), key=lambda n: sizes[n].padded)
    if sizes[order[-1]].padded <= most or batches.batch_size <= batches.world:
        chosen = [(batches, counted.numbers[n]) for n in evenly(order, steps)]
        return Choice([chosen[len(chosen) // 2], *chosen], True)
    share = most / counted.mean("padded")
    large = max(1, int(batches.batch_size * share) // batches.world) * batches.world
    half = max(1, large // 2 // batches.world) * batches.world
    some = [(batches.of_size(half), k) for k in range(max(1, steps // 2))]
    some += [(batches.of_size(large), k) for k in range(max(1, steps - steps // 2))]
    return Choice([some[0], *some], False)


def measure(
    phase: PreparedPhase,
    model: ColBERT,
    choice: Choice,
    trainer: Mapping[str, Any],
    *,
    device: torch.device,
    disk: Path,
    before: Callable[[Size], None],
    after: Callable[[Size, int], None],
    recompute: bool,
) -> Measured:
    """Train on the chosen micro-batches; ``model`` is changed.

    Args:
        phase: how to train.
        model: what to train.
        choice: micro-batches.
        trainer: arguments of Lightning's Trainer.
        device: where the student computes.
        disk: an existing folder on the disk that checkpoints go to.
        before: called with the size of each micro-batch before it is computed; may raise.
        after: called with the size and the peak memory of each.
        recompute: whether activations are computed again in the backward pass.
    """
    pl.seed_everything(phase.seed + process_number(), verbose=False)
    with phase.adapted(model), frozen(model, phase.settings.freeze):
        module = training_module(phase, model, recompute, trainer["precision"])
        clock = Clock(device, before, after)
        ema = phase.settings.ema
        averaging = [] if ema is None else [Averaging(model, ema)]
        fit = phase_trainer(
            phase,
            {**trainer, "devices": 1, "num_nodes": 1, "strategy": "auto"},
            max_steps=len(choice.batches),
            accumulate_grad_batches=1,
            logger=False,
            callbacks=[*averaging, clock, RandomState()],
            enable_checkpointing=False,
            enable_progress_bar=False,
        )
        with stops_as_interrupts():
            fit.fit(module, DataLoader(Chosen(choice), batch_size=None))
        first, *steps = clock.steps
        saving = _saving(fit, disk)
    per_cell = 0.0
    if not choice.whole and phase.objective.all_pairs:
        batches, k = choice.batches[-1]
        batch = batches[k].to(device)
        per_cell = _scoring(module, batch, trainer["precision"]) / size_of(batch).cells
    del fit, module
    model.cpu()
    return Measured(first, steps, per_cell, saving, choice.whole, recompute)


def _saving(fit: pl.Trainer, disk: Path) -> float:
    """Seconds of one checkpoint, which is removed."""
    folder = tempfile.mkdtemp(dir=disk, prefix=".plan-", suffix=".tmp")
    try:
        begun = time.perf_counter()
        fit.save_checkpoint(Path(folder) / "measured.ckpt", weights_only=False)
        return time.perf_counter() - begun
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _scoring(module: StudentModule, batch: Batch, precision: str) -> float:
    """Seconds to score every query of a batch against every document and back, without the encoder."""
    device, dim = batch.rows_BK.device, module.model.dim
    module.model.to(device)

    def embedded(tokens: Tokens) -> Embeddings:
        shape = (*tokens.input_ids_NL.shape, dim)
        unit = torch.nn.functional.normalize(torch.randn(shape, device=device), dim=-1)
        return Embeddings(unit, tokens.score_mask_NL)

    queries, chunks = embedded(batch.queries), [embedded(chunk) for chunk in batch.documents]
    chunks = module.scoring.documents(chunks)
    for each in (queries, *chunks):
        each.emb_NLD.requires_grad_()
    seconds = []
    for _ in range(2):  # the first one makes torch ready
        begun = time.perf_counter()
        with autocast(device, precision):
            by_dim = module.scored(queries, chunks, batch).values()
            terms = [(name, term) for name, term in module.objective.terms.items() if term.all_pairs]
            losses = [term.loss(each, module.learned_by(name)) for each in by_dim for name, term in terms]
            loss = torch.stack(losses).sum()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
