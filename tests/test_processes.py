"""Several processes through the command line: Lightning starts them, and they train what one process trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.command import the_run
from tests.test_schedule import three_phases
from tests.toy import write_toy


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    found, counted = {}, {}
    for name, extra in (("two", ["trainer=ddp", "trainer.devices=2"]), ("one", ["reuse=false"])):
        arguments = [
            *three_phases(tiny_bert, toy, tmp_path / "outputs"),
            "schedule=[supervised]",
            f"name={name}",
            "evaluation=none",
            "evaluation.headline=null",
            "student.dropout=0",
            "phases.supervised.accumulation=2",
            *extra,
            "trainer.accelerator=cpu",
            "trainer.precision=32-true",
            "trainer.threads=1",
        ]
        arguments = [a for a in arguments if not a.startswith("evaluation.path")]
        done = subprocess.run(
            [sys.executable, "-m", "colbert_lab", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        run = the_run(tmp_path / "outputs", name)
        counted[name] = json.loads((run / "supervised" / "phase.json").read_text())["queries"]
        found[name] = load_file(
            the_run(tmp_path / "outputs", name) / "supervised" / "student" / "model.safetensors"
        )
    assert counted == {"two": 4 * 2 * 4, "one": 4 * 2 * 4}
    for weight in found["one"]:
        torch.testing.assert_close(found["two"][weight], found["one"][weight], atol=1e-6, rtol=1e-5)
