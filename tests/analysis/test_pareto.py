"""Quality against cost, from folders with known numbers."""

import io
import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.analysis.ablation import _cost_cells
from colbert_lab.analysis.configurations import Configuration, group
from colbert_lab.analysis.lineage import run_chain
from colbert_lab.analysis.pareto import quality_cost
from colbert_lab.analysis.pareto_views import (
    cost_text,
    plot_quality_cost,
    quality_cost_sentences,
    quality_cost_table,
)
from colbert_lab.base.errors import InputError
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import MEASURE, write_run


@pytest.fixture
def study(tmp_path: Path) -> list[Configuration]:
    """``long`` has two phases (20 s and 40 s), ``short`` one that ends as well as the first of these."""
    for seed in (1, 2):
        write_run(
            tmp_path, "aa", seed, {"n": "long"},
            {"supervised": {"test": 0.1}, "distill": {"test": 0.15}}, time=1.0,
        )  # fmt: skip
        write_run(tmp_path, "bb", seed, {"n": "short"}, {"distill": {"test": 0.14}}, time=2.0)
    return group(find_runs(tmp_path, "study").runs)


def test_a_point_counts_all_phases_up_to_it(study: list[Configuration]) -> None:
    found = quality_cost(study, "test", MEASURE)
    assert [(p.label, p.cost, round(p.value.mean, 4), p.last) for p in found.points] == [
        ("n=short after distill", 20.0, 0.49, True),
        ("n=long after supervised", 20.0, 0.45, False),
        ("n=long after distill", 60.0, 0.5, True),
    ]
    assert [p.on_front for p in found.points] == [True, False, True]
    assert found.best is found.points[2]
    assert found.untrained == pytest.approx({"n=long": 0.35, "n=short": 0.35})
    tokens = quality_cost(study, "test", MEASURE, "tokens")
    assert [p.cost for p in tokens.points] == [1000, 1000, 3000]


def test_the_share_of_the_best_quality_is_computed(study: list[Configuration]) -> None:
    best, short, supervised = quality_cost_sentences(quality_cost(study, "test", MEASURE))
    assert best.startswith("n=long after distill is the best: 0.5000 [")
    assert best.endswith("in nDCG@10 on test, for 60 s.")
    assert short == (
        "n=short after distill: 98.0% of the best quality for 33.3% of its cost (0.4900 for 20 s; difference "
        "-0.0100 [-0.0100, -0.0100] lower)."
    )
    assert "It is not on the front: n=short after distill has 0.4900 for 20 s." in supervised


def test_the_table_has_the_same_numbers(study: list[Configuration]) -> None:
    table = quality_cost_table(quality_cost(study, "test", MEASURE))
    assert table.columns[3] == "cost (s)"
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["of the best's cost"] == "33.3%"
    assert row["of the best"] == "98.0%"
    assert row["difference to the best"] == "-0.0100 [-0.0100, -0.0100] lower"
    assert [line[-1] for line in table.rows] == ["yes", "no", "yes"]
    assert table.rows[2][-2] == "the best"
    assert "0.3500 (n=long = n=short)" in table.notes[-1]


