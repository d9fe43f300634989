"""What real runs leave in W&B's offline files, and that the same rows come back from there."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning.loggers import WandbLogger

from colbert_lab import records
from colbert_lab.run.mirroring import Curves
from colbert_lab.tracking.tracker import read_points
from colbert_lab.tracking.tracking import STEP
from tests.command import Outcome, command, the_run
from tests.toy import toy_overrides, write_toy
from tests.tracking.offline import artifacts, finished_run
from tests.tracking.wandb_file import WandbRun


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def sweep(tiny_bert: Path, toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Two cells of a multirun, the second of which takes its first phase over from the first."""
    outputs = tmp_path_factory.mktemp("outputs")
    outcome = command("-m", *arguments(tiny_bert, toy, outputs), "phases.second.optimizer.lr=1e-4,1e-3")
    assert outcome.status == 0, outcome.err
    return outputs, outcome


def arguments(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    return [
        *toy_overrides(tiny_bert, toy, outputs),
        "tracking=offline",
        "tracking.tags=[toys]",
        "+phase@phases.second=distill",
        "schedule=[distill,second]",
        "phases.second.objective.distillation.teacher.temperature=1",
        "phases.second.epochs=null",
        "phases.second.steps=2",
        "phases.second.batch_size=4",
        "phases.second.n_way=4",
        "phases.second.log_every=1",
        "evaluation.measures=[ndcg@10]",
    ]


def cell(outputs: Path, lr: str) -> Path:
    return (outputs / "toy" / "sweeps" / f"lr={lr}").resolve()


def wandb_files(run: Path) -> dict[str, Path]:
    return {finished_run(file).job_type: file for file in sorted(run.rglob("run-*.wandb"))}


def phases(run: Path) -> dict[str, WandbRun]:
    return {phase: finished_run(file) for phase, file in wandb_files(run).items()}


def logged_points(run: WandbRun) -> list[tuple[int, dict[str, float]]]:
    curve = [row for row in run.history if not any(key.startswith(("tables/", "report/")) for key in row)]
    return [
        (row[STEP], {key: value for key, value in row.items() if not key.startswith("_") and key != STEP})
        for row in curve
    ]


def plain(source: Path) -> list[dict[str, Any]]:
    return [record.to_dict() for record in records.load(source)]


def test_the_rows_come_back_from_copied_offline_files(sweep: tuple[Path, Outcome], tmp_path: Path) -> None:
    outputs, _ = sweep
    rows = plain(outputs)
    # bm25, before and two phases, on test and dev, in two runs
    assert len(rows) == 2 * 4 * 2
    for run in (cell(outputs, "0.0001"), cell(outputs, "0.001")):
        shutil.copytree(run / "wandb", tmp_path / "elsewhere" / run.name / "wandb", symlinks=False)
    assert not list((tmp_path / "elsewhere").rglob("status.json"))
    assert plain(tmp_path / "elsewhere") == rows


def test_each_phase_has_a_run_of_its_own_grouped_and_tagged(sweep: tuple[Path, Outcome]) -> None:
    outputs, _ = sweep
    for lr in ("0.0001", "0.001"):
        run = cell(outputs, lr)
        found = phases(run)
        assert set(found) == {"distill", "second"}
        for tracked in found.values():
            assert tracked.group == f"toy {run.name.split('-')[0]}"
            assert tracked.config["run_id"] == run.name
            assert not {"compare", "mine", "report", "out"} & tracked.config.keys()
            assert set(tracked.tags) == {"toys", "sweep:toy", f"lr={lr}"}
            assert tracked.config["phases"]["second"]["optimizer"]["lr"] == float(lr)


def test_each_phase_has_a_table_of_its_queries(sweep: tuple[Path, Outcome]) -> None:
    outputs, _ = sweep
    for tracked in phases(cell(outputs, "0.001")).values():
        (stored,) = (row["tables/by query"] for row in tracked.history if "tables/by query" in row)
        assert stored["ncols"] == 6
        assert stored["nrows"] >= 12


def test_the_last_phase_has_the_pictures_of_the_page(sweep: tuple[Path, Outcome]) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")
    outputs, _ = sweep
    files = wandb_files(cell(outputs, "0.001"))
    assert not any(key.startswith("report/") for row in finished_run(files["distill"]).history for key in row)
    (row,) = (row for row in finished_run(files["second"]).history if "report/loss" in row)
    found = {key.removeprefix("report/"): value for key, value in row.items() if key.startswith("report/")}
    assert set(found) == {"differences", "loss", "dev", "lr", "speed", "quality_cost", "lineage"}
    pages = [(files["second"].parent / "files" / each["path"]).read_text() for each in found.values()]
    assert all("<svg" in page and "<figcaption>" in page for page in pages)


def test_curves_are_those_on_disk_also_of_a_phase_taken_over(sweep: tuple[Path, Outcome]) -> None:
    outputs, _ = sweep
    for lr in ("0.0001", "0.001"):
        run = cell(outputs, lr)
        for phase, tracked in phases(run).items():
            on_disk = [(step, values) for step, _, values in read_points(run / phase / "metrics.csv")]
            assert logged_points(tracked) == on_disk
            names = {name for _, values in on_disk for name in values}
            assert names >= {
                "train/loss", "train/gradient_norm", "train/tokens_per_second", "train/queries_per_second",
            }  # fmt: skip
    assert json.loads((run / "distill" / "phase.json").read_text())["reused_from"]


def test_the_summary_has_cost_audits_origin_and_measures(sweep: tuple[Path, Outcome]) -> None:
    outputs, _ = sweep
    run = cell(outputs, "0.001")
    for phase, tracked in phases(run).items():
        for key, value in json.loads((run / phase / "phase.json").read_text()).items():
            assert tracked.summary[f"phase/{key}"] == value
    first = cell(outputs, "0.0001")
    assert phases(run)["distill"].summary["phase/reused_from"] == first.name
    assert phases(run)["distill"].summary["phase/parent"] == "untrained"
    assert phases(run)["second"].summary["phase/parent"] == "distill"
    summary = phases(run)["second"].summary
    for record in records.load(run):
        who = record.phase if record.system == "student" else record.system
        assert summary[f"{who}/{record.split}/{record.measure}"] == pytest.approx(record.value, abs=1e-12)


def test_artifacts_link_scores_parents_and_students(sweep: tuple[Path, Outcome], toy: Path) -> None:
    outputs, _ = sweep
    first, second = cell(outputs, "0.0001"), cell(outputs, "0.001")
    made = f"student-{first.name}-distill"
    scores = [("scores", True)]
    for run, phase, expected in (
        (first, "distill", [("student", False)]),
        (first, "second", [("student", True), ("student", False)]),
        (second, "distill", [("student", True)]),
        (second, "second", [("student", True), ("student", False)]),
    ):
        found = artifacts(wandb_files(run)[phase])
        assert [(each.type, each.use_after_commit) for each in found if each.type != "run_table"] == [
            *scores, *expected,
        ]  # fmt: skip
        students = [each.name for each in found if each.type == "student"]
        assert students[0] == made
        assert students[1:] == ([f"student-{run.name}-second"] if phase == "second" else [])
        (reference,) = found[0].manifest.contents
        assert reference.ref == (toy / "lists.jsonl").resolve().as_uri()


def test_the_command_that_uploads_is_logged(sweep: tuple[Path, Outcome]) -> None:
    outputs, outcome = sweep
    for run in (cell(outputs, "0.0001"), cell(outputs, "0.001")):
        for file in wandb_files(run).values():
            assert f"wandb sync {file.parent}\n" in outcome.err


def test_phases_finished_before_a_kill_are_whole_in_the_newest_folder(
    sweep: tuple[Path, Outcome], tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(sweep[0], outputs, symlinks=True)
    run = cell(outputs, "0.001")
    rows = plain(run)
    shutil.rmtree(run / "wandb")
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "failed"}))
    again = command(*arguments(tiny_bert, toy, outputs), "phases.second.optimizer.lr=0.001")
    assert again.status == 0, again.err
    assert "second: finished before, not trained again" in again.err
    assert plain(run) == rows
    assert plain(run / "wandb") == rows
    for phase, tracked in phases(run).items():
        on_disk = [(step, values) for step, _, values in read_points(run / phase / "metrics.csv")]
        assert logged_points(tracked) == on_disk
        assert tracked.summary["phase/steps"] == json.loads((run / phase / "phase.json").read_text())["steps"]


