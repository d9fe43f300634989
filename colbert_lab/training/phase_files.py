"""What a phase writes: checkpoints, whole and kept two deep, and ``metrics.csv`` while it trains; then ``phase.json``.

Checkpoints are read without running code; the Lightning logger of ``metrics.csv`` survives resuming.
"""

from __future__ import annotations

import csv
import logging
import re
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers.logger import Logger

from colbert_lab.base.atomic import named_when_full, write_text
from colbert_lab.base.interruptions import TimeOver
from colbert_lab.base.outside import read_json, warn_once
from colbert_lab.base.stopping import stop_asked, stop_at_steps, stop_now
from colbert_lab.base.types import PHASE_FILE
from colbert_lab.model.backbone import not_finite
from colbert_lab.model.batches import gather_states

log = logging.getLogger(__name__)
NEEDED = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks")
"""What Lightning writes, and wants to go on."""
PATTERN = re.compile(r"step=(\d+)\.ckpt")
HEADER = ("step", "time", "name", "value")


@dataclass(frozen=True)
class PhaseOutcome:
    """What a finished phase did, as ``phase.json`` keeps it.

    Attributes:
        phase_hash: identity of the phase (settings, seed, data, parent).
        steps: optimizer steps.
        seconds: wall time of training with the wait for data, evaluations while training left out.
        queries: queries processed.
        tokens: tokens processed, without padding.
        padded_tokens: tokens the encoder computed, with padding.
        teacher_entropy: mean normalised entropy of the teacher's distributions before step 1, if it distils.
        prompt_mismatch: the parent's prompts, when the phase was allowed to differ from them.
        truncation: by role, the share of texts that is cut, with and without prompt.
        reused_from: the run that trained it, when this one did not.
        devices: processes that trained together, each on a device; this and what follows is None in older files.
        flops: floating-point operations of the encoder, see :class:`colbert_lab.training.cost.EncoderFlops`.
        matmul_rate: what one device can do in a second, see :func:`colbert_lab.training.cost.matmul_rate`.
        peak_memory_bytes: most resident memory of the first process while it trained.
        peak_device_bytes: most memory of its GPU; None on a CPU.
        selection: which student was kept by which values on dev, see
            :class:`colbert_lab.records.run_files.SelectionFacts`; None where they decided nothing.
    """

    phase_hash: str
    steps: int
    seconds: float
    queries: int
    tokens: int
    padded_tokens: int
    teacher_entropy: float | None
    prompt_mismatch: dict[str, str] | None
    truncation: dict[str, dict[str, float]]
    reused_from: str | None = None
    devices: int | None = None
    flops: float | None = None
    matmul_rate: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None
    selection: Any = None

    @property
    def kept_step(self) -> int:
        """Optimizer steps of the student that was kept."""
        return self.steps if self.selection is None else int(self.selection["step"])


def finished_phase(folder: Path) -> PhaseOutcome | None:
    """The outcome of a finished phase in ``folder``, or None.

    Raises:
        InputError: its file is damaged.
    """
    path = folder / PHASE_FILE
    again = f"delete {folder}, and the same command trains the phase anew"
    return read_json(path, PhaseOutcome, again) if path.exists() else None


@dataclass(frozen=True)
class ResumePoint:
    """Where a phase goes on.

    Attributes:
        path: the checkpoint.
        step: optimizer steps it has done.
    """

    path: Path
    step: int


@dataclass(frozen=True)
class TimeLimit:
    """How long a phase may train in one command.

    Attributes:
        seconds: so long.
        setting: what says so, for the message.
        phase: the phase's name.
    """

    seconds: float
    setting: str
    phase: str

    def over(self, step: int, max_steps: int) -> TimeOver:
        """What ends the command."""
        return TimeOver(f"{self.setting} is over at step {step} of {max_steps} of {self.phase}")


