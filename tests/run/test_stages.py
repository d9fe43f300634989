"""The stages of a run, and how much work each one is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from transformers import BertConfig

from colbert_lab.run.evaluating import systems_beside
from colbert_lab.run.inputs import load_inputs
from colbert_lab.run.stages import names_of, times_larger, work_of
from colbert_lab.settings import Command, command_of
from colbert_lab.tasks.composing import CONF
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.training.precision import of_this_machine
from tests.toy import toy_overrides, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def asked(tiny_bert: Path, toy: Path, outputs: Path, *more: str) -> Command:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = [*toy_overrides(tiny_bert, toy, outputs), f"cache_dir={outputs}", *more]
        return command_of(compose("config", overrides=given), here=of_this_machine)


def test_a_run_has_a_stage_for_each_thing_that_takes_time(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    trained = names_of(asked(tiny_bert, toy, tmp_path).settings)
    assert trained == ["text and student", "baselines", "before", "distill", "after distill"]
    measured = names_of(asked(tiny_bert, toy, tmp_path, "task=evaluate").settings)
    assert measured == ["text and student", "baselines", "evaluate"]


def test_twice_the_steps_are_twice_the_work_and_measuring_is_the_same_before_and_after(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    never = "phases.distill.evaluate_every=null"
    few, many = (asked(tiny_bert, toy, tmp_path, f"phases.distill.steps={steps}", never) for steps in (2, 4))
    two, four = (work_of(each.settings, load_inputs(each)) for each in (few, many))
    assert four["distill"] == 2 * two["distill"] > 0
    assert two["before"] == two["after distill"] == four["before"] > 0
    assert two["baselines"] == 0  # BM25 reads no text by a network


def test_a_network_of_more_layers_and_width_is_more_work_for_a_token(tmp_path: Path) -> None:
    own = BertConfig(num_hidden_layers=2, hidden_size=128)
    BertConfig(num_hidden_layers=6, hidden_size=384).save_pretrained(tmp_path)
    assert times_larger(str(tmp_path), own) == 27
    assert times_larger("nobody/knows-it", own) == 1


def test_measuring_while_training_is_work_too(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    never, often = (
        asked(tiny_bert, toy, tmp_path, f"phases.distill.evaluate_every={every}") for every in ("null", 1)
    )
    assert (
        work_of(often.settings, load_inputs(often))["distill"]
        > work_of(never.settings, load_inputs(never))["distill"]
    )


def test_a_teacher_may_be_left_out() -> None:
    given = ["+experiment=colbert_zero_kd"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        asked_for, left_out = (
            command_of(compose("config", overrides=[*given, f"evaluation.without_teacher={each}"])).settings
            for each in ("false", "true")
        )
    source = SimpleNamespace(teacher=BM25())
    assert list(systems_beside(asked_for.evaluation, [source])) == ["bm25", "dense", "teacher"]
    assert list(systems_beside(left_out.evaluation, [source])) == ["bm25", "dense"]
