"""Lightning callbacks: logged points, progress bar, random state, recomputation, the average of a student's weights."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from colbert_lab.base.progress import progress_bar
from colbert_lab.model.batches import gather_states, process_number
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.packing import packs
from colbert_lab.training.cost import GIB, EncoderFlops, peak_bytes, peak_device_bytes, reset_peak
from colbert_lab.training.data import Batch
from colbert_lab.training.module import StudentModule

log = logging.getLogger(__name__)
COUNTS = ("queries", "tokens", "padded", "flops", "seconds", "peak_bytes", "peak_device_bytes")


class Points(Callback):
    """Logs a point every ``log_every`` optimizer steps, with throughput and memory, and counts what was processed.

    Checkpoints keep what every process has counted and averaged since the last point: a resumed phase logs the same.

    Throughput is wall-clock since the last point, with the wait for data and without evaluations:
    ``queries_per_second`` and ``tokens_per_second`` (tokens without padding). Counts are of this process.
    ``train/peak_memory_gib`` is the most memory that this process had in use so far in the phase,
    ``train/peak_device_gib`` that of its GPU.
    """

    KEY = "points"

    def __init__(self) -> None:
        self._operations: EncoderFlops | None = None
        self.queries = 0
        self.tokens = 0
        self.padded = 0
        self.flops = 0.0
        self.seconds = 0.0
        self.peak_bytes = 0
        self.peak_device_bytes: int | None = None
        self.latest: dict[str, float] = {}
        self.dev: dict[str, float] = {}
        self._since = (0, 0, 0.0)
        self._started = 0.0
        self._logged = -1
        self._sums: dict[str, list[Any]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time and memory count from here."""
        assert isinstance(pl_module, StudentModule)
        pl_module.set_sums(self._sums)  # not before the module is on its device
        self.count(pl_module)
        reset_peak(pl_module.device)
        self._started = time.perf_counter()

    def count(self, module: StudentModule) -> None:
        """Count the operations of what is trained now, from here on."""
        self._operations = EncoderFlops.of(module.model)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count what is left."""
        self.stop(pl_module.device)

    def stop(self, device: torch.device) -> None:
        """Count the time so far; wait for what the device still computes."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._count()

    def go_on(self) -> None:
        """Count from here, after a :meth:`stop`."""
        self._started = time.perf_counter()

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._started
        self._started = now

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count; log when a point is due."""
        assert isinstance(pl_module, StudentModule)
        self._count()
        self.queries += len(batch.rows_BK)
        self.tokens += batch.n_tokens
        self.padded += batch.n_packed if packs(pl_module.model.backbone) else batch.n_padded
        assert self._operations is not None
        self.flops += self._operations.training(batch.lengths)
        step = trainer.global_step
        due = step % pl_module.log_every == 0 or step == trainer.max_steps
        if not due or step == self._logged or step == 0:
            return
        queries, tokens, seconds = self._since
        spent = max(self.seconds - seconds, 1e-9)
        self.latest = {
            **pl_module.point(),
            "train/queries_per_second": (self.queries - queries) / spent,
            "train/tokens_per_second": (self.tokens - tokens) / spent,
            **self._memory(pl_module.device),
        }
        self._since, self._logged = (self.queries, self.tokens, self.seconds), step
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, step=step)

    def _memory(self, device: torch.device) -> dict[str, float]:
        """Peaks so far, also those of the executions that this one goes on from."""
        self.peak_bytes = max(self.peak_bytes, peak_bytes())
        found = {"train/peak_memory_gib": self.peak_bytes / GIB}
        if (on_device := peak_device_bytes(device)) is not None:
            self.peak_device_bytes = max(self.peak_device_bytes or 0, on_device)
            found["train/peak_device_gib"] = self.peak_device_bytes / GIB
        return found

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the counts and running means; every process takes part, they differ."""
        assert isinstance(pl_module, StudentModule)
        mine = {name: getattr(self, name) for name in COUNTS}
        mine |= {"logged": self._logged, "since": list(self._since), "sums": pl_module.sums()}
        checkpoint[self.KEY] = gather_states(mine)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore those of this process."""
        mine = checkpoint[self.KEY][process_number()]
        for name in COUNTS:
            setattr(self, name, mine[name])
        queries, tokens, seconds = mine["since"]
        self._since, self._logged, self._sums = (queries, tokens, seconds), mine["logged"], mine["sums"]


BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class PhaseBar(TQDMProgressBar):
    """A progress bar with the phase's name, loss, queries/s, tokens/s and ETA."""

    def __init__(self, phase: str, points: Points) -> None:
        super().__init__()
        self.phase = phase
        self.points = points

    def init_train_tqdm(self) -> tqdm:
        """A bar with throughput left to the metrics, or lines where there is no terminal."""
        return progress_bar(desc=self.phase, leave=True, dynamic_ncols=True, smoothing=0, bar_format=BAR)

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Name the bar after the phase."""
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description_str(self.phase)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> Any:
        """The latest point, and the latest value on dev of the first measure."""
        latest = self.points.latest
        shown = {name.rpartition("/")[2]: f"{value:.4f}" for name, value in list(self.points.dev.items())[:1]}
        if not latest:
            return shown
        return {
            "loss": f"{latest['train/loss']:.4f}",
            "q/s": f"{latest['train/queries_per_second']:.1f}",
            "tok/s": f"{latest['train/tokens_per_second']:.0f}",
            **shown,
        }


class RandomState(Callback):
    """Keeps torch's random state of every process in checkpoints: a resumed phase draws the same dropout masks.

    It is restored when the first batch starts, because building and iterating a DataLoader draws from the
    global generator.
    """

    KEY = "random_states"

    def __init__(self) -> None:
        self._restore: dict[str, Any] | None = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the states after an optimizer step; every process takes part."""
        cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
        checkpoint[self.KEY] = gather_states({"cpu": torch.get_rng_state(), "cuda": cuda})

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember this process's state until the first batch."""
        self._restore = checkpoint[self.KEY][process_number()]

    def on_train_batch_start(self, *_: Any) -> None:
        """Restore the state once."""
        if self._restore is not None:
            torch.set_rng_state(self._restore["cpu"].cpu())
            for state in self._restore["cuda"]:
                torch.cuda.set_rng_state(state.cpu())
            self._restore = None


class Recomputation(Callback):
    """Decides once training starts, for all processes, whether activations are computed again (GradCache).

    One process with too little room decides for all.

    Args:
        decide: whether this process has too little room.
    """

    def __init__(self, decide: Callable[[pl.Trainer], bool]) -> None:
        self.decide = decide

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide; every process takes part."""
        assert isinstance(pl_module, StudentModule)
        mine = self.decide(trainer)
        pl_module.recompute = any(gather_states(mine))
        if pl_module.recompute and not mine:
            log.info("another process has less room: recomputing activations chunk by chunk (GradCache)")


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
