"""Several machines: two nodes on loopback train what one process trains, by srun and by submitit."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.analysis.ledger.ledger import read_ledger
from tests import forked, slurm
from tests.command import command, the_run
from tests.test_schedule import three_phases
from tests.toy import write_toy


def given(tiny_bert: Path, toy: Path, outputs: Path, name: str) -> list[str]:
    arguments = [
        *three_phases(tiny_bert, toy, outputs),
        "schedule=[supervised]",
        f"name={name}",
        "evaluation=none",
        "evaluation.headline=null",
        "reuse=false",
        "student.dropout=0",
        "+phases.supervised.optimizer.eps=1e-4",  # AdamW's first step makes of rounding what it makes of gradients
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.threads=1",
    ]
    return [each for each in arguments if not each.startswith("evaluation.path")]


TWO = ["trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def elsewhere() -> dict[str, str]:
    """The environment of a job, without what says that this process is one of several."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SUBMITIT_"))}
    return kept | {"MASTER_PORT": str(free_port())}


@pytest.mark.slow
def test_two_nodes_train_what_one_process_trains(tiny_bert: Path, tmp_path: Path) -> None:
    toy, outputs = write_toy(tmp_path / "toy"), tmp_path / "outputs"
    assert command(*given(tiny_bert, toy, outputs, "one")).status == 0
    found: dict[str, Any] = {"one": the_run(outputs, "one")}

    job = elsewhere() | slurm.job(74, nodes=2, per_node=1)
    words = ["-m", "colbert_lab", *given(tiny_bert, toy, outputs, "srun"), *TWO]
    nodes = [
        forked.Python(words, env=job | slurm.task(number, 1), stdout=-1, stderr=-1) for number in range(2)
    ]
    said = [node.communicate(timeout=300) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "Traceback" not in said[0][1] + said[1][1]
    assert "supervised: " not in said[1][1], "the second node says what the first one says"
    found["srun"] = the_run(outputs, "srun")

    if importlib.util.find_spec("hydra_plugins.hydra_submitit_launcher") is not None:
        slurm.install(tmp_path / "bin")
        environment = elsewhere()
        environment["PATH"] = os.pathsep.join([str(tmp_path / "bin"), environment["PATH"]])
        launcher = [
            "hydra/launcher=submitit_slurm",
            "hydra.launcher.nodes=2",
            "hydra.launcher.gpus_per_node=0",
        ]
        words = ["-m", "colbert_lab", "-m", *launcher, *given(tiny_bert, toy, outputs, "submitit"), *TWO]
        done = forked.run(words, env=environment, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 of 1 cells finished" in done.stdout
        found["submitit"] = the_run(outputs, "submitit")

    kept = {}
    for name, run in found.items():
        phase = json.loads((run / "supervised" / "phase.json").read_text())
        assert phase["devices"] == (1 if name == "one" else 2)
        assert phase["queries"] == 16
        kept[name] = load_file(run / "supervised" / "student" / "model.safetensors")
        assert [entry.status for entry in read_ledger(outputs / name)] == ["finished"]
    for name, weights in kept.items():
        for key, weight in weights.items():
            torch.testing.assert_close(weight, kept["one"][key], atol=1e-6, rtol=1e-5, msg=f"{name}: {key}")
