"""Which folder a run gets, and who may work in it."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.records.lineage import find_phase
from colbert_lab.records.owner import LOCK_FILE, OLD, executing
from colbert_lab.records.run_directory import (
    STATUS_FILE,
    RunDirectory,
    find_run,
    next_run,
    runs_named,
)

PHASE: dict[str, Any] = {
    **dict.fromkeys(("steps", "seconds", "queries", "tokens", "padded_tokens"), 1),
    **{"teacher_entropy": None, "prompt_mismatch": None, "truncation": {}},
}
HASH = "0123456789abcdef"
FIRST = "0123456789-s1"


def find(outputs: Path, reuse: bool = True, seed: int = 1, config_hash: str = HASH) -> RunDirectory:
    return find_run(outputs, "kd", config_hash, seed, reuse)


def leave(outputs: Path, name: str, status: str) -> None:
    """What a process that is gone left of a run."""
    folder = outputs / "kd" / name
    folder.mkdir(parents=True)
    left = {"status": status, "pid": dead_process(), "host": socket.gethostname()}
    (folder / STATUS_FILE).write_text(json.dumps(left), encoding="utf-8")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_new_run_gets_the_folder_of_its_config_and_seed(tmp_path: Path) -> None:
    run = find(tmp_path)
    assert (run.path, run.run_id) == (tmp_path / "kd" / FIRST, FIRST)
    assert run.status() == {}
    assert not run.finished
    assert list((tmp_path / "kd").iterdir()) == [], "looking for a run leaves nothing behind"


@pytest.mark.parametrize("status", ["running", "failed"])
@pytest.mark.parametrize("reuse", [True, False])
def test_an_unfinished_run_is_resumed(status: str, reuse: bool, tmp_path: Path) -> None:
    leave(tmp_path, FIRST, status)
    run = find(tmp_path, reuse)
    assert run.run_id == FIRST
    assert not run.finished


def test_a_finished_run_is_found_again(tmp_path: Path) -> None:
    leave(tmp_path, FIRST, "finished")
    run = find(tmp_path)
    assert run.run_id == FIRST
    assert run.finished


def test_another_seed_or_config_is_another_run(tmp_path: Path) -> None:
    leave(tmp_path, FIRST, "finished")
    assert find(tmp_path, seed=2).run_id == "0123456789-s2"
    assert find(tmp_path, config_hash="f" * 16).run_id == "ffffffffff-s1"


def test_without_reuse_a_finished_run_is_repeated(tmp_path: Path) -> None:
    leave(tmp_path, FIRST, "finished")
    assert find(tmp_path, reuse=False).run_id == f"{FIRST}-r2"
    leave(tmp_path, f"{FIRST}-r2", "running")
    assert find(tmp_path, reuse=False).run_id == f"{FIRST}-r2"
    assert find(tmp_path).run_id == FIRST, "a finished run goes before an unfinished repetition"
    (tmp_path / "kd" / f"{FIRST}-r2" / STATUS_FILE).write_text('{"status": "finished"}', encoding="utf-8")
    assert find(tmp_path, reuse=False).run_id == f"{FIRST}-r3"
    assert find(tmp_path).run_id == f"{FIRST}-r2", "the newest finished repetition"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for outputs in (file, file / "below"):
        with pytest.raises(
            InputError, match=rf"^output_dir: cannot write to {outputs}/kd .*output_dir=\.\.\."
        ):
            find(outputs)


def test_a_run_goes_from_running_to_finished(tmp_path: Path) -> None:
    run = find(tmp_path)
    run.start()
    started = run.status()
    assert (started["status"], started["pid"], started["host"]) == (
        "running",
        os.getpid(),
        socket.gethostname(),
    )
    run.end("finished")
    ended = run.status()
    assert run.finished
    assert (ended["started"], ended["error"]) == (started["started"], None)
    assert (ended["ended"] or 0.0) >= (ended["started"] or 0.0) > 0.0


def test_a_failed_run_keeps_its_error_and_starts_again(tmp_path: Path) -> None:
    run = find(tmp_path)
    run.start()
    run.end("failed", "OSError: No space left on device")
    assert not run.finished
    assert run.status()["error"] == "OSError: No space left on device"
    find(tmp_path).start()
    assert run.status()["status"] == "running"


def test_what_run_it_is_stays_until_it_starts_again(tmp_path: Path) -> None:
    run = find(tmp_path)
    run.start(seed=1, factors={"lr": "1"})
    assert run.status()["run"] == {"seed": 1, "factors": {"lr": "1"}}
    run.end("failed", "OSError")
    assert run.status()["run"] == {"seed": 1, "factors": {"lr": "1"}}
    run.start()
    assert "run" not in run.status()


def test_whether_a_process_lives_is_known_on_its_own_machine_alone() -> None:
    here = {"host": socket.gethostname()}
    assert executing({**here, "pid": os.getppid()}) is True
    assert executing({**here, "pid": dead_process()}) is False
    assert executing({**here, "pid": os.getpid()}) is False, "this process is doing something else"
    assert executing({"host": "another", "pid": os.getppid()}) is None
    assert executing(here) is None
    assert executing({}) is None


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A live process that is executing the run."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom colbert_lab.records.run_directory import find_run\n"
        f"find_run(Path(sys.argv[1]), 'kd', {HASH!r}, 1, True).start()\nprint('started', flush=True)\ninput()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_of_a_live_process_is_refused_and_of_a_dead_one_taken_over(
    other_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    run = find(tmp_path)
    with pytest.raises(InputError, match=rf"{FIRST} is being executed by process {other_process.pid} of "):
        run.start()
    assert run.status()["pid"] == other_process.pid
    assert executing(run.status(), run.path) is True
    other_process.kill()
    other_process.wait()
    run.start()
    assert (run.status()["pid"], run.status()["status"]) == (os.getpid(), "running")


def test_a_process_of_another_host_cannot_be_asked(
    other_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    run = find(tmp_path)
    status = run.path / STATUS_FILE
    status.write_text(json.dumps(run.status() | {"host": "another"}), encoding="utf-8")
    with pytest.raises(InputError, match="is being executed"):
        run.start()  # but its lock can be seen
    assert executing(run.status(), run.path) is True
    (run.path / LOCK_FILE).unlink()
    assert executing(run.status(), run.path) is None
    run.start()
    assert run.status()["pid"] == os.getpid()


@pytest.mark.parametrize("locks", [True, False])
def test_a_process_id_that_another_process_has_by_now(
    locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run was killed; its process id is that of a process that began later, or of one that has ended too."""
    if not locks:
        unable = OSError(errno.ENOLCK, "No locks available")
        monkeypatch.setattr("fcntl.flock", Mock(side_effect=unable))
    later = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run = find(tmp_path)
        run.path.mkdir(parents=True)
        (run.path / LOCK_FILE).touch()
        left = {"status": "running", "pid": later.pid, "host": socket.gethostname()}
        (run.path / STATUS_FILE).write_text(json.dumps(left | {"started": time.time() - 60}))
        assert executing(run.status(), run.path) is False
        later.kill()
        os.waitid(os.P_PID, later.pid, os.WEXITED | os.WNOWAIT)  # its parent has not asked for it
        (run.path / STATUS_FILE).write_text(json.dumps(left | {"started": time.time() + 60}))
        assert executing(run.status(), run.path) is False
        run.start()
        assert run.status()["pid"] == os.getpid()
        assert ("cannot be locked" in caplog.text) is not locks
    finally:
        later.kill()
        later.wait()
        run.end("failed")


