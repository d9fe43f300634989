"""Identity of runs: what must change a hash, and what must not."""

import copy
import math
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.records.identity import (
    canonical_json,
    config_hash,
    factors,
    phase_hash,
    protocol_hash,
    run_id,
)

CONFIG: dict[str, Any] = {
    "task": "train",
    "name": "kd",
    "seed": 42,
    "output_dir": "outputs",
    "cache_dir": "~/.cache",
    "progress": True,
    "reuse": True,
    "tracking": {"mode": "offline"},
    "hydra": {"job": 1},
    "trainer": {"accelerator": "cpu", "precision": "32-true", "num_workers": 0},
    "phases": {"distill": {"optimizer": {"lr": 1e-5}, "seed": 3}},
    "schedule": ["distill"],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    inner = config
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("name", "x"),
        ("output_dir", "/x"),
        ("cache_dir", "/x"),
        ("tracking", {"mode": "off"}),
        ("progress", False),
        ("reuse", False),
        ("hydra", {}),
        ("trainer.num_workers", 4),
        ("runs", ["outputs/a"]),
        ("compare", {"systems": ["bm25"]}),
    ],
)
def test_what_does_not_count(path: str, value: Any) -> None:
    assert config_hash(changed(path, value)) == config_hash(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("task", "evaluate"),
        ("trainer.accelerator", "gpu"),
        ("trainer.precision", "bf16-mixed"),
        ("phases.distill.optimizer.lr", 2e-5),
        ("phases.distill.seed", 4),  # only the top-level seed is left out
        ("schedule", ["distill", "distill"]),
        ("new", None),
    ],
)
def test_what_counts(path: str, value: Any) -> None:
    assert config_hash(changed(path, value)) != config_hash(CONFIG)


def test_order_of_keys_does_not_count_and_the_config_is_left_alone() -> None:
    config = {"trainer": {"num_workers": 4, "precision": "x"}, "seed": 1, "task": "train"}
    assert config_hash(dict(reversed(config.items()))) == config_hash(config)
    assert config == {"trainer": {"num_workers": 4, "precision": "x"}, "seed": 1, "task": "train"}
    assert config_hash({"trainer": None}) != config_hash({})


def test_the_hash_is_stable_over_versions() -> None:
    """A change here makes every finished run unknown: only on purpose."""
    assert config_hash({"a": [1, 2.5, "é", None, True], "seed": 1}).startswith("64e904af38")
    assert len(config_hash({})) == 64


def test_special_values() -> None:
    hashes = {config_hash({"x": v}) for v in (math.nan, math.inf, -math.inf, "nan", "inf", None, 0, False)}
    assert len(hashes) == 8
    assert config_hash({"x": math.nan}) == config_hash({"x": float("nan")})
    assert canonical_json((1, 2)) == canonical_json([1, 2])
    with pytest.raises(TypeError, match="object"):
        canonical_json({"x": object()})
    with pytest.raises(TypeError, match="strings"):
        canonical_json({"x": {1: 2}})


def test_what_has_no_hash_is_named_by_its_key() -> None:
    with pytest.raises(InputError, match=r"^x\.y\[0\]: must be a plain value .* type object$"):
        config_hash({"x": {"y": [object()]}})
    with pytest.raises(InputError, match=r"^x\.y: its keys must be texts, and 1 is none"):
        config_hash({"x": {"y": {1: 2}}})
    config_hash({"phases": {"unused": {1: 2}}})  # does not count


@pytest.mark.parametrize("key", ["own_modes", "own_measures"])
def test_things_of_a_users_own_count_where_there_are_some(key: str) -> None:
    before = config_hash({"evaluation": {"depth": 100}})
    assert config_hash({"evaluation": {"depth": 100, key: {}}}) == before
    assert config_hash({"evaluation": {"depth": 100, key: {"x": {"_target_": "user.X"}}}}) != before
    contents = {f"evaluation.{key}.x._target_": "user.X sha256:0"}
    own = {"evaluation": {"depth": 100, key: {"x": {"_target_": "user.X"}}}}
    assert config_hash(own, contents) != config_hash(
        own, {key: f"{value}1" for key, value in contents.items()}
    )


def test_measuring_some_splits_alone_is_another_run() -> None:
    before = config_hash({"evaluation": {"depth": 100}})
    assert config_hash({"evaluation": {"depth": 100, "measured": []}}) == before
    assert config_hash({"evaluation": {"depth": 100, "measured": ["dev"]}}) != before


def test_what_a_phase_keeps_counts_where_it_is_not_the_default() -> None:
    off = {"measure": "ndcg@10", "patience": None, "min_delta": 0.0}

    def hashed(**more: object) -> str:
        phases = {"distill": {"steps": 1, **more}, "unused": {"keep": "best"}}
        return config_hash({"task": "train", "schedule": ["distill"], "phases": phases})

    before = hashed()
    assert hashed(keep="last", early_stopping=off) == before
    others = [hashed(keep="best", early_stopping=off), hashed(early_stopping={**off, "patience": 3})]
    assert len({before, *others}) == 3


def test_run_id() -> None:
    assert run_id("0123456789abcdef", 7) == "0123456789-s7"
    assert run_id("0123456789abcdef", 7, repeat=3) == "0123456789-s7-r3"
    with pytest.raises(ValueError, match="repeat"):
        run_id("0123456789", 7, repeat=0)
    with pytest.raises(ValueError, match="hash"):
        run_id("012", 7)


def test_phase_hash_depends_on_everything() -> None:
    hashes = {
        phase_hash({"lr": 1}, 1, "data", "parent", "1"),
        phase_hash({"lr": 2}, 1, "data", "parent", "1"),
        phase_hash({"lr": 1}, 2, "data", "parent", "1"),
        phase_hash({"lr": 1}, 1, "other", "parent", "1"),
        phase_hash({"lr": 1}, 1, "data", None, "1"),
        phase_hash({"lr": 1}, 1, "data", "parent", "2"),
        phase_hash({"lr": 1}, 1, "dat", "aparent", "1"),
    }
    assert len(hashes) == 7


def test_protocol_hash() -> None:
    assert protocol_hash({"depth": 100, "mode": "exact"}) == protocol_hash({"mode": "exact", "depth": 100})
    assert protocol_hash({"depth": 100}) != protocol_hash({"depth": 10})
    assert len(protocol_hash({})) == 10


def test_what_says_where_and_how_is_no_factor() -> None:
    given = [
        "seed=1",
        "name=x",
        "+experiment=kd",
        "tracking.mode=off",
        "tracking=off",
        "phases.distill.optimizer.lr=1e-4",
    ]
    given += [
        "phases.distill.optimizer.lr=1e-4",
        "teacher@data.teacher=bm25",
        "~baselines",
        "phases.distill.seed=3",
    ]
    assert factors(given) == {
        "experiment": "kd",
        "phases.distill.optimizer.lr": "1e-4",
        "teacher@data.teacher": "bm25",
        "baselines": "",
        "phases.distill.seed": "3",
    }
