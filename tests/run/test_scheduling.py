"""What identifies a phase, and what becomes of a folder whose phase is another one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.records.identity import config_hash
from colbert_lab.run import scheduling
from colbert_lab.run.inputs import token_rules
from colbert_lab.run.resuming import check_unchanged, done_phase, note_identity, otherwise
from colbert_lab.run.scheduling import (
    PhaseIdentity,
    RunIdentity,
    check_schedule,
    parent_identity,
    phase_identity,
    run_identity,
)
from colbert_lab.settings import Command, checked
from colbert_lab.tasks.composing import CONF
from colbert_lab.text.contents import code_id


@pytest.fixture(scope="module")
def cfg() -> DictConfig:
    given = ["+experiment=colbert_zero_kd", "evaluation=none", "trainer.precision=32-true"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("config", given))


def changed(cfg: DictConfig, **values: Any) -> DictConfig:
    other = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(other, key.replace("__", "."), value)
    return other


def identity(
    cfg: DictConfig | Command, attention: str = "sdpa", weights: list[float] | None = None
) -> PhaseIdentity:
    """Of a phase whose data and tokenizer are of no matter here."""
    rules = SimpleNamespace(to_dict=lambda: {"query_length": 32})
    phase: Any = SimpleNamespace(
        name="distill",
        tokenizer=SimpleNamespace(rules=rules),
        batches=SimpleNamespace(sampler=SimpleNamespace(weights=weights)),
        data_fingerprint="texts",
    )
    backbone = SimpleNamespace(config=SimpleNamespace(_attn_implementation=attention))
    student: Any = SimpleNamespace(model=SimpleNamespace(backbone=backbone))
    command = cfg if isinstance(cfg, Command) else Command.of(cfg)
    return phase_identity(command, phase, "parent", student)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "phases.distill.objective.distillation.weight",
            0,
            r"^phases\.distill\.objective: every weight is 0",
        ),
        ("phases.distill.objective.x", {"weight": 1.0}, r"^phases\.distill\.objective\.x: names no class"),
        ("phases.distill.data", None, r"^phases\.distill\.data: no data"),
        ("schedule", ["later"], "no phase slot named later"),
    ],
)
def test_a_phase_that_cannot_be_trained_is_refused_before_anything_is_loaded(
    key: str, value: Any, message: str, cfg: DictConfig
) -> None:
    cfg = cfg.copy()
    OmegaConf.update(cfg, key, value, force_add=True)
    with pytest.raises(InputError, match=message):
        check_schedule(Command.of(cfg).settings)


@pytest.mark.parametrize(
    "values",
    [
        {"trainer__deterministic": False},
        {"trainer__devices": 2, "trainer__strategy": "ddp", "trainer__accelerator": "cpu"},
        {"trainer__maxsim": "kernels"},
        {"student__dropout": 0.1},
        {"phases__distill__optimizer__lr": 0.5},
    ],
)
def test_what_changes_a_phase(values: dict[str, Any], cfg: DictConfig) -> None:
    assert identity(changed(cfg, **values)).hash != identity(cfg).hash


def test_how_often_each_source_comes_changes_a_phase(cfg: DictConfig) -> None:
    found = {identity(cfg, weights=weights).hash for weights in (None, [1.0, 1.0], [1.0, 2.0])}
    assert len(found) == 3


def test_device_and_attention_count_as_what_they_are_here(
    cfg: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = identity(cfg)
    assert identity(cfg, attention="matmul").hash != first.hash
    here = "cuda" if torch.cuda.is_available() else "cpu"
    assert identity(changed(cfg, trainer__accelerator=here)).hash == first.hash
    run = run_identity(Command.of(cfg))
    named = changed(cfg, trainer__accelerator=here)
    assert run_identity(Command.of(named)).hash == run.hash
    monkeypatch.setattr(scheduling, "pick_device", lambda name: torch.device("meta"))
    assert identity(cfg).hash != first.hash
    assert run_identity(Command.of(cfg)).hash != run.hash


def test_threads_count_as_those_in_force_on_a_cpu(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(cfg: DictConfig) -> tuple[str, ...]:
        run = run_identity(Command.of(cfg))
        return run.hash, run.named, identity(cfg).hash

    cpu = changed(cfg, trainer__accelerator="cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    two = ids(cpu)
    assert ids(changed(cpu, trainer__threads=2))[::2] == two[::2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    eight = ids(cpu)
    assert [a == b for a, b in zip(two, eight, strict=True)] == [False, True, False]
    monkeypatch.setattr(scheduling, "pick_device", lambda name: torch.device("meta"))
    elsewhere = ids(cpu)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert ids(cpu) == elsewhere


@pytest.mark.parametrize("name", ["torch", "transformers", "tokenizers"])
def test_a_checkpoint_of_another_library_is_refused(
    name: str, cfg: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "distill"
    note_identity(folder, identity(cfg))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step=2.ckpt").write_bytes(b"")
    assert otherwise(folder, identity(cfg)) is None
    known, version = importlib.metadata.version, "0.1"
    monkeypatch.setattr(importlib.metadata, "version", lambda each: version if each == name else known(each))
    with pytest.raises(
        InputError, match=rf"libraries\.{name} was '{re.escape(known(name))}' and is '0.1'.*reuse=false"
    ):
        done_phase(Command.of(cfg).settings, folder, identity(cfg))


def test_where_it_is_computed_does_not_change_a_phase(cfg: DictConfig) -> None:
    other = changed(
        cfg,
        trainer__num_workers=2,
        phases__distill__recompute=True,
        phases__distill__checkpoint_every=1,
        phases__distill__log_every=1,
    )
    assert identity(other).hash == identity(cfg).hash


@pytest.mark.parametrize("key", ["backbone", "checkpoint"])
def test_the_parent_is_what_it_holds(key: str, cfg: DictConfig, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    weights = one / "model.safetensors"
    weights.write_bytes(b"weights")

    def parent(folder: Path) -> str:
        return parent_identity(Command.of(changed(cfg, **{f"student__{key}": str(folder)})).settings)

    first = parent(one)
    shutil.copytree(one, other)
    assert parent(other) == first
    then = weights.stat()
    weights.write_bytes(b"Weights")
    os.utime(weights, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert parent(one) != first


@pytest.mark.parametrize(
    ("then", "now", "same"),
    [
        (None, "commit:a", True),
        ("commit:a", "commit:a sha256:b", True),  # the file that names the head has been fetched
        ("commit:a", "commit:b", False),
        ("commit:a", "commit:ab", False),
        ("commit:a sha256:b", "commit:a", False),
        ("commit:a", None, False),
    ],
)
def test_what_changes_while_it_is_read_is_refused(then: str | None, now: str | None, same: bool) -> None:
    before, after = (RunIdentity("", "", {"student.checkpoint": each}) for each in (then, now))
    with (
        nullcontext()
        if same
        else pytest.raises(InputError, match=r"^student\.checkpoint: its content changed")
    ):
        check_unchanged(before, after)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_the_code_of_a_new_head_is_a_part_of_the_parent(
    checkpoint: bool, cfg: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code, folder = tmp_path / "own_parent_head.py", tmp_path / "model"
    folder.mkdir()
    values = {f"student__{'checkpoint' if checkpoint else 'backbone'}": str(folder)}

    def parent(text: str, **more: Any) -> str:
        code.write_text(text)
        code_id.cache_clear()
        settings = Command.of(changed(cfg, **values, **more)).settings
        student = replace(settings.student, head={"_target_": "own_parent_head.Head"})
        return parent_identity(replace(settings, student=student))

    first = parent("x = 1", student__output="multi")
    assert parent("x = 1", student__output="multi") == first
    assert parent("x = 22", student__output="multi") != first
    # Without another output a checkpoint keeps its head, and this one is not read.
    assert (parent("x = 1") == parent("x = 22")) is checkpoint
    code_id.cache_clear()


@pytest.mark.parametrize("finished", [True, False])
def test_a_phase_of_other_data_is_refused_with_what_differs(
    finished: bool, cfg: DictConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "distill"
    now = identity(cfg)
    then = PhaseIdentity({**now.parts, "data": "other texts"}, "another hash")
    assert otherwise(folder, now) is None
    note_identity(folder, then)
    assert otherwise(folder, now) is None, "nothing was trained yet"
    if finished:
        costs = '"steps": 1, "seconds": 1, "queries": 1, "tokens": 1, "padded_tokens": 1'
        facts = '"teacher_entropy": null, "prompt_mismatch": null, "truncation": {}'
        (folder / "phase.json").write_text(f'{{"phase_hash": "another hash", {costs}, {facts}}}')
    else:
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "step=2.ckpt").write_bytes(b"")
    with pytest.raises(InputError, match=r"data was 'other texts' and is 'texts'.*reuse=false"):
        done_phase(Command.of(cfg).settings, folder, now)
    (folder / "identity.json").unlink()
    with pytest.raises(InputError, match=r"not known.*reuse=false"):
        done_phase(Command.of(cfg).settings, folder, now)
    if not finished:
        note_identity(folder, now)
        assert done_phase(Command.of(cfg).settings, folder, now) is None


def test_expansion_to_a_minimum_counts_where_there_is_one(cfg: DictConfig) -> None:
    command = Command.of(cfg)
    assert "expansion_min" not in json.loads(parent_identity(command.settings))
    before: Any = OmegaConf.to_container(OmegaConf.create(dict(command.config)))
    del before["student"]["expansion_min"]
    assert config_hash(before) == config_hash(command.config)
    least = Command.of(changed(cfg, student__expansion_min=8))
    assert json.loads(parent_identity(least.settings))["expansion_min"] == 8
    assert config_hash(least.config) != config_hash(command.config)
    assert token_rules(least.settings.student, least.settings.prompts).expansion_min == 8


def test_the_score_counts_where_it_is_the_mean(cfg: DictConfig) -> None:
    """Else a student that says nothing of its score would be another one than before there was a choice."""
    command = Command.of(cfg)
    assert "score" not in json.loads(parent_identity(command.settings))
    before: Any = OmegaConf.to_container(OmegaConf.create(dict(command.config)))
    del before["student"]["score"]
    assert config_hash(before) == config_hash(command.config)
    mean = Command.of(changed(cfg, student__score="mean_maxsim"))
    assert json.loads(parent_identity(mean.settings))["score"] == "mean_maxsim"
    assert config_hash(mean.config) != config_hash(command.config)
    assert token_rules(command.settings.student, command.settings.prompts).score == "maxsim"
    assert token_rules(mean.settings.student, mean.settings.prompts).score == "mean_maxsim"