def test_a_lock_ends_with_its_process_and_not_with_the_children(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom colbert_lab.records.run_directory import find_run\n"
        f"find_run(Path(sys.argv[1]), 'kd', {HASH!r}, 1, True).start()\n"
        "if not os.fork():\n    print(os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        run = find(tmp_path)
        assert executing(run.status(), run.path) is False
        run.start()
        run.end("failed")
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(
    other_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    """By the next run of the same name: in its own folder, in those of killed runs, beside them."""
    alive, killed, mine = find(tmp_path), find(tmp_path, seed=2), find(tmp_path, seed=3)
    gone: list[Path] = []
    kept: list[Path] = []
    for run, left in ((alive, kept), (killed, gone), (mine, gone)):
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / LOCK_FILE).touch()
        (run.path / "distill" / ".student.ab_12xyz.tmp").mkdir(parents=True)
        left += [run.path / "distill" / ".student.ab_12xyz.tmp", run.path / ".splits.json.abcdefgh.tmp"]
        left[-1].touch()
        for name in ("notes.tmp", ".mine.tmp", "run.log"):
            kept.append(run.path / name)
            kept[-1].touch()
        for size, folders in ((7, left), (8, kept)):
            folder = run.path / "wandb" / f"offline-run-{size}"
            folder.mkdir(parents=True)
            (folder / "run-x.wandb").write_bytes(b"0" * size)
            folders.append(folder)
    for named, age, links in ((".latest.0123456789ab", 2 * OLD, gone), (".latest.ba9876543210", 0, kept)):
        link = tmp_path / "kd" / named
        link.symlink_to(killed.path.name)
        os.utime(link, (time.time() - age,) * 2, follow_symlinks=False)
        links.append(link)
    mine.start()
    assert [path for path in gone if os.path.lexists(path)] == []
    assert [path for path in kept if not os.path.lexists(path)] == []
    mine.end("finished")
    assert not (mine.path / LOCK_FILE).exists()
    assert executing({"host": socket.gethostname()}, killed.path) is False


def test_latest_is_a_link_to_the_run_that_started_last(tmp_path: Path) -> None:
    one, two = find(tmp_path, seed=1), find(tmp_path, seed=2)
    link = tmp_path / "kd" / "latest"
    one.start()
    assert link.resolve() == one.path.resolve()
    two.start()
    assert link.resolve() == two.path.resolve()
    one.end("finished")
    assert link.resolve() == two.path.resolve()
    assert not link.readlink().is_absolute(), "the outputs can be moved"
    assert sorted(path.name for path in (tmp_path / "kd").iterdir()) == [one.run_id, two.run_id, "latest"]


def test_the_next_repetition(tmp_path: Path) -> None:
    second = next_run(find(tmp_path))
    assert (second.path, second.run_id) == (tmp_path / "kd" / f"{FIRST}-r2", f"{FIRST}-r2")
    assert next_run(second).run_id == f"{FIRST}-r3"


def test_runs_that_are_written_alike(tmp_path: Path) -> None:
    for name, named in (("one", "alike"), ("two", "other"), ("three", None)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / STATUS_FILE).write_text(json.dumps({"status": "finished", "run": {"named": named}}))
    (tmp_path / "latest").symlink_to("one")
    assert runs_named(tmp_path, "alike") == [tmp_path / "one"]


def test_phases_of_nested_names_are_found(tmp_path: Path) -> None:
    for name in ("kd", "study/kd"):
        folder = tmp_path / name / FIRST / "distill"
        (folder / "student").mkdir(parents=True)
        (folder / "phase.json").write_text(json.dumps(PHASE | {"phase_hash": name}))
        assert find_phase(tmp_path, name) == folder
