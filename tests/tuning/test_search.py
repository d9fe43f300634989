"""A search without runs: what it tries, and how it goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.settings.tasks import SearchSettings
from colbert_lab.tuning.search import Search, read_space, seed_of, told, trials_in

pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

SPACE = read_space(["lr=tag(log,interval(1e-5,1e-1))", "head=a,b"])
TPE = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3, "multivariate": True}
QMC = {"_target_": "optuna.samplers.QMCSampler"}
PRUNER = {"_target_": "optuna.pruners.MedianPruner"}


def begun(journal: Path, n_trials: int = 8, sampler: Any = TPE, direction: str = "maximize") -> Search:
    settings = SearchSettings(None, n_trials, 1, direction, 42, sampler, PRUNER)
    return Search(journal, SPACE, settings, "dev/ndcg@10")


def worth(overrides: list[str]) -> float:
    given = dict(each.split("=") for each in overrides)
    return -abs(math.log10(float(given["lr"])) + 3) - (given["head"] == "b")


def run_to(search: Search, end: int | None = None) -> list[list[str]]:
    tried = []
    for number in search.left()[:end]:
        asked = search.ask(number)
        tried.append(list(asked.overrides))
        search.tell(asked.number, worth(tried[-1]))
    return tried


@pytest.mark.parametrize("sampler", [TPE, QMC])
def test_a_search_that_was_killed_tries_what_the_whole_one_tries(sampler: Any, tmp_path: Path) -> None:
    whole = run_to(begun(tmp_path / "whole", sampler=sampler))
    assert len(whole) == 8
    assert len({tuple(each) for each in whole}) == 8  # a seed that begins anew would repeat them
    parts = run_to(begun(tmp_path / "parts", sampler=sampler), 4)
    killed = begun(tmp_path / "parts", sampler=sampler)
    killed.ask(None)  # and then its process is gone
    again = begun(tmp_path / "parts", sampler=sampler)
    assert again.left()[:2] == [4, None]
    assert [*parts, *run_to(again)] == whole
    assert run_to(begun(tmp_path / "parts", sampler=sampler)) == []
    assert len(run_to(begun(tmp_path / "parts", n_trials=10, sampler=sampler))) == 2


def test_its_file_says_what_was_tried_and_what_counts(tmp_path: Path) -> None:
    search = begun(tmp_path / "journal", n_trials=12)
    run_to(search, 11)
    search.ask(None)
    found = trials_in(tmp_path / "journal")
    assert found.objective == "dev/ndcg@10"
    assert found.maximize
    assert found.logarithmic == {"lr"}
    assert [trial.state for trial in found.trials] == ["finished"] * 11 + ["left"]
    assert found.best is not None
    assert found.best.value == max(trial.value for trial in found.trials[:11])  # type: ignore[type-var]
    assert sum(found.importance.values()) == pytest.approx(1)
    assert {type(value) for trial in found.trials for value in trial.tried.values()} == {float, str}


def test_less_may_be_better(tmp_path: Path) -> None:
    run_to(begun(tmp_path / "journal", n_trials=3, direction="minimize"))
    found = trials_in(tmp_path / "journal")
    assert found.best is not None
    assert found.best.value == min(trial.value for trial in found.trials)  # type: ignore[type-var]
    assert found.importance == {}


def test_every_trial_has_a_seed_of_its_own() -> None:
    assert len({seed_of(seed, number) for seed in (1, 2) for number in range(100)}) == 200


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (TPE | {"seed": 1}, "hydra.sweeper.sampler.seed: set hydra.sweeper.seed"),
        ({"_target_": "optuna.samplers.GridSampler"}, "hydra.sweeper.sampler: .*search_space"),
        ({"_target_": "os.getcwd"}, r"hydra.sweeper.sampler._target_=os.getcwd: is no sampler of Optuna"),
    ],
)
def test_a_sampler_that_cannot_be_made_is_one_line(sampler: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        begun(tmp_path / "journal", sampler=sampler)
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("text", ["no JSON\n", '{"op_code": 99}\n', "[1]\n"])
def test_a_damaged_file_is_one_line(text: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run_to(begun(journal), 2)
    whole = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join([*whole[:3], text, *whole[3:]]), encoding="utf-8")
    with pytest.raises(
        InputError, match=f"^{journal}: is damaged .*; delete it, and the same command begins"
    ):
        begun(journal)


def test_a_line_that_a_kill_left_half_written_is_taken_out(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run_to(begun(journal), 2)
    journal.write_text(journal.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert begun(journal).left()[:2] == [1, None]  # what the second one came to is lost, and it is taken up
    assert len(run_to(begun(journal))) == 7


def test_a_pruner_of_elsewhere_is_refused_before_there_is_a_file(tmp_path: Path) -> None:
    settings = SearchSettings(None, 2, 1, "maximize", 42, TPE, {"_target_": "tests.toy.Pruner"})
    with pytest.raises(InputError, match=r"^hydra.sweeper.pruner._target_=tests.toy.Pruner: is no pruner"):
        Search(tmp_path / "journal", SPACE, settings, "dev/ndcg@10")
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("target", ["hostile_pruner.Pruner", "optuna.pruners.os.system", "os.system"])
def test_a_file_has_nothing_of_elsewhere_imported_or_called(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose command a search's file is, nobody knows."""
    (tmp_path / "hostile_pruner.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    journal = tmp_path / "journal"
    run_to(begun(journal), 1)
    text = journal.read_text(encoding="utf-8")
    hostile = text.replace(PRUNER["_target_"], target)
    assert hostile != text
    journal.write_text(hostile, encoding="utf-8")
    with pytest.raises(InputError, match=f"^{journal}: names no pruner that can be made"):
        trials_in(journal)
    assert not (tmp_path / "ran").exists()


def test_a_file_without_a_pruner_is_one_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run_to(begun(journal), 1)
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if "MedianPruner" not in line), encoding="utf-8")
    with pytest.raises(InputError, match=f"^{journal}: names no pruner that can be made"):
        trials_in(journal)


