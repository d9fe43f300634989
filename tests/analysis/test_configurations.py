"""Seeds are grouped and configurations compared."""

from pathlib import Path

import numpy as np
import pytest

from colbert_lab.analysis.configurations import Spread, group, pick, short_names
from colbert_lab.base.errors import InputError
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import MEASURE, write_run

LR = "phases.distill.optimizer.lr"
NOISE = np.array([0.2, -0.1, 0.1, 0.0, 0.1, 0.0, 0.2, -0.1])  # mean 0.05


def two_seeds(outputs: Path) -> None:
    """lr=0.1 gains .10 and .20; lr=0.2 gains .15 and .25 on average, not alike for each query."""
    common = {"data": "toy"}
    for seed in (1, 2):
        gain = 0.1 * seed
        write_run(outputs, "aa", seed, {**common, LR: "0.1"}, {"distill": {"test": gain}}, time=1.0)
        write_run(outputs, "bb", seed, {**common, LR: "0.2"}, {"distill": {"test": gain + NOISE}}, time=2.0)


def summed(found: Spread | None) -> tuple[float, ...]:
    assert found is not None
    assert found.sd is not None
    return found.mean, found.sd, found.n


def test_seeds_of_one_config_are_one_configuration(tmp_path: Path) -> None:
    two_seeds(tmp_path)
    one, other = group(find_runs(tmp_path, "study").runs)
    assert (one.label, other.label) == ("lr=0.1", "lr=0.2")
    assert one.overrides == {"data": "toy", LR: "0.1"}
    assert one.seeds == (1, 2)
    assert summed(one.value("test", MEASURE)) == pytest.approx((0.50, 0.1 / 2**0.5, 2))
    assert summed(one.value("test", MEASURE, before=True)) == pytest.approx((0.35, 0.0, 2))
    assert summed(one.gain("test", MEASURE)) == pytest.approx((0.15, 0.1 / 2**0.5, 2))
    assert one.gain("dev", MEASURE) is None


def test_one_config_on_different_text_is_two_configurations(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "aa", 2, {LR: "0.1"}, {"distill": {"test": 0.3}}, fingerprint="newer")
    one, other = group(find_runs(tmp_path, "study").runs)
    assert (one.label, other.label) == ("splits=test:text", "splits=test:newer")


def test_configs_that_no_override_tells_apart_carry_their_hash(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {LR: "0.1"}, {"distill": {"test": 0.3}})
    assert [each.label for each in group(find_runs(tmp_path, "study").runs)] == [
        "config=aa00000000",
        "config=bb00000000",
    ]


def test_a_factor_that_was_not_overridden_has_its_default(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {"prompts": "nomic"}, {"distill": {"test": 0.1}})
    labels = [each.label for each in group(find_runs(tmp_path, "study").runs)]
    assert labels == ["prompts=(default)", "prompts=nomic"]


def test_the_reference_is_picked_by_its_factors(tmp_path: Path) -> None:
    two_seeds(tmp_path)
    found = group(find_runs(tmp_path, "study").runs)
    assert pick(found, None) is found[0]
    assert pick(found, {"lr": "0.2"}) is found[1]
    assert pick(found, {LR: "0.2", "data": "toy"}) is found[1]
    with pytest.raises(InputError, match=r"none fit; the configurations are: lr=0.1; lr=0.2"):
        pick(found, {"lr": "3"})
    with pytest.raises(InputError, match="2 of them fit"):
        pick(found, {"data": "toy"})


def test_a_weight_says_whose_it_is() -> None:
    keys = ["phases.distill.objective.distillation.weight", "loss@phases.distill.objective.huber", "weight"]
    assert short_names(keys) == {keys[0]: "distillation.weight", keys[1]: "huber", keys[2]: "weight"}


def test_short_names_stay_apart() -> None:
    assert short_names(["a.optimizer.lr", "b.optimizer.lr", "a.steps", "lr"]) == {
        "a.optimizer.lr": "a.optimizer.lr",
        "b.optimizer.lr": "b.optimizer.lr",
        "a.steps": "steps",
        "lr": "lr",
    }
