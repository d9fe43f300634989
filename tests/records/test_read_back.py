"""Records read back: the same from run folders, W&B's files and its server."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import wandb

from colbert_lab import records
from colbert_lab.base.errors import InputError
from colbert_lab.records.records import Record
from tests.records.run_folders import write_run


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    gains = {"distill": {"test": 0.1, "dev": 0.2}}
    for config, seed in (("aa", 1), ("aa", 2), ("bb", 1)):
        write_run(tmp_path / "outputs", config, seed, {"lr": config}, gains, rankings=False, time=seed * 10.0)
    return tmp_path / "outputs"


def mirrored(outputs: Path, target: Path) -> Path:
    """W&B's folders as they are laid out, each run in two of them: one from before it was resumed."""
    for number, file in enumerate(sorted(outputs.rglob("results.jsonl"))):
        lines = file.read_text().splitlines(keepends=True)
        for again in (0, 1):
            folder = target / "deep" / f"offline-run-20260101_00000{again}-{file.parent.name}-{number}"
            (folder / "files").mkdir(parents=True)
            (folder / "run-x.wandb").write_bytes(b"not read")
            (folder / "files" / "results.jsonl").write_text("".join(lines if again else lines[:3]))
    return target


def plain(records: list[Record]) -> list[dict[str, Any]]:
    return [record.to_dict() for record in records]


def test_the_same_rows_from_folders_of_runs_and_of_wandb(outputs: Path, tmp_path: Path) -> None:
    rows = records.load(outputs)
    assert len(rows) == 3 * 6
    assert plain(records.load(mirrored(outputs, tmp_path / "copy"))) == plain(rows)
    assert [row.run_id for row in rows[::6]] == ["aa00000000-s1", "aa00000000-s2", "bb00000000-s1"]


def test_the_order_is_not_that_of_the_files(outputs: Path) -> None:
    rows = plain(records.load(outputs))
    for file in outputs.rglob("results.jsonl"):
        file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert plain(records.load(outputs)) == rows


def test_one_run_or_name_alone(outputs: Path) -> None:
    one = records.load(outputs, run_id="aa00000000-s2")
    assert {row.run_id for row in one} == {"aa00000000-s2"}
    assert plain(records.load(outputs / "study" / "aa00000000-s2")) == plain(one)
    assert records.load(outputs, name="other") == []
    assert len(records.load(outputs, name="study")) == 18


def test_of_two_that_say_the_same_the_newest_counts(outputs: Path) -> None:
    file = outputs / "study" / "aa00000000-s1" / "results.jsonl"
    first = json.loads(file.read_text().splitlines()[0])
    changed = {**first, "time": first["time"] + 1, "value": 0.125}
    file.write_text(json.dumps(changed) + "\n" + file.read_text())
    rows = records.load(outputs, run_id="aa00000000-s1")
    assert len(rows) == 6
    assert sorted(row.value for row in rows if row.system == "bm25") == [0.125, 0.9]  # of two splits


def test_damage_is_skipped_with_a_warning(
    outputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = mirrored(outputs, tmp_path / "copy")
    for file in copy.rglob("*-s2-*/files/results.jsonl"):
        file.write_bytes(file.read_bytes()[:-20])
    broken = sorted(copy.rglob("offline-run-*"))[-1] / "files" / "results.jsonl"
    broken.unlink()
    broken.mkdir()
    with caplog.at_level(logging.WARNING):
        rows = records.load(copy)
    assert "is skipped, it is not a whole record" in caplog.text
    assert len(rows) == 6 + 5 + 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", r"nowhere: no such folder"),
        (".", r"no run and no W&B run in it"),
        ("wandb:", r"^wandb:: must be wandb:ENTITY/PROJECT$"),
        ("wandb:a/b/c", r"must be wandb:ENTITY/PROJECT"),
    ],
)
def test_what_cannot_be_read_is_said(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        records.load(source)


class FakeFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def download(self, root: str, replace: bool) -> Any:
        Path(root).mkdir(parents=True, exist_ok=replace)
        shutil.copyfile(self.path, Path(root) / self.path.name)
        return (Path(root) / self.path.name).open()


class FakeRun:
    def __init__(self, folder: Path) -> None:
        self.folder, self.id = folder, folder.name

    def files(self, names: list[str]) -> list[FakeFile]:
        return [FakeFile(path) for name in names if (path := self.folder / "files" / name).is_file()]


class FakeApi:
    folder: ClassVar[Path]
    asked: ClassVar[list[tuple[str, Mapping[str, Any]]]]

    def runs(self, project: str, filters: Mapping[str, Any]) -> list[FakeRun]:
        self.asked.append((project, filters))
        if project == "me/none":
            raise ValueError("Could not find project none")
        return [FakeRun(path) for path in sorted(self.folder.rglob("offline-run-*"))]


@pytest.fixture
def server(outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    """A stand-in for ``wandb.Api`` with the two calls that are made; no W&B server and no network is used."""
    FakeApi.folder, FakeApi.asked = mirrored(outputs, tmp_path / "copy"), []
    monkeypatch.setattr(wandb, "Api", FakeApi)
    return FakeApi


def test_the_same_rows_from_the_server(server: type[FakeApi], outputs: Path) -> None:
    assert plain(records.load("wandb:me/lab")) == plain(records.load(outputs))
    one = records.load("wandb:me/lab", name="study", run_id="bb00000000-s1")
    assert plain(one) == plain(records.load(outputs, run_id="bb00000000-s1"))
    either = [{"config.run_id": "bb00000000-s1"}, {"group": "bb00000000-s1"}]
    assert server.asked == [("me/lab", {}), ("me/lab", {"$or": either, "config.name": "study"})]


def test_a_project_that_is_not_there_is_said(server: type[FakeApi]) -> None:
    with pytest.raises(InputError, match=r"^wandb:me/none: cannot be read from W&B: Could not find project"):
        records.load("wandb:me/none")