@pytest.mark.parametrize("wrong", [('"objective"', '"elsewhere"'), ('"lr": "', '"lr": "no number ')])
def test_a_file_that_lacks_what_a_search_writes_is_one_line(wrong: tuple[str, str], tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    run_to(begun(journal), 1)
    text = journal.read_text(encoding="utf-8").replace('":"', '": "')
    damaged = text.replace(*wrong)
    assert damaged != text
    journal.write_text(damaged, encoding="utf-8")
    with pytest.raises(InputError, match=f"^{journal}: is damaged"):
        trials_in(journal)


def test_ranges_and_choices_in_hydras_syntax() -> None:
    space = read_space(
        [
            "+experiment=kd",
            "lr=1e-4",
            "lr=tag(log,interval(1e-5,1e-3))",
            "t=interval(0.5,2)",
            "n=int(interval(1,8))",
            "steps=range(10,50,10)",
            "teacher@data.teacher=bm25,ensemble",
            "schedule=[distill]",
        ]
    )
    assert space.searched == {
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
        "t": FloatDistribution(0.5, 2.0),
        "n": IntDistribution(1, 8),
        "steps": IntDistribution(10, 40, step=10),
        "teacher@data.teacher": CategoricalDistribution(["bm25", "ensemble"]),
    }
    assert space.fixed == ("+experiment=kd", "schedule=[distill]")
    values = {"lr": 0.000123456, "t": 1.0, "n": 3, "steps": 20, "teacher@data.teacher": "bm25"}
    assert space.overrides(values) == [
        "+experiment=kd", "schedule=[distill]", "lr=0.0001235", "t=1.0", "n=3", "steps=20", "teacher@data.teacher=bm25",
    ]  # fmt: skip


def test_corners_have_both_ends_and_each_choice() -> None:
    corners = list(read_space(["a=interval(1,2)", "b=x,y,z"]).corners())
    assert corners == [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}, {"a": 2.0, "b": "z"}]


def test_a_rounded_value_stays_in_its_range() -> None:
    assert told(FloatDistribution(0.12344, 0.5), 0.12344) == "0.12344"  # 0.1234 is below
    assert told(FloatDistribution(0.1, 0.123456), 0.123456) == "0.123456"  # 0.1235 is above
    assert told(FloatDistribution(0.1, 0.5), 0.123449) == "0.1234"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lr=1e-4", "hydra.sweeper.params: nothing to search"),
        ("lr=interval(2,1)", r"lr=interval\(2,1\): the range is the wrong way round"),
        ("lr=interval(1,1)", r"lr=interval\(1,1\): the range is empty"),
        ("n=range(5,5)", r"n=range\(5,5\): the range is empty"),
        ("lr=tag(log,interval(0,1))", r"lr=tag\(log,interval\(0,1\)\): a log scale begins above 0"),
        ("lr=tag(logarithm,interval(1,2))", "no such tag as logarithm; there is log"),
        ("lr=1,1", "lr=1,1: the same choice twice"),
        ("seed=1,2,3", "seed: the best seed says nothing of the settings"),
        ("lr=glob(*)", r"lr=glob\(\*\): is no range and no choice"),
    ],
)
def test_what_cannot_be_searched_is_one_line(given: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}" if "no such tag" not in message else message):
        read_space([given])