def test_runs_are_rebuilt_from_disk(sweep: tuple[Path, Outcome], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(sweep[0], outputs, symlinks=True)
    live = {lr: cell(outputs, lr) for lr in ("0.0001", "0.001")}
    expected = {lr: (phases(run), wandb_files(run)) for lr, run in live.items()}
    for lr, run in live.items():
        (run / "wandb").rename(tmp_path / f"live-{lr}")
    done = command("task=runs", f"output_dir={outputs}", "to=wandb", "tracking=offline", "progress=false")
    assert done.status == 0, done.err
    assert "W&B (offline): W&B runs written, one a phase: 4; of runs: 2" in done.err
    for lr, run in live.items():
        before, files = expected[lr]
        after = phases(run)
        assert set(after) == {"distill", "second"}
        for phase, tracked in after.items():
            same = ("run_id", "name", "group", "job_type", "project", "config", "finished")
            assert [getattr(tracked, key) for key in same] == [getattr(before[phase], key) for key in same]
            assert set(tracked.tags) == set(before[phase].tags)
            assert logged_points(tracked) == logged_points(before[phase])
            assert measures(tracked) == measures(before[phase])
            assert set(tracked.summary) == set(before[phase].summary)
            live_file = tmp_path / f"live-{lr}" / files[phase].relative_to(run / "wandb")
            names = [
                sorted((each.name, each.type, each.use_after_commit, each.digest) for each in artifacts(file))
                for file in (wandb_files(run)[phase], live_file)
            ]
            assert [n for n in names[0] if n[1] != "run_table"] == [
                n for n in names[1] if n[1] != "run_table"
            ]
            assert f"wandb sync {wandb_files(run)[phase].parent}" in done.err
        assert plain(run / "wandb") == plain(run)


def measures(run: WandbRun) -> dict[str, Any]:
    return {key: value for key, value in run.summary.items() if "@" in key or key.startswith("phase/")}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["to=pylate"], "error: to=pylate: task=runs writes runs to wandb alone"),
        (["to=wandb", "tracking=off"], "error: tracking.mode=off: nothing is written to W&B"),
        (["to=wandb", "tracking=offline", "tracking.tags=['']"], "error: tracking.tags: '' has 0 characters"),
        (["to=wandb", "tracking.mode=cloud"], "error: tracking.mode=cloud: must be one of"),
    ],
)
def test_bad_input_of_a_rebuild_is_one_line(
    sweep: tuple[Path, Outcome], arguments: list[str], part: str
) -> None:
    before = set(sweep[0].rglob("*"))
    outcome = command("task=runs", f"output_dir={sweep[0]}", *arguments)
    assert outcome.status == 2
    assert part in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert set(sweep[0].rglob("*")) == before


