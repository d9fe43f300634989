"""How many processes a run has, on any machine; GPUs are pretended."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import OmegaConf
from pytorch_lightning.strategies import DDPStrategy

from colbert_lab.base.errors import InputError
from colbert_lab.run import resuming
from colbert_lab.run.cells import needs_process
from colbert_lab.run.scheduling import PhaseIdentity, check_schedule
from colbert_lab.settings import Settings
from colbert_lab.settings.groups import PhaseSettings, TrainerSettings
from colbert_lab.training.strategy import WAIT, count_processes, placement
from tests import forked

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "WORLD_SIZE": "3",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "0",
    "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


@pytest.fixture(autouse=True)
def _first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning sets the rank of this process."""
    monkeypatch.setattr(rank_zero_only, "rank", 0)


@pytest.fixture
def six_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 6)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def trainer(**changes: Any) -> Any:
    settings = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}
    return OmegaConf.create(settings | changes)


@pytest.mark.usefixtures("six_gpus")
@pytest.mark.parametrize(
    ("devices", "world"), [("auto", 6), (-1, 6), ("-1", 6), (4, 4), ("4", 4), ([0, 5], 2), ("0,5", 2)]
)
@pytest.mark.parametrize("strategy", ["ddp", "auto"])
def test_devices_in_every_form(devices: Any, world: int, strategy: str) -> None:
    settings = trainer(accelerator="gpu", devices=devices, strategy=strategy)
    assert count_processes(settings) == world
    assert count_processes({**settings, "num_nodes": 2}) == 2 * world
    chosen = placement(settings)["strategy"]
    assert isinstance(chosen, DDPStrategy)
    assert chosen._timeout == WAIT
    assert needs_process(settings, {})
    assert not needs_process(settings, {"LOCAL_RANK": "0"})


def test_one_process_needs_no_strategy() -> None:
    assert placement(trainer(devices="auto"))["strategy"] == "auto"
    assert not needs_process(trainer(), {})


def test_lightning_says_nothing_when_it_is_asked_for_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep asks before it logs anything, when Lightning still has the handler that it gave itself."""
    shown = io.StringIO()
    own, of_zero = (logging.getLogger(f"pytorch_lightning{each}") for each in ("", ".utilities.rank_zero"))
    monkeypatch.setattr(own, "handlers", [logging.StreamHandler(shown)])
    level = of_zero.level  # start_logging raises it
    of_zero.setLevel(logging.INFO)
    try:
        count_processes(trainer())
        assert "GPU available" in shown.getvalue()
        shown.truncate(0)
        assert not needs_process(trainer(), {})
        assert shown.getvalue() == ""
    finally:
        of_zero.setLevel(level)


@pytest.mark.usefixtures("six_gpus")
def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_loaded() -> None:
    """16 queries over 6 processes: 4 of them would never be seen."""
    placed = TrainerSettings(accelerator="gpu", devices="auto", num_nodes=1, strategy="ddp")
    phases = {"distill": PhaseSettings(batch_size=16)}
    settings = Settings(task="train", schedule=["distill"], phases=phases, trainer=placed)
    with pytest.raises(InputError, match=r"phases\.distill\.batch_size=16: 6 processes cannot share"):
        check_schedule(settings)
    loss = {"_target_": "colbert_lab.training.objectives.margins.MarginMSE", "weight": 1.0}
    shared = PhaseSettings(batch_size=12, data={}, objective={"margin_mse": loss})
    check_schedule(replace(settings, phases={"distill": shared}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 0}, "trainer.devices=0"),
        ({"devices": [0, 1]}, r"trainer.devices=.0, 1. .*`devices` selected with `CPUAccelerator`"),
        ({"devices": "many"}, "trainer.devices=many"),
        ({"num_nodes": 0}, "trainer.num_nodes=0"),
    ],
)
def test_what_lightning_cannot_place_is_bad_input(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        count_processes(trainer(**changes))
    assert "\n" not in str(error.value)


def test_slurm_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    several = trainer(strategy="ddp", devices=2)
    for name, value in (
        ("JOB_ID", "1"),
        ("JOB_NAME", "x"),
        ("PROCID", "0"),
        ("NODEID", "0"),
        ("LOCALID", "0"),
        ("NTASKS", "2"),
    ):
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(InputError, match=r"trainer\.devices=2 .*Use `--ntasks-per-node=2` instead"):
        count_processes(several)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    assert count_processes(several) == 2
    for name in ("NTASKS", "NTASKS_PER_NODE"):
        monkeypatch.setenv(f"SLURM_{name}", "1")
    assert count_processes(trainer()) == 1
    with pytest.raises(
        InputError, match=r"2 processes, but SLURM started 1; .* --ntasks-per-node=2 \(hydra\.launcher"
    ):
        count_processes(several)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")  # where Lightning starts the processes itself
    assert count_processes(several) == 2


def test_torchrun_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert count_processes(trainer(strategy="ddp", devices=3)) == 3
    # Three processes that each take themselves for the first one would write into one folder.
    for changes in ({}, {"strategy": "ddp", "devices": "auto"}):
        with pytest.raises(InputError, match="1 processes, but torchrun started 3"):
            count_processes(trainer(**changes))


def test_slurm_may_start_more_than_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 2)  # as lightning_utilities reads it from SLURM_PROCID
    with pytest.raises(InputError, match="number 3 of those that were started"):
        count_processes(trainer())


SCRIPT = """
import os, sys
from pathlib import Path
from colbert_lab.training.strategy import of_first, process_rank

trainer = {"accelerator": "cpu", "devices": 2, "num_nodes": 1, "strategy": "ddp"}
for number in range(2):
    found = of_first(trainer, lambda: (os.getpid(), Path(sys.argv[1])))
    Path(sys.argv[1], f"{number}-{process_rank()}").write_text(str(found))
"""


@pytest.mark.slow
def test_what_the_first_process_sees_counts_for_all(tmp_path: Path) -> None:
    script = tmp_path / "decide.py"
    script.write_text(SCRIPT)
    done = forked.run([str(script), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    told = {name: (tmp_path / name).read_text() for name in ("0-0", "0-1", "1-0", "1-1")}
    assert len(set(told.values())) == 1


def test_a_process_that_would_train_another_phase_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node-local copies of the data that are not the same."""
    monkeypatch.setattr(resuming, "of_first", lambda *_: (None, "first"))
    same, other = PhaseIdentity({}, "first"), PhaseIdentity({}, "mine")
    settings = Settings(trainer=TrainerSettings(accelerator="cpu", devices=1, num_nodes=1, strategy="auto"))
    assert resuming.agreed_phase(settings, Path("distill"), same) is None
    with pytest.raises(InputError, match="distill: process 1 reads other data"):
        resuming.agreed_phase(settings, Path("distill"), other)
