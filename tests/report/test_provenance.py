"""Settings, commands, checks and runs of a page."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from colbert_lab.report.headline import headline
from colbert_lab.report.provenance import checks, commands, runs_table, settings_table
from tests.report.support import a_sweep, compared, one_run, set_config


def test_settings_that_differ_are_told_and_seeds_and_paths_are_not(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    for number, run in enumerate(runs):
        set_config(
            run, seed=number, cache_dir=str(run), student={"dim": 8 * (number // 2)}, same=[1, {"a": None}]
        )
    table = settings_table(compared(*runs).configurations)
    assert table is not None
    assert table.columns == ("setting", "f0=0, f1=0", "f0=1, f1=0", "f0=0, f1=1", "f0=1, f1=1")
    assert table.rows == (("student.dim", "0", "8", "16", "24"),)
    assert settings_table(compared(runs[0]).configurations) is None


def test_other_content_at_the_same_place_is_told(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)[:4]
    for number, run in enumerate(runs):
        set_config(run, data="x")
        (run / "contents.json").write_text(json.dumps({"data": {"value": "x", "content": str(number // 2)}}))
    table = settings_table(compared(*runs).configurations)
    assert table is not None
    assert table.notes == ("f0=1: what is at data is not what the first one read.",)


def test_commands_are_what_was_typed_with_all_seeds(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    for run in runs:
        set_config(run, **{"a": "b c", "seed": 1})
    ((title, command), *_) = commands(compared(*runs).configurations)
    assert title == "f0=0, f1=0"
    assert shlex.split(command) == [
        *["python", "-m", "colbert_lab", "-m", "+experiment=kd"],
        "a=b c",
        "seed=1,2",
    ]


def test_commands_name_the_folders_of_ones_own_configs(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    set_config(run, a=1)
    status = json.loads((run / "status.json").read_text())
    status["run"]["config_dirs"] = ["/my conf"]
    (run / "status.json").write_text(json.dumps(status))
    ((_, command),) = commands(compared(run).configurations)
    assert command == "python -m colbert_lab --config-dir '/my conf' +experiment=kd a=1 seed=1"


def test_commands_of_older_runs_have_their_factors(tmp_path: Path) -> None:
    ((_, command),) = commands(compared(one_run(tmp_path)).configurations)
    assert command == "python -m colbert_lab lr=0.1 name=study seed=1"


def test_checks_have_scores_and_warnings(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    (run / "run.log").write_text(
        "2026-01-01 00:00:00,000 WARNING colbert_lab.x: mind this\n2026-01-01 00:00:00,000 INFO colbert_lab.x: no\n"
        "2026-01-01 00:00:00,000 WARNING py.warnings: nobody\n"
        "2026-01-01 00:00:01,000 WARNING colbert_lab.x: mind this\n"
    )
    training, scores, warnings = checks(headline(compared(run)))
    assert training.rows[0][0] == "distill"
    assert [row[0] for row in scores.rows] == ["student before training", "after distill"]
    assert [row[-1] for row in scores.rows] == ["66.7%", "100.0%"]  # told apart: rank 3 and rank 1 of 7
    assert warnings.rows == (("mind this",),)


def test_the_newest_audit_of_the_name_is_told(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    for number, name in enumerate(("study-a", "study-b", "other-c")):
        file = tmp_path / "audit" / name / "audit.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"verdicts": [f"<b>verdict {name}"], "more": 1}))
        os.utime(file, (number, number))
    (audit,) = [table for table in checks(headline(compared(run))) if table.title.startswith("Audit")]
    assert audit.rows == (("<b>verdict study-b",),)
    assert audit.notes[0].startswith(f"The newest audit called study, {tmp_path}/audit/study-b;")


def test_every_run_is_a_row(tmp_path: Path) -> None:
    comparison = compared(*a_sweep(tmp_path))
    runs = [run for each in comparison.configurations.values() for run in each.runs]
    table = runs_table(runs, headline(comparison))
    assert [row[:5] for row in table.rows[:2]] == [
        ("0000000000-s1", "1", "distill", "0.3600", "finished"),
        ("0000000000-s2", "2", "distill", "0.3700", "finished"),
    ]
    assert len(table.rows) == 8
