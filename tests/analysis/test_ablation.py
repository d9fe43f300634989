"""The tables of an ablation and its conclusions, from folders with known numbers."""

from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.analysis.ablation import ablation_phases, ablation_table, conclusions, overview
from colbert_lab.analysis.configurations import Configuration, group
from colbert_lab.base.layout import Table, to_markdown
from colbert_lab.records.runs import find_runs
from tests.records.run_folders import MEASURE, Gain, write_run

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
    assert any(note.startswith("n=2: not compared: test is another text") for note in table.notes)
    assert any(note.startswith("n=3: no interval") for note in table.notes)
    said = conclusions(study, study[0], "test", MEASURE)
    assert said[2].startswith(
        "n=3, after training against before: unclear, +0.2000 in nDCG@10 on test (no interval"
    )
    assert said[3] == "n=2 against n=1: not compared: test is another text (fingerprints newer and text)."
    assert said[4].startswith("n=3 against n=1: unclear, +0.1000 in nDCG@10 on test (no interval")


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
