"""Runs are found and read from their folders."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.records.cost import PhaseCost
from colbert_lab.records.records import append_records, read_records
from colbert_lab.records.runs import RunsNotMeasured, find_runs, newest_run, read_runs, running_runs
from tests.records.run_folders import BASE, MEASURE, QUERIES, write_run

GAINS = {"supervised": {"test": 0.1}, "distill": {"test": 0.2}}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {"lr": "0.1"}, GAINS, reused={"supervised": "0123456789-s1"})
    (tmp_path / "study" / "latest").symlink_to(path.name)
    (tmp_path / "study" / "sweeps").mkdir()
    found = find_runs(tmp_path, "study")
    assert found.left_out == ()
    (run,) = found.runs
    assert (run.run_id, run.seed, run.factors) == ("aa00000000-s1", 1, {"lr": "0.1"})
    assert run.phases == ("supervised", "distill")
    assert run.splits == {"test": "text"}
    assert run.value("before", "test", MEASURE) == pytest.approx(0.35)
    assert run.value("distill", "test", MEASURE) == pytest.approx(0.55)
    assert run.value("distill", "dev", MEASURE) is None
    found_values = run.by_query("distill", "test", MEASURE)
    assert found_values is not None
    assert found_values.query_ids == QUERIES
    assert found_values.values == pytest.approx(BASE + 0.2)
    assert found_values.strata == ()
    assert run.cost("supervised") == PhaseCost(10, 20.0, 1000, "0123456789-s1")
    assert run.cost("distill") == PhaseCost(10, 40.0, 2000, None)
    assert run.cost("before") is None
    assert run.curves("distill") == {
        "train/loss": [(5, 2.0), (10, 1.0)],
        f"dev_small/{MEASURE}": [(5, 0.5), (10, 0.75)],
    }
    assert run.curves("before") == {}


def test_an_unfinished_run_is_left_out_and_said(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, GAINS)
    write_run(tmp_path, "aa", 2, {}, GAINS, status="running")
    write_run(tmp_path, "bb", 1, {}, GAINS, status="failed")
    found = find_runs(tmp_path, "study")
    assert [run.run_id for run in found.runs] == ["aa00000000-s1"]
    assert found.left_out == (
        "aa00000000-s2 is left out: it is not finished (its status is running).",
        "bb00000000-s1 is left out: it is not finished (its status is failed).",
    )


def test_a_run_without_measurements_is_left_out_and_said(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, GAINS)
    (write_run(tmp_path, "bb", 1, {}, GAINS) / "results.jsonl").unlink()
    found = find_runs(tmp_path, "study")
    assert len(found.runs) == 1
    assert found.left_out == ("bb00000000-s1 is left out: it measured no student.",)


def test_a_repetition_takes_the_place_of_the_run_before(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, GAINS)
    write_run(tmp_path, "aa", 1, {}, GAINS, repeat="-r2")
    write_run(tmp_path, "aa", 1, {}, GAINS, repeat="-r10")
    found = find_runs(tmp_path, "study")
    assert [run.run_id for run in found.runs] == ["aa00000000-s1-r10"]
    assert len(found.left_out) == 2
    assert "aa00000000-s1-r2 is left out: aa00000000-s1-r10 repeats it." in found.left_out


def test_a_repetition_on_other_text_is_another_measurement(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, GAINS)
    write_run(tmp_path, "aa", 1, {}, GAINS, repeat="-r2", fingerprint="newer")
    assert len(find_runs(tmp_path, "study").runs) == 2


def test_the_oldest_run_comes_first(tmp_path: Path) -> None:
    write_run(tmp_path, "aa", 1, {}, GAINS, time=2.0)
    write_run(tmp_path, "bb", 1, {}, GAINS, time=1.0)
    assert [run.config_hash[:2] for run in find_runs(tmp_path, "study").runs] == ["bb", "aa"]


def test_a_ranking_of_other_values_is_not_used(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {}, GAINS)
    (path / "before" / "rankings" / "test.parquet").replace(path / "distill" / "rankings" / "test.parquet")
    (run,) = find_runs(tmp_path, "study").runs
    assert run.by_query("distill", "test", MEASURE) is None
    assert run.by_query("before", "test", MEASURE) is None
    assert run.value("before", "test", MEASURE) == pytest.approx(0.35)


def test_a_value_that_is_no_number_counts_as_not_measured(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {}, {"distill": {"test": float("nan")}}, rankings=False)
    assert json.loads((path / "results.jsonl").read_text().splitlines()[-1])["value"] is None
    (run,) = find_runs(tmp_path, "study").runs
    assert run.value("distill", "test", MEASURE) is None
    assert run.by_query("distill", "test", MEASURE) is None


@pytest.mark.parametrize("broken", ["", "{", '{"steps": 1}'])
def test_a_broken_phase_file_has_no_cost(tmp_path: Path, broken: str) -> None:
    path = write_run(tmp_path, "aa", 1, {}, GAINS)
    (path / "distill" / "phase.json").write_text(broken)
    (run,) = find_runs(tmp_path, "study").runs
    assert run.cost("distill") is None


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {}, GAINS)
    (path.parent / "latest").symlink_to(path.name)
    with pytest.raises(InputError, match=r"other: no such folder; .* there are study"):
        find_runs(tmp_path, "other")
    with pytest.raises(InputError, match="there are no runs"):
        find_runs(tmp_path / "nowhere", "study")
    (path / "status.json").write_text("{")
    with pytest.raises(InputError, match=r"no finished run with measurements\. .*its status is unknown"):
        find_runs(tmp_path, "study")


def test_runs_are_read_from_runs_links_and_folders(tmp_path: Path) -> None:
    second = write_run(tmp_path, "aa", 2, {}, GAINS, time=2.0)
    first = write_run(tmp_path, "aa", 1, {}, GAINS, time=1.0)
    other = write_run(tmp_path / "more", "bb", 1, {}, GAINS)
    write_run(tmp_path, "cc", 1, {}, GAINS, status="running")
    study = tmp_path / "study"
    (study / "latest").symlink_to(first.name)
    (study / "sweeps").mkdir()
    (study / "sweeps" / "seed=2").symlink_to(f"../{second.name}")
    assert [run.path for run in read_runs([other, study / "latest", study]).runs] == [other, first, second]
    assert [run.path for run in read_runs([study / "sweeps"]).runs] == [second]
    found = read_runs([study])
    assert [run.path for run in found.runs] == [first, second]
    assert found.left_out == ("cc00000000-s1 is left out: it is not finished (its status is running).",)


def test_a_repetition_given_beside_its_run_replaces_it(tmp_path: Path) -> None:
    first = write_run(tmp_path, "aa", 1, {}, GAINS)
    again = write_run(tmp_path, "aa", 1, {}, GAINS, repeat="-r2")
    found = read_runs([first, again])
    assert [run.path for run in found.runs] == [again]
    assert found.left_out == ("aa00000000-s1 is left out: aa00000000-s1-r2 repeats it.",)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {}, GAINS, status="failed")
    (path.parent / "latest").symlink_to(path.name)
    with pytest.raises(InputError, match=r"runs: .*nowhere is no run and holds none"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=rf"is no run and holds none.* such as {path.parent}$"):
        read_runs([tmp_path])
    with pytest.raises(
        InputError, match=r"^compare.baseline: .* has no finished run \(aa00000000-s1: failed\)"
    ):
        read_runs([path.parent], key="compare.baseline")
    (path / "status.json").write_text(json.dumps({"status": "finished"}))
    (path / "results.jsonl").unlink()
    with pytest.raises(InputError, match=r"runs: no finished run with measurements\. .*measured no student"):
        read_runs([path])


def test_runs_that_go_on_are_taken_on_request(tmp_path: Path) -> None:
    # Without a host and a process id nobody can say that it is dead.
    running = write_run(tmp_path, "aa", 2, {}, GAINS, status="running")
    with pytest.raises(
        InputError, match=r"has no finished run \(aa00000000-s2: running\); task=report shows it with"
    ):
        read_runs([running])
    assert running_runs([running]) == [running.resolve()]
    assert [run.run_id for run in read_runs([running], running=True).runs] == ["aa00000000-s2"]
    (running / "results.jsonl").unlink()
    with pytest.raises(RunsNotMeasured, match="it measured no student"):
        read_runs([running], running=True)


def test_the_run_that_was_begun_last_is_found_in_any_name(tmp_path: Path) -> None:
    old = write_run(tmp_path, "aa", 1, {}, GAINS)
    new = write_run(tmp_path / "nested", "bb", 1, {}, GAINS)
    later = write_run(tmp_path, "cc", 1, {}, GAINS, status="running")
    for started, run in enumerate((old, new, later)):
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps({**status, "started": float(started)}))
    (tmp_path / "study" / "latest").symlink_to(old.name)
    assert newest_run(tmp_path) == new
    assert newest_run(tmp_path, running=True) == later
    with pytest.raises(InputError, match="runs: no finished run in"):
        newest_run(tmp_path / "nowhere")


def test_other_systems_are_read_too(tmp_path: Path) -> None:
    (run,) = read_runs([write_run(tmp_path, "aa", 1, {}, GAINS)]).runs
    record = run.record("baselines", "test", MEASURE, "bm25")
    assert record is not None
    assert record.value == 0.9
    assert run.by_query("baselines", "test", MEASURE, "bm25") is None  # it has no file
    assert list(run.logged) == ["supervised", "distill"]
    (run.path / "next").mkdir()
    (run.path / "next" / "metrics.csv").touch()
    assert list(run.logged) == ["supervised", "distill", "next"]
    (run.path / "first").mkdir()
    (run.path / "first" / "metrics.csv").touch()
    status = json.loads((run.path / "status.json").read_text())
    status["run"] = {**status.get("run", {}), "schedule": ["first", "supervised", "distill", "next"]}
    (run.path / "status.json").write_text(json.dumps(status))
    assert list(run.logged) == ["first", "supervised", "distill", "next"]


def test_the_record_is_of_exact_search_or_of_the_first_way(tmp_path: Path) -> None:
    path = write_run(tmp_path, "aa", 1, {}, {"distill": {"dev": 0.0}})

    def record(*ways: tuple[str, float]) -> float | None:
        lines = (path / "results.jsonl").read_text()
        known = read_records(path / "results.jsonl")[-1]
        append_records(
            path / "results.jsonl",
            [replace(known, split="test", mode=mode, value=value) for mode, value in ways],
        )
        (run,) = find_runs(tmp_path, "study").runs
        (path / "results.jsonl").write_text(lines)
        return run.value("distill", "test", MEASURE)

    assert record(("muvera", 0.2), ("exact", 0.5), ("exact", 0.6)) == 0.6
    assert record(("muvera", 0.2), ("plaid", 0.3), ("muvera", 0.4)) == 0.4
