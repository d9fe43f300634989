"""The config, resolved once: one frozen object, and the same as plain values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from pkgutil import resolve_name

import pytest
from omegaconf import OmegaConf

from colbert_lab.settings import checked, command_of
from colbert_lab.settings.evaluation import SplitSettings
from colbert_lab.settings.typed import typed
from colbert_lab.tasks.registry import TASKS
from tests.test_configs import composed


def test_settings_and_plain_values_say_the_same() -> None:
    cfg = composed("+experiment=colbert_zero", "seed=7")
    command = command_of(cfg, ["seed=7"])
    assert {**command.config, "from_": None, "to": None} == asdict(command.settings)
    plain = OmegaConf.to_container(checked(cfg))
    assert {**command.config, "from_": None, "to": None} == plain
    assert (command.settings.seed, command.overrides, command.asked) == (7, ("seed=7",), command.config)
    assert command.settings.trained == ["unsupervised", "supervised", "distill"]


def test_settings_cannot_be_set() -> None:
    settings = command_of(composed("+experiment=colbert_zero_kd")).settings
    for part, name in (
        (settings, "seed"),
        (settings.trainer, "precision"),
        (settings.phases["distill"], "steps"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(part, name, 1)


def test_the_precision_of_the_machine_takes_the_place_of_auto_wherever_it_is_read() -> None:
    cfg = composed("trainer.precision=auto")
    command = command_of(cfg, here=lambda settings: {"trainer.precision": "bf16-mixed"})
    assert command.settings.trainer.precision == command.settings.evaluation.precision == "bf16-mixed"
    assert command.asked["trainer"]["precision"] == command.asked["evaluation"]["precision"] == "auto"
    assert cfg.trainer.precision == "auto"


def test_a_text_is_no_interpolation() -> None:
    cfg = composed()
    cfg.query = r"\${name} and '"
    assert command_of(cfg).settings.query == "${name} and '"


def test_from_and_to_are_settings_and_no_part_of_the_plain_config() -> None:
    command = command_of(composed("from=STUDENT", "to=pylate"))
    assert (command.settings.from_, command.settings.to) == ("STUDENT", "pylate")
    assert not {"from", "from_", "to"} & command.config.keys()


def test_values_of_another_version_are_refused() -> None:
    assert typed(SplitSettings, {"type": "beir", "split": "test"}).protocol.query_length is None
    with pytest.raises(KeyError, match="split"):
        typed(SplitSettings, {"type": "beir"})
    for wrong in ({"shard": 1}, {"protocol": "none"}):
        with pytest.raises(TypeError):
            typed(SplitSettings, {"type": "beir", "split": "test", **wrong})


@pytest.mark.parametrize("name", TASKS)
def test_every_task_takes_a_command(name: str) -> None:
    assert resolve_name(TASKS[name].function).__annotations__["command"] == "Command"
