"""Where a run computes: Lightning's strategy, the number of processes, and what signals do to them."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch.utils.data import DataLoader

from colbert_lab.base.errors import InputError
from colbert_lab.base.interruptions import Interrupted
from colbert_lab.base.stopping import PARENT, end_processes, signals_handled, watch

WAIT = timedelta(days=2)  # torch's own limit of 30 minutes is less than evaluations of large collections take
T = TypeVar("T")
log = logging.getLogger(__name__)
SILENT: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


def placement(trainer: Mapping[str, Any], unused: bool = False) -> dict[str, Any]:
    """Where to compute, as arguments of Lightning's Trainer.

    With several processes it is ``ddp``, with time for the first one to evaluate while the others wait for it.

    Args:
        trainer: settings of the config's trainer; accelerator, devices, num_nodes and strategy are read.
        unused: whether steps may leave out parameters that are trained in others, which processes then look for.

    Raises:
        InputError: Lightning cannot place a run so.
    """
    several = trainer["strategy"] != "auto" or count_processes(trainer) > 1
    together = _Together(timeout=WAIT, find_unused_parameters=unused)
    return _asked(trainer) | {"strategy": together if several else "auto"}


def count_processes(trainer: Mapping[str, Any]) -> int:
    """How many processes compute together, over all nodes: the one place that says so.

    Lightning itself reads the settings: ``devices`` as a number, a list, a string of either, ``-1`` or ``auto``, and
    what SLURM or torchrun say in the environment.

    Args:
        trainer: as for :func:`placement`.

    Raises:
        InputError: Lightning cannot place a run so, or another number of processes was started.
    """
    asked = _asked(trainer)
    named = " ".join(f"trainer.{key}={value}" for key, value in asked.items())
    try:
        placed = pl.Trainer(**asked, strategy="auto" if trainer["strategy"] == "auto" else "ddp", **SILENT)
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{named}: {' '.join(str(error).split())}") from error
    wanted = placed.num_devices * placed.num_nodes
    by, running = "SLURM", int(placed.world_size)
    how = f"start one a device, srun --ntasks-per-node={placed.num_devices} (hydra.launcher.tasks_per_node)"
    if torch.distributed.is_torchelastic_launched():
        by, running = "torchrun", int(os.environ["WORLD_SIZE"])
        how = "set trainer=ddp and trainer.devices to those of one node"
    if running != wanted:
        raise InputError(f"{named}: {wanted} processes, but {by} started {running}; {how}")
    rank = process_rank()
    if rank >= placed.world_size:
        raise InputError(
            f"{named}: {wanted} processes, but this is number {rank + 1} of those that were started; set trainer=ddp "
            "and trainer.devices to those of one node, or start fewer"
        )
    return int(placed.world_size)


def bare_trainer(trainer: Mapping[str, Any]) -> pl.Trainer:
    """A Trainer that starts processes and shows and saves nothing.

    Args:
        trainer: as for :func:`placement`.
    """
    return pl.Trainer(**placement(trainer), **SILENT, callbacks=[StopAtOnce()])


class _Told(pl.LightningModule):
    """Brings a value of the first process to all others."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def setup(self, stage: str) -> None:
        """Every process takes part."""
        self.value = self.trainer.strategy.broadcast(self.value)

    def predict_dataloader(self) -> DataLoader[int]:
        """Nothing to do."""
        return DataLoader(())  # type: ignore[arg-type]

    def predict_step(self, batch: int) -> None:
        """Lightning wants one."""


def of_first(trainer: Mapping[str, Any], decide: Callable[[], T]) -> T:
    """What the first process decides, in every process: they may see other files, at other times.

    All processes have to call this at the same points of a run. It starts those that are not there yet.

    Args:
        trainer: as for :func:`placement`.
        decide: called in the first process alone; its value must be picklable.
    """
    if count_processes(trainer) == 1:
        return decide()
    told = _Told(decide() if process_rank() == 0 else None)
    with stops_as_interrupts():
        bare_trainer(trainer).predict(told, return_predictions=False)
    value: T = told.value
    return value


def check_shares(phase: str, batch_size: int, world: int) -> None:
    """Whether processes can share micro-batches equally; no row is left out.

    Args:
        phase: the phase's name.
        batch_size: queries of a micro-batch, over all processes.
        world: number of processes.

    Raises:
        InputError: they cannot.
    """
    if batch_size % world:
        raise InputError(
            f"phases.{phase}.batch_size={batch_size}: {world} processes cannot share it equally; choose a multiple of "
            f"{world}, or other trainer.devices"
        )


def process_rank() -> int:
    """Number of this process among those that compute together; 0 for the first or only one."""
    return int(getattr(rank_zero_only, "rank", 0))


def _asked(trainer: Mapping[str, Any]) -> dict[str, Any]:
    devices = trainer["devices"]
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        devices = list(devices)  # Lightning takes no list of OmegaConf's
    return {
        "accelerator": trainer["accelerator"],
        "devices": devices,
        "num_nodes": trainer.get("num_nodes", 1),
    }


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes, and watches over them as the command line does.

    Lightning's own watch kills the first process when another one ends, which then says nothing.
    """

    def _call_children_scripts(self) -> None:
        os.environ[PARENT] = str(os.getpid())
        try:
            super()._call_children_scripts()
        finally:
            del os.environ[PARENT]
        if signals_handled():
            watch(self.procs)
            self.procs = []


class _Together(DDPStrategy):
    """Several processes; none lives on when another one has ended."""

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            assert self.cluster_environment is not None
            self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class StopAtOnce(pl.Callback):
    """Leaves signals to the command line, and ends the processes that were started.

    Lightning's own handler of SIGTERM waits for the other processes, which may wait for this one; that of SIGUSR1 saves
    in the middle of a step what its next ``fit`` goes on from, whatever step the data begin at. Where the command line
    has no handlers (jobs of submitit, notebooks), Lightning's stay.
    """

    def setup(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Lightning is about to set its handlers."""
        if signals_handled():
            trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """The other processes end before they can miss this one."""
        if isinstance(exception, KeyboardInterrupt):
            end_processes()


@contextmanager
def stops_as_interrupts() -> Iterator[None]:
    """Lightning ends in ``SystemExit`` after a signal; the block ends in what the signal raised.

    Raises:
        KeyboardInterrupt: a signal ended the block; on SIGTERM :class:`colbert_lab.base.interruptions.Interrupted`.
    """
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        if isinstance(ended, SIGTERMException):
            raise Interrupted(signal.SIGTERM) from ended
        raise


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
    with stops_as_interrupts():
        lightning.predict(shared, return_predictions=False)
    lightning.strategy.barrier("pieces done")
    log.info("%d processes did %d parts, this one %d", lightning.world_size, shared.pieces, len(shared.share))
