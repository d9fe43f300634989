"""SIGTERM and Ctrl-C: exit status, the sentence, the status of the run, and that the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import pytest

from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.base.interruptions import Interrupted, ProcessLost
from colbert_lab.base.stopping import (
    GO_ON,
    StopSignal,
    cause,
    end_processes,
    exit_status,
    started,
    stop_asked,
    stopped_by_signals,
)
from colbert_lab.run.cells import run_alone
from tests import forked
from tests.command import Outcome, command, the_run
from tests.toy import toy_overrides, write_toy


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """As in a terminal: a shell has what it starts in the background ignore Ctrl-C, and so do we then."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def signalled(target: str, number: signal.Signals, call: int, given: list[str]) -> Outcome:
    """A command that gets a signal when a function is called for the nth time."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner = resolve_name(":".join([module, ".".join(parents)]) if parents else module)
    real: Callable[..., Any] = getattr(owner, name)
    calls: list[int] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    with patch.object(owner, name, noted):
        outcome = command(*given)
    assert len(calls) >= call, outcome.err
    return outcome


PLACES = {
    "loading": ("colbert_lab.run.run:load_inputs", 1, signal.SIGTERM),
    "encoding": ("colbert_lab.model.colbert:ColBERT.forward", 1, signal.SIGTERM),
    "evaluating": ("colbert_lab.evaluation.evaluator:Evaluator._searched", 2, signal.SIGTERM),
    "training": ("colbert_lab.training.module:StudentModule.training_step", 3, signal.SIGTERM),
    "training, SLURM": ("colbert_lab.training.module:StudentModule.training_step", 5, signal.SIGUSR1),
    "checkpointing, Ctrl-C": ("colbert_lab.training.callbacks:gather_states", 2, signal.SIGINT),
    "saving": ("colbert_lab.training.phase:save_student", 1, signal.SIGTERM),
}
"""By phase of a run: a function that it calls, at which call the signal comes, and which one."""


@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_a_signal_ends(
    place: str, tiny_bert: Path, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, after the step that it is at is saved; SLURM is then asked to start the job again."""
    target, call, number = PLACES[place]
    given = toy_overrides(tiny_bert, toy, tmp_path)
    last = []
    if number == signal.SIGUSR1:
        given.append("phases.distill.accumulation=2")  # the fifth is the first half of step 3
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $* > {tmp_path / 'asked'}\n")
        (tmp_path / "scontrol").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setenv("SLURM_JOB_ID", "74")
        last = ["SLURM will start job 74 again"]
    before = signal.getsignal(signal.SIGTERM)
    outcome = signalled(target, number, call, given)
    assert outcome.status == 128 + number, outcome.err
    stopped = f"stopped by {number.name}; {GO_ON}"
    assert outcome.err.splitlines()[-1 - len(last) :] == [stopped, *last]
    assert not last or (tmp_path / "asked").read_text() == "requeue 74\n"
    assert "Traceback" not in outcome.err
    assert "SystemExit" not in outcome.err
    assert signal.getsignal(signal.SIGTERM) is before
    assert stop_asked() == 0, "what this process trains next would end after a step"
    if place == "loading":
        assert not list(tmp_path.rglob("status.json"))
        return
    run = the_run(tmp_path, "toy")
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["error"]) == ("interrupted", None)
    assert [entry.status for entry in read_ledger(tmp_path)] == ["interrupted"]
    listed = command("task=runs", "ledger.status=interrupted", f"output_dir={tmp_path}")
    assert listed.status == 0, listed.err
    assert f"{run.name}: interrupted; the same command goes on" in " ".join(listed.out.split())
    if place.startswith("training"):
        again = command(*given)
        assert again.status == 0, again.err
        assert "going on from step 3 of 6" in again.err
        assert json.loads((run / "status.json").read_text())["status"] == "finished"