def test_the_same_student_of_two_configurations_is_one_point(tmp_path: Path) -> None:
    for number, value in enumerate("ab"):
        gains = {"supervised": {"test": 0.1}, "distill": {"test": 0.1 + 0.1 * number}}
        path = write_run(tmp_path, value * 2, 1, {"n": value}, gains, time=float(number))
        rows = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
        for row in rows:
            row["phase_hash"] = {"supervised": "same", "distill": value}.get(row["phase"])
        (path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    points = quality_cost(group(find_runs(tmp_path, "study").runs), "test", MEASURE).points
    assert [p.label for p in points] == [
        "n=a = n=b after supervised",
        "n=b after distill",
        "n=a after distill",
    ]
    assert points[0].cost == 20.0


def test_what_is_left_out_is_said(tmp_path: Path, study: list[Configuration]) -> None:
    write_run(tmp_path, "cc", 1, {"n": "other"}, {"distill": {"test": 0.3}}, time=3.0, fingerprint="newer")
    for path in tmp_path.glob("study/bb*/distill/phase.json"):
        path.unlink()
    found = quality_cost(group(find_runs(tmp_path, "study").runs), "test", MEASURE)
    assert {name for p in found.points for name in p.titles} == {"n=long"}
    said = " ".join(quality_cost_sentences(found))
    assert "n=short after distill is left out: its runs do not say their seconds" in said
    assert "test is another text there (fingerprints newer and text)" in said


def test_bad_questions(study: list[Configuration]) -> None:
    with pytest.raises(InputError, match="cost=euros: must be one of device_hours, seconds, flops, tokens"):
        quality_cost(study, "test", MEASURE, "euros")
    with pytest.raises(InputError, match="no student with both mrr@10 on test and cost=seconds"):
        quality_cost(study, "test", "mrr@10")
    with pytest.raises(InputError, match="n=long is left out: it was not measured on dev"):
        quality_cost(study, "dev", MEASURE)


def test_device_hours_and_operations(tmp_path: Path, study: list[Configuration]) -> None:
    with pytest.raises(InputError, match="its runs do not say their flops, as those of older versions"):
        quality_cost(study, "test", MEASURE, "flops")
    for path in tmp_path.glob("study/*/*/phase.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"devices": 2, "flops": 3e15}))
    again = group(find_runs(tmp_path, "study").runs)
    assert [p.cost for p in quality_cost(again, "test", MEASURE, "flops").points] == [3e15, 3e15, 6e15]
    hours = quality_cost(again, "test", MEASURE, "device_hours").points
    assert [p.cost for p in hours] == pytest.approx([20 * 2 / 3600, 20 * 2 / 3600, 60 * 2 / 3600])


def test_costs_are_readable() -> None:
    assert cost_text(1_340_510.0, "tokens", True) == "1,340,510 tokens"
    assert cost_text(2.354e15, "flops", True) == "2.35e+15 FLOP"
    assert cost_text(0.1034, "device_hours", True) == "0.103 device-hours"


def test_the_figure(study: list[Configuration]) -> None:
    found = quality_cost(study, "test", MEASURE)
    figure = plot_quality_cost(found)
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    (panel,) = figure.axes
    assert panel.get_xscale() == "log"
    assert panel.get_xlabel() == "training time, all phases up to this one (s, log scale)"
    assert panel.get_ylabel() == "nDCG@10 on test"
    low, high = panel.get_xlim()
    assert low < 20 < 60 < high
    for legend in figure.legends:
        assert not legend.get_window_extent().overlaps(panel.get_window_extent())


def test_phases_after_which_nothing_was_measured_count_too(tmp_path: Path) -> None:
    """As with ``evaluation.after=[distill]``."""
    write_run(
        tmp_path, "aa", 1, {"n": "a"}, {"supervised": {"test": 0.1}, "distill": {"test": 0.15}}, time=1.0
    )  # fmt: skip
    (file,) = tmp_path.glob("study/*/results.jsonl")
    rows = [
        line
        for line in file.read_text().splitlines(keepends=True)
        if json.loads(line)["phase"] != "supervised"
    ]
    file.write_text("".join(rows))
    status = file.parent / "status.json"
    about = json.loads(status.read_text())
    about["run"] = (about.get("run") or {}) | {"schedule": ["supervised", "distill"]}
    status.write_text(json.dumps(about))
    (run,) = find_runs(tmp_path, "study").runs
    assert run.phases == ("distill",)
    assert run.trained == ("supervised", "distill")
    (point,) = quality_cost(group([run]), "test", MEASURE).points
    assert point.cost == 60.0
    assert next(iter(run_chain(run, "a"))).name == "supervised"
    assert _cost_cells(group([run])[0])[1] == "3,000"