class Checkpoints(ModelCheckpoint):
    """Saves also after a step at which a signal or a limit of time asks the command to end, which it then does.

    Lightning calls it after all other callbacks. Several processes agree on that at the steps whose values are logged,
    where they wait for one another in any case.
    """

    limit: TimeLimit | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on, a signal waits for the end of a step."""
        super().on_train_start(trainer, pl_module)
        self._step, self._together = trainer.global_step, int(getattr(pl_module, "log_every", 1))
        self._begun = time.monotonic()
        stop_at_steps(True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time to, and when the command is to end."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        step, before = trainer.global_step, self._step
        self._step = step
        together = trainer.world_size > 1
        if step in (before, trainer.max_steps) or (together and step % self._together):
            return
        late = self.limit is not None and time.monotonic() - self._begun >= self.limit.seconds
        asked = stop_asked(), late
        number, late = map(max, zip(*gather_states(asked), strict=True)) if together else asked
        if number or late:
            if not self._should_skip_saving_checkpoint(trainer):
                self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))
            over = None if self.limit is None or number else self.limit.over(step, trainer.max_steps)
            stop_now(number, over)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on, signals end what is done at once."""
        super().on_train_end(trainer, pl_module)
        stop_at_steps(False)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """The same."""
        super().on_exception(trainer, pl_module, exception)
        stop_at_steps(False)


def checkpoint_callback(folder: Path, every: int, limit: TimeLimit | None = None) -> ModelCheckpoint:
    """Save every N optimizer steps and keep the newest two, so that a damaged one has a predecessor.

    Args:
        folder: where checkpoints are.
        every: N.
        limit: after which time the command is to end.
    """
    saving = Checkpoints(
        folder,
        filename="{step}",
        monitor="step",
        mode="max",
        save_top_k=2,
        every_n_train_steps=every,
        enable_version_counter=False,  # a new one takes the place of a damaged one of that name
    )
    saving.limit = limit
    return saving


def has_checkpoint(folder: Path) -> bool:
    """Whether there is anything to go on from; nothing is read."""
    return any(PATTERN.fullmatch(path.name) for path in folder.glob("*.ckpt"))


def resume_point(folder: Path) -> ResumePoint | None:
    """The newest checkpoint that can be read; a damaged one is passed over with a warning.

    Whole is what torch can read, with all that Lightning goes on from.

    Returns:
        None when there is nothing to resume from.
    """
    found = [
        (int(match[1]), path) for path in folder.glob("*.ckpt") if (match := PATTERN.fullmatch(path.name))
    ]
    for _, path in sorted(found, reverse=True):
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if lacking := [key for key in NEEDED if key not in saved]:
                raise ValueError(f"it has no {lacking[0]}")
            if bad := not_finite(saved["state_dict"]):
                raise ValueError(f"weights that are not finite: {bad[0]}")
            return ResumePoint(path, int(saved["global_step"]))
        except Exception as error:
            why = next(iter(str(error).splitlines()), "") or type(error).__name__
            log.warning("checkpoint %s cannot be read (%s); going on from the one before", path, why)
    if found:
        log.warning("%s: no checkpoint can be read; the phase begins anew", folder)
    return None


class MetricsFile(Logger):
    """One row a value: step, Unix time, name, value.

    Lightning's own CSV logger deletes the file when a phase is resumed; this one goes on after the rows up to
    the resumed step.

    Args:
        path: the CSV file.
        step: step the phase resumes from (0 starts a new file); later rows will be computed again and are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        self.path = path
        rows = [row for row in read_metrics(path) if int(row["step"]) <= step] if step else []
        lines = [",".join(HEADER), *(",".join(row[key] for key in HEADER) for row in rows)]
        write_text(path, "\n".join(lines) + "\n")

    @property
    def name(self) -> str:
        """Logger name, as Lightning wants it."""
        return "metrics_file"

    @property
    def version(self) -> str:
        """Logger version, as Lightning wants it."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """The file."""
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row a value."""
        now = f"{time.time():.3f}"
        with named_when_full(self.path), self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((step, now, name, repr(float(value))) for name, value in sorted(metrics.items()))


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file; a last row cut by a crash is left out, and so are rows that are not whole."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "\ufffd")
    whole = text[: text.rfind("\n") + 1]
    rows = []
    try:
        for row in csv.DictReader(whole.splitlines()):
            if row.keys() == set(HEADER) and None not in row.values() and row["step"].isdecimal():
                rows.append(row)
    except csv.Error as problem:
        warn_once(f"{path}: its rows from {len(rows) + 1} on are skipped, they cannot be read: {problem}")
    return rows
