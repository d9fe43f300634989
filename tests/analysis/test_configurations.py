"""Seeds are grouped and configurations compared."""

from pathlib import Path

import numpy as np
import pytest

from colbert_lab.analysis.configurations import Spread, compare, gain_interval, group, pick, short_names
from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.significance import bootstrap_interval
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import BASE, MEASURE, write_run

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


def test_queries_are_averaged_over_seeds_before_the_bootstrap(tmp_path: Path) -> None:
    two_seeds(tmp_path)
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.why == ""
    assert found.mean == pytest.approx(0.05)
    assert found.by_seed == {1: pytest.approx(0.05), 2: pytest.approx(0.05)}
    expected = bootstrap_interval(BASE + 0.15 + NOISE - (BASE + 0.15))
    assert found.interval is not None
    assert found.interval.n == 8
    assert found.interval.low == pytest.approx(expected.low)
    assert found.interval.high == pytest.approx(expected.high)
    gain = gain_interval(other, "test", MEASURE)
    assert gain is not None
    assert gain.mean == pytest.approx(0.20)


def test_different_text_is_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": {"test": 0.3}}, fingerprint="newer")
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert (found.mean, found.interval, found.by_seed) == (None, None, {})
    assert found.why == "not compared: test is another text (fingerprints newer and text)"


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


def test_without_rankings_there_is_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": {"test": 0.3}})
    write_run(tmp_path, "bb", 2, {LR: "0.2"}, {"distill": {"test": 0.3}}, rankings=False)
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.mean == pytest.approx(0.2)
    assert found.interval is None
    assert "the seeds differ (1, 2 and 1)" in found.why
    assert "no interval, a ranking file is missing" in found.why
    assert gain_interval(other, "test", MEASURE) is None


def test_other_protocols_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {"prompts": "none"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {"prompts": "nomic"}, {"distill": {"test": 0.3}}, protocol="with prompts")
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.mean == pytest.approx(0.2)
    assert found.why == "the protocols differ (lengths, prompts, depth)"


def test_what_was_not_measured_is_not_compared(tmp_path: Path) -> None:
    two_seeds(tmp_path)
    one, other = group(find_runs(tmp_path, "study").runs)
    assert compare(other, one, "dev", MEASURE).why == "not compared: ndcg@10 was not measured on dev"


def test_schedules_may_differ(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {"schedule": "[distill]"}, {"distill": {"test": 0.1}}, time=1.0)
    longer = {"supervised": {"test": 0.3}, "distill": {"test": 0.2}}
    write_run(tmp_path, "bb", 1, {"schedule": "[supervised,distill]"}, longer, time=2.0)
    one, other = group(find_runs(tmp_path, "study").runs)
    assert compare(other, one, "test", MEASURE).mean == pytest.approx(0.1)


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
