"""What a search tries."""

from __future__ import annotations

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.tuning.space import read_space, told

pytest.importorskip("optuna")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution


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
