"""Folders that are made in parts."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.parts import UnfinishedFolder


def table(n: int) -> pa.Table:
    return pa.table({"n": [n, n + 1]}).replace_schema_metadata({"report": json.dumps({"part": n})})


def folder_of(
    out: Path, parts: int = 3, finishing: dict[str, Any] | None = None, **identity: Any
) -> UnfinishedFolder:
    return UnfinishedFolder(out, {"depth": 5, "filter": {"ratio": None}, **identity}, parts, finishing)


def fill(path: Path) -> None:
    path.mkdir()
    (path / "content").write_text("all of it")


def test_only_missing_parts_are_done_and_all_are_read_in_order(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out")
    with folder.opened():
        for part in (2, 0):
            folder.write(part, table(part))
    again = folder_of(tmp_path / "out")
    assert not again.finished()
    with again.opened():
        assert again.missing() == [1]
        again.write(1, table(1))
        read = list(again.read())
        assert [t["n"].to_pylist() for t in read] == [[0, 1], [1, 2], [2, 3]]
        assert [json.loads(t.schema.metadata[b"report"])["part"] for t in read] == [0, 1, 2]
        assert not (tmp_path / "out").exists()
        again.finish(fill)
    assert again.finished()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert (tmp_path / "out" / "content").read_text() == "all of it"


def test_what_a_killed_process_was_writing_is_removed_and_a_folder_that_cannot_be_locked_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_of(tmp_path / "out", 2)
    with folder.opened():
        folder.write(0, table(0))
    (folder.path / ".part-000001.parquet.abc_1234.tmp").touch()
    with folder.opened():
        assert folder.missing() == [1]
        assert {path.name for path in folder.path.iterdir()} == {
            "identity.json",
            "lock",
            "part-000000.parquet",
        }
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with folder.opened():
        folder.write(1, table(1))
    assert "out.unfinished cannot be locked; start no other command that makes it" in caplog.text


def test_another_identity_is_an_error_that_says_what_differs(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out")
    with folder.opened():
        folder.write(0, table(0))
    other = folder_of(tmp_path / "out", depth=6, filter={"ratio": 0.9})
    said = r"depth: 5 there, 6 here; filter\.ratio: None there, 0\.9 here\)"
    with (
        pytest.raises(
            InputError,
            match=rf"^out: .*unfinished holds parts made with other settings or libraries \({said}",
        ),
        other.opened(),
    ):
        pass
    assert len(list((tmp_path / "out.unfinished").glob("part-*"))) == 1
    with folder.opened():
        folder.finish(fill)
    with pytest.raises(InputError, match=rf"^out: .*out was made with other settings \({said}"):
        other.finished()
    with pytest.raises(InputError, match=r"parts: 3 there, 4 here"):
        folder_of(tmp_path / "out", parts=4).finished()


def test_parts_of_another_version_of_a_library_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.metadata.version

    def older(name: str) -> str:
        return "0.1" if name == "tokenizers" else known(name)

    with monkeypatch.context() as patched:
        patched.setattr("importlib.metadata.version", older)
        folder = folder_of(tmp_path / "out", 1)
        with folder.opened():
            folder.write(0, table(0))
    later = folder_of(tmp_path / "out", 1)
    said = rf"libraries \(libraries\.tokenizers: '0\.1' there, '{known('tokenizers')}' here\); delete it, or choose"
    with pytest.raises(InputError, match=said), later.opened():
        pass
    with folder.opened():
        folder.finish(fill)
    assert later.finished()


def test_a_folder_without_a_part_is_taken_away_and_binds_nobody(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model"), folder_of(tmp_path / "out").opened():
        raise InputError("no model")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out.unfinished").mkdir()
    (tmp_path / "out.unfinished" / "identity.json").write_text('{"depth": 1}')  # killed before its first part
    folder = folder_of(tmp_path / "out", 1)
    with folder.opened():
        folder.write(0, table(0))
    with folder.opened():
        assert folder.missing() == []


def test_parts_are_kept_when_only_the_finishing_changes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", 1, {"short": "error"})
    with folder.opened():
        folder.write(0, table(0))
    other = folder_of(tmp_path / "out", 1, {"short": "keep"})
    with other.opened():
        assert other.missing() == []
        other.finish(fill)
    assert other.finished()
    with pytest.raises(InputError, match=r"short: 'keep' there, 'error' here"):
        folder.finished()


def test_something_else_in_its_place_is_an_error_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert not folder_of(out).finished()
    (out / "mine").write_text("precious")
    with pytest.raises(InputError, match=r"^out: .* exists and is not such a folder"):
        folder_of(out).finished()
    assert (out / "mine").read_text() == "precious"


def test_a_failed_finish_keeps_the_parts(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", 1)

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("half")
        raise OSError("no space")

    with folder.opened():
        folder.write(0, table(0))
        with pytest.raises(OSError, match="no space"):
            folder.finish(fail)
    assert not (tmp_path / "out").exists()
    with folder.opened():
        assert folder.missing() == []
        folder.finish(fill)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"content", "identity.json"}


def test_two_processes_do_not_work_on_one_folder(tmp_path: Path) -> None:
    folder, other = folder_of(tmp_path / "out"), folder_of(tmp_path / "out")
    with folder.opened(), pytest.raises(InputError, match=r"^out: another process is making"), other.opened():
        pass
    with other.opened():
        pass


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", 1)
    with folder.opened():
        folder.write(0, table(0))
        (file,) = (tmp_path / "out.unfinished").glob("part-*")
        file.write_bytes(file.read_bytes()[:-20])
        with pytest.raises(InputError, match=r"part-000000\.parquet cannot be read .* delete it"):
            list(folder.read())


def test_what_a_kill_after_the_rename_leaves_is_cleared(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "out", 1)
    with folder.opened():
        folder.write(0, table(0))
        shutil.copytree(tmp_path / "out.unfinished", tmp_path / "kept")
        folder.finish(fill)
    shutil.move(tmp_path / "kept", tmp_path / "out.unfinished")
    assert folder.finished()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_what_a_kill_amid_the_removal_of_parts_leaves_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What says whose they are goes last; of a folder without it and without parts, nothing is left to know."""
    folder = folder_of(tmp_path / "out", 2)
    removed: list[str] = []
    unlink = os.unlink

    def noted(path: Any, **given: Any) -> None:
        removed.append(Path(path).name)
        unlink(path, **given)

    with folder.opened():
        for part in range(2):
            folder.write(part, table(part))
        monkeypatch.setattr(os, "unlink", noted)
        folder.finish(fill)
    assert sorted(removed[-4:-1]) == ["lock", "part-000000.parquet", "part-000001.parquet"]
    assert removed[-1] == "identity.json"
    (tmp_path / "out.unfinished").mkdir()
    assert folder.finished()
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