def test_parts_that_are_done_stay(toy: Path, tmp_path: Path) -> None:
    common = [
        f"data.path={toy}",
        "trainer.accelerator=cpu",
        "trainer.threads=1",
        "progress=false",
    ]
    common += [f"output_dir={tmp_path}", f"cache_dir={tmp_path / 'cache'}"]
    tasks = {
        "mine": [
            "data=beir",
            "mine.shares={bm25: 0.75, bi_encoder: 0, random: 0.25}",
            "mine.negatives=4",
            "mine.part=16",
        ],
        "score": [
            "data=scored_lists",
            "data.scores=lists.jsonl",
            "teacher@score.teacher=bm25",
            "score.part=16",
        ],
    }
    for task, more in tasks.items():
        out = tmp_path / task
        given = [f"task={task}", *common, *more, f"out={out}"]
        outcome = signalled("colbert_lab.base.parts:UnfinishedFolder.write", signal.SIGTERM, 2, given)
        assert outcome.status == 143, outcome.err
        assert outcome.err.splitlines()[-1] == f"stopped by SIGTERM; {GO_ON}"
        assert not out.exists()
        assert len(list(tmp_path.glob(f"{task}.unfinished/part-*"))) == 1
        again = command(*given)
        assert again.status == 0, again.err
        assert out.is_dir()


