"""Configs that are composed fast are those that Hydra composes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from omegaconf import OmegaConf

from tests.conftest import ROOT

GIVEN = ["+experiment=supervised_kd", "head=stack", "phases.distill.optimizer.lr=1e-4"]
CODE = """
import sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
with initialize_config_dir(sys.argv[1], version_base="1.3"):
    print(OmegaConf.to_yaml(compose("config", sys.argv[2:])), end="")
"""


def composed(folder: Path, given: list[str]) -> str:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_yaml(compose("config", given))


def test_they_are_those_of_hydra_alone() -> None:
    assert getattr(FileConfigSource.load_config, "once", False)
    words = [sys.executable, "-c", CODE, str(ROOT / "conf"), *GIVEN]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, cwd="/", env=dict(os.environ))
    assert composed(ROOT / "conf", GIVEN) == composed(ROOT / "conf", GIVEN) == done.stdout


@pytest.mark.parametrize("choice", ["a", "b"])
def test_files_that_change_and_choices_by_name_are_seen(tmp_path: Path, choice: str) -> None:
    for name in ("a", "b"):
        for group in ("one", "two"):
            (tmp_path / group).mkdir(exist_ok=True)
            (tmp_path / group / f"{name}.yaml").write_text(f"value: {name}\n")
    (tmp_path / "config.yaml").write_text("defaults: [_self_, {one: a}, {two: '${one}'}]\n")
    assert composed(tmp_path, [f"one={choice}"]) == f"one:\n  value: {choice}\ntwo:\n  value: {choice}\n"
    (tmp_path / "two" / f"{choice}.yaml").write_text("value: other\n")
    assert composed(tmp_path, [f"one={choice}"]).endswith("two:\n  value: other\n")
