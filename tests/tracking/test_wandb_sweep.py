"""The W&B sweep of ``examples/``: what an agent makes of it, and what a run of it leaves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from wandb.sdk.launch.sweeps import utils

from colbert_lab.settings import command_of
from tests import forked
from tests.conftest import ROOT
from tests.test_configs import composed
from tests.toy import toy_overrides, write_toy
from tests.tracking.wandb_file import read_wandb_file

FILE = ROOT / "examples" / "wandb_sweep.yaml"
LR, TEMPERATURE = "phases.distill.optimizer.lr", "phases.distill.objective.distillation.teacher.temperature"
KEYS = {"program", "command", "method", "metric", "run_cap", "parameters"}


def as_an_agent(values: dict[str, Any]) -> list[str]:
    """The command of a trial, as W&B's agent puts it together."""
    asked = utils.load_sweep_config(str(FILE))
    assert asked is not None
    given = {"args": {key: {"value": value} for key, value in values.items()}}
    words: dict[str, list[str]] = utils.create_sweep_command_args(given)
    words |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [asked["program"]]}
    parts = [str(part) for part in utils.create_sweep_command(asked["command"])]
    return [word for part in parts for word in (words[part[2:-1]] if part.startswith("${") else [part])]


def test_the_file_says_what_w_and_b_asks_for() -> None:
    asked = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert asked.keys() == KEYS
    assert asked["method"] in ("grid", "random", "bayes")
    assert asked["metric"] == {"name": "distill/dev/ndcg@10", "goal": "maximize"}
    assert asked["parameters"].keys() == {LR, TEMPERATURE}
    for each in asked["parameters"].values():
        assert each["distribution"] == "log_uniform_values"
        assert 0 < each["min"] < each["max"]


def test_both_ends_of_its_ranges_are_settings() -> None:
    asked = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    for end in ("min", "max"):
        words = as_an_agent({key: each[end] for key, each in asked["parameters"].items()})
        command = command_of(composed(*words[4:]))
        assert command.settings.evaluation.measured == ["dev"]
        assert command.settings.evaluation.headline == "dev/ndcg@10"


def test_a_run_of_an_agent_is_that_of_its_sweep(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    words = as_an_agent({LR: 0.001, TEMPERATURE: 1})
    assert words[:4] == ["/usr/bin/env", "python", "-m", "colbert_lab"]
    small = [
        each
        for each in toy_overrides(tiny_bert, toy, tmp_path)
        if not each.startswith(("+experiment", "name=", "tracking=", LR, TEMPERATURE))
    ]
    agents = {"WANDB_SWEEP_ID": "thesweep", "WANDB_RUN_ID": "thetrial", "WANDB_MODE": "offline"}
    given = [*small, "~data.documents", "~data.queries", "phases.distill.steps=2"]
    done = forked.run([*words[2:], *given], cwd=ROOT, env=os.environ | agents)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "wandb_sweep").glob("*-s42/wandb/offline-run-*/*.wandb")
    run = read_wandb_file(file)
    assert file.stem == "run-thetrial"
    assert 0 <= run.summary["distill/dev/ndcg@10"] <= 1
    assert not any("test" in key for key in run.summary)