def test_a_sweep_shows_its_table(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = [a for a in toy_overrides(tiny_bert, toy, tmp_path) if "evaluate_every" not in a]
    given += ["evaluation.measures=[ndcg@10]", "seed=1,2,3", "phases.distill.steps=2"]
    step = "colbert_lab.training.module:StudentModule.training_step"
    outcome = signalled(step, signal.SIGTERM, 3, ["-m", *given])
    assert outcome.status == 143, outcome.err
    assert "Sweep: 1 of 2 cells finished" in outcome.out
    assert "1 of 2 cells finished" in (tmp_path / "toy" / "sweeps" / "table.md").read_text()
    first, last = outcome.err.splitlines()[-2:]
    assert first.startswith("error: 1 stopped of 2 cells; the same command skips the finished ones")
    assert last == f"stopped by SIGTERM; {GO_ON}"
    assert sorted(entry.status for entry in read_ledger(tmp_path)) == ["finished", "interrupted"]


def test_the_signal_reaches_a_cell_in_a_process_of_its_own(tmp_path: Path) -> None:
    """A signal to the sweep's process alone ends the cell's too, and its last words are passed on."""
    code = (
        "import sys, time\n"
        "from colbert_lab.base.stopping import stopped_by_signals\n"
        "with stopped_by_signals():\n"
        "    try:\n        print('ready', file=sys.stderr, flush=True)\n        time.sleep(60)\n"
        "    except KeyboardInterrupt as stopped:\n"
        f"        open({str(tmp_path / 'said')!r}, 'w').write(str(stopped))\n"
    )
    written: list[str] = []

    class Terminal:
        def write(self, text: str) -> None:
            written.append(text)
            if "ready" in text:
                os.kill(os.getpid(), signal.SIGTERM)

    with patch.object(sys, "stderr", Terminal()), stopped_by_signals(), pytest.raises(Interrupted):
        run_alone([sys.executable, "-c", code], "{}")
    assert (tmp_path / "said").read_text() == "SIGTERM"


def test_handlers_are_the_command_lines_alone(tiny_bert: Path) -> None:
    """No handler after an import, none in another thread, and a forked child ends without a word."""
    code = "import signal, colbert_lab, colbert_lab.__main__; print(signal.getsignal(signal.SIGTERM))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(signal.SIG_DFL)
    before = signal.getsignal(signal.SIGTERM)
    seen: list[Any] = []

    def elsewhere() -> None:
        with stopped_by_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]
    with stopped_by_signals():
        assert isinstance(signal.getsignal(signal.SIGTERM), StopSignal)
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def lives(pid: int) -> bool:
    """Whether a process has not ended, asked for by its parent or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ended(pid: int, seconds: float = 30) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + seconds
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not lives(pid)


WORKER = [sys.executable, "-c", "import time; time.sleep(120)"]
WAITS = {
    "in Python": "time.sleep(60)",
    "where no Python runs": "lock = ctypes.create_string_buffer(64)\n"
    "        for _ in range(2):\n            ctypes.CDLL(None).pthread_mutex_lock(lock)",
}
ENDS = {
    "worker killed": (signal.SIGKILL, 1, 137, "stopped: the process with rank 1 was ended by SIGKILL, as"),
    "worker stopped": (signal.SIGTERM, 1, 143, "stopped: the process with rank 1 was ended by SIGTERM;"),
    "first stopped": (signal.SIGTERM, 0, 143, "stopped by SIGTERM;"),
}


@pytest.mark.parametrize("waits", WAITS)
@pytest.mark.parametrize("what", ENDS)
def test_the_end_of_one_process_is_that_of_all(what: str, waits: str) -> None:
    code = (
        "import ctypes, subprocess, sys, time\nfrom colbert_lab.base import stopping\n"
        "stopping.PATIENCE = stopping.GRACE = 0.3\n"
        "with stopping.stopped_by_signals():\n    try:\n"
        f"        worker = subprocess.Popen({WORKER!r})\n        stopping.watch([worker])\n"
        f"        print(worker.pid, flush=True)\n        {WAITS[waits]}\n"
        "    except KeyboardInterrupt as stopped:\n        stopping.end_processes()\n"
        "        stopping.say_stopped(stopped)\n        sys.exit(stopping.exit_status(stopped))\n"
    )
    number, who, status, said = ENDS[what]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        worker = int(first.stdout.readline())
        time.sleep(0.3)
        os.kill([first.pid, worker][who], number)
        err = first.communicate(timeout=30)[1]
    assert first.returncode == status, err
    (line,) = err.splitlines()
    assert line.startswith(said)
    assert line.endswith(f"; {GO_ON}")
    assert ended(worker)


def test_a_process_ends_when_the_one_that_started_it_is_gone() -> None:
    """Also where it waits for another one and no Python runs: such processes end by the signal itself."""
    worker = (
        "import ctypes, sys\nfrom colbert_lab.base import stopping\n"
        "with stopping.stopped_by_signals(first=False):\n    print('ready', flush=True)\n    if True:\n"
        f"        {WAITS['where no Python runs']}\n"
    )
    code = (
        "import os, subprocess, sys, time\n"
        "environment = os.environ | {'COLBERT_LAB_PARENT': str(os.getpid())}\n"
        f"print(subprocess.Popen([sys.executable, '-c', {worker!r}], env=environment).pid, flush=True)\n"
        "time.sleep(120)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        pid = int(first.stdout.readline())
        assert first.stdout.readline() == "ready\n"
        first.kill()
        assert ended(pid)
        err = first.communicate(timeout=30)[1]
    assert err == f"stopped: the process that started this one (process id {first.pid}) is gone; {GO_ON}\n"


def test_an_error_of_the_connection_is_blamed_on_the_process_that_is_gone() -> None:
    broken = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.1.1]:4242")
    assert cause(broken) is broken
    started.append(subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(7)"]))
    try:
        assert cause(ValueError("of our own")).args == ("of our own",)
        lost = cause(broken)
        assert isinstance(lost, ProcessLost)
        assert (str(lost), exit_status(lost), lost.by_signal) == (
            "the process with rank 1 ended with exit status 7",
            7,
            False,
        )
    finally:
        end_processes()


TOGETHER = {
    "first, SIGTERM": (0, signal.SIGTERM, 143, "stopped by SIGTERM;", "interrupted"),
    "first, SIGKILL": (0, signal.SIGKILL, -9, "stopped: the process that started this one", "running"),
    "second, SIGKILL": (
        1,
        signal.SIGKILL,
        137,
        "stopped: the process with rank 1 was ended by SIGKILL",
        "interrupted",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("which", TOGETHER)
def test_processes_that_train_together_end_together(
    which: str, tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    rank, number, status, said, left = TOGETHER[which]
    given = [*toy_overrides(tiny_bert, toy, tmp_path), "phases.distill.steps=4000", "trainer.threads=1"]
    given = [a for a in given if "evaluate_every" not in a] + ["phases.distill.checkpoint_every=4000"]
    several = ["trainer=ddp", "trainer.devices=2"]
    process = forked.Python(
        ["-m", "colbert_lab", *given, *several], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    metrics = tmp_path / "toy" / "latest" / "distill" / "metrics.csv"
    end = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < end:
        if metrics.is_file() and len(metrics.read_text().splitlines()) > 5:
            break
        time.sleep(0.05)
    (second,) = forked.children(process.pid)
    os.kill([process.pid, second][rank], number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == status, err
    assert [line.startswith(said) for line in err.splitlines() if line.startswith("stopped")] == [True], err
    if number == signal.SIGTERM:
        assert "Traceback" not in err
    assert json.loads((the_run(tmp_path, "toy") / "status.json").read_text())["status"] == left
    assert ended(second)
    assert bool(list(tmp_path.rglob("step=*.ckpt"))) == (which == "first, SIGTERM")
    assert [entry.status for entry in read_ledger(tmp_path)] == ["killed" if left == "running" else left]
