"""The tables of an ablation and its conclusions, from folders with known numbers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.analysis.ablation import ablation_phases, ablation_table, compare, conclusions, overview
from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.configurations import Configuration, gain_interval, group
from colbert_lab.base.layout import Table, to_markdown
from colbert_lab.evaluation.significance import bootstrap_interval
from colbert_lab.records.means import mean_records
from colbert_lab.records.records import append_records, read_records
from colbert_lab.records.runs import find_runs
from tests.analysis.test_configurations import LR, NOISE, two_seeds
from tests.records.run_folders import BASE, MEASURE, Gain, write_run

WORSE = (-0.3, -0.1, -0.2, -0.1, -0.3, -0.1, -0.2, -0.1)
MIXED = (0.2, -0.2, 0.1, -0.1, 0.2, -0.2, 0.1, 0.0)


def cells(table: Table, row: int) -> dict[str, str]:
    return dict(zip(table.columns, table.rows[row], strict=True))


@pytest.fixture
def study(tmp_path: Path) -> list[Configuration]:
    """Four values of ``n``: the reference, one that is better for every query, one that is worse, one mixed."""
    gains: dict[str, Gain] = {"1": 0.1, "2": 0.2, "3": WORSE, "4": MIXED}
    for number, (value, gain) in enumerate(gains.items()):
        for seed in (1, 2):
            write_run(
                tmp_path, f"{value}a", seed, {"data": "toy", "n": value},
                {"supervised": {"test": 0.0, "dev": 0.0}, "distill": {"test": gain, "dev": 0.1 * seed}},
                reused={"supervised": "0123456789-s1"} if seed == 2 else None, time=float(number),
            )  # fmt: skip
    return group(find_runs(tmp_path, "study").runs)


def test_one_row_a_configuration(study: list[Configuration]) -> None:
    table = ablation_table(study, study[0], "test", MEASURE)
    assert table.title == "nDCG@10 of 4 configurations"
    assert table.columns == (
        "n", "seeds", "test: before", "after", "gain", "dev: before", "after", "gain",
        "test: difference to the reference", "training s", "tokens", "reused phases",
    )  # fmt: skip
    assert table.rows[0] == (
        "1", "2", "0.3500 ± 0.0000", "0.4500 ± 0.0000", "+0.1000 ± 0.0000",
        "0.3500 ± 0.0000", "0.5000 ± 0.0707", "+0.1500 ± 0.0707",
        "reference", "60.0", "3,000", "supervised (seed 2)",
    )  # fmt: skip
    compared = [cells(table, row)["test: difference to the reference"] for row in (1, 2, 3)]
    assert [cell.rpartition(" ")[2] for cell in compared] == ["higher", "lower", "unclear"]
    assert compared[0].startswith("+0.1000 [+0.1000, +0.1000]")
    assert compared[1].startswith("-0.2750 [-0.3")
    notes = " ".join(table.notes)
    assert "The reference is n=1" in notes
    assert "of other seeds than those that were run it says nothing" in notes
    assert "3 configurations are compared with the reference" in notes
    assert to_markdown([table]).count("\n| ") == 5


def test_one_row_a_run_and_phase(study: list[Configuration]) -> None:
    table = ablation_phases(study, MEASURE)
    assert table.columns == ("n", "seed", "phase", "test", "dev", "steps", "seconds", "tokens", "trained by")
    assert len(table.rows) == 4 * 2 * 3
    assert table.rows[0] == ("1", "1", "before", "0.3500", "0.3500", "0", "-", "-", "-")
    assert table.rows[2][2:8] == ("distill", "0.4500", "0.4500", "10", "40.0", "2,000")
    assert table.rows[1][-1] == "1a00000000-s1 (this run)"
    assert table.rows[4][-1] == "0123456789-s1 (reused)"


def test_conclusions_say_higher_lower_or_unclear(study: list[Configuration]) -> None:
    said = conclusions(study, study[0], "test", MEASURE)
    assert len(said) == 4 + 3
    assert said[0] == (
        "n=1, after training against before: higher, +0.1000 [+0.1000, +0.1000] in nDCG@10 on test "
        "(8 queries; mean of 2 seeds)."
    )
    assert said[2].startswith("n=3, after training against before: lower, -0.1750 [")
    assert said[3].startswith("n=4, after training against before: unclear, +0.0125 [")
    assert said[4] == (
        "n=2 against n=1: higher, +0.1000 [+0.1000, +0.1000] in nDCG@10 on test "
        "(8 queries; mean of 2 seeds; seed by seed +0.1000, +0.1000)."
    )
    assert [sentence.split()[3].rstrip(",") for sentence in said[4:]] == ["higher", "lower", "unclear"]


def test_what_cannot_be_said_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {"n": "1"}, {"distill": {"test": 0.1}}, time=1.0)
    write_run(tmp_path, "bb", 1, {"n": "2"}, {"distill": {"test": 0.1}}, time=2.0, fingerprint="newer")
    write_run(tmp_path, "cc", 1, {"n": "3"}, {"distill": {"test": 0.2}}, time=3.0, rankings=False)
    study = group(find_runs(tmp_path, "study").runs)
    table = ablation_table(study, study[0], "test", MEASURE)
    assert cells(table, 1)["test: difference to the reference"] == "not compared"
    assert cells(table, 2)["test: difference to the reference"] == "+0.1000 (no interval)"
    assert cells(table, 0)["test: before"] == "0.3500"
    assert any(note.startswith("n=2: not compared: other text than the reference") for note in table.notes)
    assert any(
        note.startswith("n=3: not tested: no values for the same queries; no interval")
        for note in table.notes
    )
    said = conclusions(study, study[0], "test", MEASURE)
    assert said[2].startswith(
        "n=3, after training against before: not tested, +0.2000 in nDCG@10 on test (no interval"
    )
    assert said[3].startswith("n=2 against n=1: not compared: other text than the reference: ")
    assert said[4].startswith(
        "n=3 against n=1: not tested, +0.1000 in nDCG@10 on test (not tested: no values"
    )


def test_one_configuration_alone(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {"n": "1"}, {"distill": {"test": 0.1}})
    (path / "distill" / "phase.json").unlink()
    study = group(find_runs(tmp_path, "study").runs)
    table = ablation_table(study, study[0], "test", MEASURE)
    assert table.title == "nDCG@10 of 1 configuration"
    assert table.rows[0] == (
        "the only configuration", "1", "0.3500", "0.4500", "+0.1000", "reference", "-", "-", "-",
    )  # fmt: skip
    assert len(conclusions(study, study[0], "test", MEASURE)) == 1
    assert ablation_phases(study, MEASURE).rows[1][4:] == ("-", "-", "-", "-")


def test_the_overview_names_what_is_shared_and_left_out(study: list[Configuration]) -> None:
    said = overview(study, ["x is left out."])
    assert said[0] == "8 finished runs of 4 configurations."
    assert said[1] == "n=1: seeds 1, 2."
    assert said[-3:] == ["Overrides that all share: data=toy.", "Hardware: 2 cores.", "x is left out."]


def test_the_overview_says_when_the_code_is_not_one_commit(study: list[Configuration]) -> None:
    def with_code(commits: list[tuple[str, bool]]) -> list[Configuration]:
        changed = []
        for each, (commit, dirty) in zip(study, commits, strict=True):
            runs = tuple(
                replace(r, records=tuple(replace(x, commit=commit, dirty=dirty) for x in r.records))
                for r in each.runs
            )
            changed.append(replace(each, runs=runs))
        return changed

    same = ("a" * 40, False)
    assert not any("commit" in line for line in overview(with_code([same] * 4), []))
    said = overview(with_code([same, same, ("b" * 40, False), ("b" * 40, True)]), [])
    assert said[-1] == (
        "The code is not one commit: aaaaaaa, bbbbbbb, bbbbbbb with changes; differences may come from it."
    )


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
    assert found.why.startswith("not compared: other text than the reference: ")
    assert "(split fingerprints newer and text)" in found.why


def test_without_rankings_there_is_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": {"test": 0.3}})
    write_run(tmp_path, "bb", 2, {LR: "0.2"}, {"distill": {"test": 0.3}}, rankings=False)
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.mean == pytest.approx(0.2)
    assert found.interval is None
    assert found.why.startswith(
        "seeds 1, 2, and the reference 1; not tested: no values for the same queries; "
    )
    assert gain_interval(other, "test", MEASURE) is None


def test_other_protocols_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {"prompts": "none"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {"prompts": "nomic"}, {"distill": {"test": 0.3}}, protocol="with prompts")
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.mean == pytest.approx(0.2)
    assert (
        found.why == "measured under another protocol than the reference; older runs do not say what differs"
    )


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


def add_mean(run: Path) -> None:
    """As a run leaves it that measured the mean of test and dev."""
    weights = {"test": 0.5, "dev": 0.5}
    (run / "splits.json").write_text(json.dumps({"mean": {"mean_of": weights}}))
    records = [record for record in read_records(run / "results.jsonl") if record.system == "student"]
    for phase in ("before", "distill"):
        of_phase = [record for record in records if record.phase == phase]
        append_records(run / "results.jsonl", mean_records({"mean": weights}, of_phase))


def test_a_mean_of_splits_is_tested_as_task_compare_tests_it(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, config, 1, {LR: lr}, {"distill": {"test": gain, "dev": gain}})
        for config, lr, gain in (("aa", "0.1", 0.1), ("bb", "0.2", 0.1 + NOISE))
    ]
    for run in runs:
        add_mean(run)
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "mean", MEASURE)
    assert found.why == ""
    comparison = compare_runs(runs)
    (wanted,) = [rows[1] for place, rows in comparison.compared.items() if place.split == "mean"]
    assert found.interval == wanted.difference
    assert found.interval is not None
    assert found.interval.n == 16
    gain = gain_interval(other, "mean", MEASURE)
    assert gain is not None
    assert gain.mean == pytest.approx(0.15)


def test_other_rules_of_a_split_are_not_compared(tmp_path: Path) -> None:
    for config, lr, depth in (("aa", "0.1", 100), ("bb", "0.2", 10)):
        run = write_run(tmp_path, config, 1, {LR: lr}, {"distill": {"test": 0.1}}, protocol=f"p{depth}")
        (run / "protocols.json").write_text(json.dumps({f"p{depth}": {"depth": depth}}))
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert (found.mean, found.interval) == (None, None)
    assert found.why == "not compared: other rules than the reference: depth (10 and 100)"


def test_students_that_were_searched_otherwise_are_not_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": {"test": 0.1}})
    records = [replace(record, mode="plaid") for record in read_records(run / "results.jsonl")]
    (run / "results.jsonl").unlink()
    append_records(run / "results.jsonl", records)
    one, other = group(find_runs(tmp_path, "study").runs)
    why = compare(other, one, "test", MEASURE).why
    assert why == "not compared: test was not measured in the same way: made (exact) and made (plaid)"


def test_rounding_of_means_over_seeds_is_no_difference(tmp_path: Path) -> None:
    gains = {1: 0.1, 2: 0.2, 3: 0.3}
    for seed, gain in gains.items():
        write_run(tmp_path, "aa", seed, {LR: "0.1"}, {"distill": {"test": gain}})
        write_run(tmp_path, "bb", seed, {LR: "0.2"}, {"distill": {"test": gains[4 - seed]}})
    one, other = group(find_runs(tmp_path, "study").runs)
    found = compare(other, one, "test", MEASURE)
    assert found.interval is not None
    assert (found.interval.mark, found.interval.mean) == ("same", 0.0)
