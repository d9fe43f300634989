"""The role of a key stands with it, and every key has one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
from omegaconf import OmegaConf

from colbert_lab.records.identity import config_hash, factors
from colbert_lab.run import scheduling
from colbert_lab.settings import Command, Settings, checked
from colbert_lab.settings.groups import PhaseSettings, TrainerSettings
from colbert_lab.settings.roles import Role, defaults, keys, readers, walk
from colbert_lab.tasks.composing import CONF
from colbert_lab.tasks.registry import TASKS
from tests.run.test_scheduling import identity
from tests.test_configs import composed

EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix(""))
    for path in (CONF / "experiment").rglob("*.yaml")
)


def every_key(values: Any, prefix: str = "") -> Iterator[str]:
    """Keys of values, and of empty parts."""
    if not isinstance(values, dict) or not values:
        yield prefix.rstrip(".")
        return
    for name, value in values.items():
        yield from every_key(value, f"{prefix}{name}.")


@cache
def walked(schema: type) -> list[tuple[str, Role | None]]:
    """The keys of a schema with their roles."""
    return [(key, role) for key, _, role in walk(schema)]


def role_of(schema: type, key: str) -> Role | None:
    """The role of a key of a config; None where no field says it."""
    said: Role | None = None
    for known, role in walked(schema):
        parts, given = known.split("."), key.split(".")
        if len(parts) <= len(given) and all(a in ("*", b) for a, b in zip(parts, given, strict=False)):
            said = role or said
    return said


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_key_of_a_composed_config_has_a_role(experiment: str) -> None:
    config = OmegaConf.to_container(composed(f"+experiment={experiment}"))
    without = [key for key in every_key(config) if key != "phases" and role_of(Settings, key) is None]
    assert without == [], "give the field a role, see colbert_lab/settings/roles.py"


def test_every_setting_has_a_role_and_a_task_alone_reads_what_says_so() -> None:
    parts = {"phases", "evaluation", "trainer"}
    assert {key for key, _, role in walk(Settings) if role is None} == parts
    known = readers(Settings)
    assert set(known) == {key for key, _, role in walk(Settings) if role == Role.TASK and "." not in key}
    assert {task for tasks in known.values() for task in tasks} <= set(TASKS)


def test_what_rounds_is_no_part_of_the_protocol() -> None:
    assert [
        key for key, _, role in walk(Settings) if role and role & Role.ROUNDING and role & Role.PROTOCOL
    ] == []


def test_roles_decide_what_identifies_a_run_and_what_is_a_factor() -> None:
    config: Any = OmegaConf.to_container(checked(composed("+experiment=colbert_zero_kd")))
    first = config_hash(config)
    for key in keys(Settings, lacks=Role.RUN):
        *parents, last = {"from": "from_"}.get(key, key).split(".")
        other = OmegaConf.to_container(OmegaConf.create(config))
        inner: Any = other
        for parent in parents:
            inner = inner[parent]
        inner[last] = "another"
        assert config_hash(other) == first, key  # type: ignore[arg-type]
    assert factors(["seed=1", "name=x", "trainer.num_workers=2", "data=beir", "out=x"]) == {
        "trainer.num_workers": "2",
        "data": "beir",
    }


OTHER = {
    "accelerator": "cuda", "devices": 2, "num_nodes": 2, "strategy": "ddp", "precision": "16-mixed", "num_workers": 3,
    "threads": 7, "deterministic": False, "maxsim": "kernels", "float32_matmul": "high", "compile": "eager",
    "lightning": {"benchmark": True}, "callbacks": {"own": {"_target_": "my.Own"}},
}  # fmt: skip


@pytest.mark.parametrize("entry", fields(TrainerSettings), ids=lambda entry: entry.name)
def test_the_trainer_changes_a_phase_where_its_role_says_so(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "pick_device", lambda name: type("Device", (), {"type": name}))
    monkeypatch.setattr(scheduling, "count_processes", lambda given: given["devices"] * given["num_nodes"])
    cfg = checked(composed("+experiment=colbert_zero_kd", "evaluation=none", "trainer.accelerator=gpu"))
    other = cfg.copy()
    other.trainer[entry.name] = OTHER[entry.name]
    role = role_of(Settings, f"trainer.{entry.name}")
    assert role is not None
    assert (identity(other).hash != identity(cfg).hash) == bool(role & Role.PHASE)


@pytest.mark.parametrize("entry", fields(PhaseSettings), ids=lambda entry: entry.name)
def test_a_setting_of_a_phase_changes_it_where_its_role_says_so(entry: Any) -> None:
    cfg = checked(composed("+experiment=colbert_zero_kd", "evaluation=none"))
    command = Command.of(cfg)
    phases = {"distill": {**command.config["phases"]["distill"], entry.name: "another"}}
    other = replace(command, config={**command.config, "phases": phases})
    role = role_of(Settings, f"phases.distill.{entry.name}")
    assert role is not None
    assert (identity(other).hash != identity(command).hash) == bool(role & Role.PHASE)


def test_a_key_that_says_nothing_leaves_identities_as_they_were() -> None:
    """Else a new key would make every earlier run and phase another one."""
    cfg = checked(composed("+experiment=colbert_zero_kd", "evaluation=none"))
    command = Command.of(cfg)
    run, phase = config_hash(command.config), identity(command).hash
    silent = defaults(Settings, has=Role.IF_ANY)
    silent = {key: default for key, default in silent.items() if key.startswith("phases.")}
    assert set(silent) >= {"phases.*.lr_schedule.decay", "phases.*.keep", "phases.*.early_stopping"}
    for key, default in silent.items():
        *parents, last = key.replace("*", "distill").split(".")
        found = []
        for value in (None, "another"):
            config: Any = OmegaConf.to_container(OmegaConf.create(dict(command.config)))
            inner = config
            for parent in parents:
                inner = inner[parent]
            if value is None:
                assert inner.pop(last) == default
            else:
                inner[last] = value
            found.append((config_hash(config), identity(replace(command, config=config)).hash))
        assert found[0] == (run, phase), key
        assert found[1][0] != run, key
        assert found[1][1] != phase, key