def test_points_that_a_wandb_run_has_are_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int | None] = []
    monkeypatch.setattr(WandbLogger, "log_metrics", lambda self, metrics, step: sent.append(step))
    for resumed, expected in ((True, [5, 6]), (False, [3, 4, 5, 6])):
        sent.clear()
        curves = Curves(SimpleNamespace(resumed=resumed, summary={STEP: 5}))
        for step in (3, 4, 5, 6):  # killed at 5, goes on from the checkpoint at 2
            curves.log_metrics({"train/loss": 1.0}, step)
        assert sent == expected


def test_a_resumed_phase_is_whole_in_the_newest_folder(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    from colbert_lab.training.module import StudentModule

    given = [*toy_overrides(tiny_bert, toy, tmp_path), "tracking=offline", "evaluation=none"]
    given = [each for each in given if not each.startswith("evaluation.")]
    steps = iter(range(100))
    point = StudentModule.point

    def dies(module: StudentModule) -> dict[str, float]:
        if next(steps) == 4:
            raise RuntimeError("power cut")
        return point(module)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StudentModule, "point", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            command(*given)
    run = the_run(tmp_path, "toy")
    (cut,) = [finished_run(file) for file in run.rglob("run-*.wandb")]
    assert [step for step, _ in logged_points(cut)] == [1, 2, 3, 4]
    before = set(run.rglob("run-*.wandb"))
    time.sleep(1.1)  # W&B names folders by the second
    assert command(*given).status == 0
    (file,) = set(run.rglob("run-*.wandb")) - before
    on_disk = [(step, values) for step, _, values in read_points(run / "distill" / "metrics.csv")]
    assert logged_points(finished_run(file)) == on_disk
    assert [step for step, _ in on_disk] == [1, 2, 3, 4, 5, 6]
