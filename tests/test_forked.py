"""Forked processes are like those that start Python: streams, environment, folder, session, signals, exit status."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests import forked


def test_it_is_a_child_with_all_that_is_its_own(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "print(os.getcwd(), os.environ['MINE'], os.getppid(), sys.argv[1:], os.getsid(0) == os.getpid())\n"
        "print(sys.stdin.read(), file=sys.stderr)\nsys.exit(7)\n"
    )
    done = forked.run(
        ["-c", code, "a", "b"],
        cwd=tmp_path,
        env={"MINE": "x"},
        start_new_session=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 7
    assert done.stdout == f"{tmp_path} x {os.getpid()} ['a', 'b'] True\n"
    assert done.stderr == "\n"


def test_an_error_is_a_traceback_and_status_1() -> None:
    done = forked.run(["-c", "raise ValueError('no')"])
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: no"
    assert forked.run(["-c", "raise SystemExit('no')"]).stderr == "no\n"


def test_a_signal_ends_it() -> None:
    process = forked.Python(
        ["-c", "import time; print('ready', flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert forked.children(process.pid) == []
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    process.stdout.close()


def test_what_it_starts_is_forked_too_and_its_child() -> None:
    inner = "import os, sys; print('torch' in sys.modules, os.getppid())"
    code = (
        "import os, subprocess, sys\n"
        f"done = [subprocess.run([sys.executable, '-c', {inner!r}], stdout=subprocess.PIPE) for _ in range(2)]\n"
        "print(os.getpid(), [each.stdout.decode().split() for each in done])\n"
    )
    done = forked.run(["-c", code])
    pid = done.stdout.split()[0]
    assert done.stdout == f"{pid} {[['True', pid]] * 2}\n", done.stderr


def imported(name: str) -> tuple[bool, int]:
    return name in sys.modules, os.getppid()


def leave() -> None:
    raise SystemExit(5)


def test_processes_of_multiprocessing_are_forked_and_end_as_they_would() -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(imported, ["torch", "hydra"])) == [(True, os.getpid())] * 2
    process = multiprocessing.get_context("spawn").Process(target=leave)
    process.start()
    process.join(30)
    assert process.exitcode == 5


def test_processes_of_joblib_are_forked() -> None:
    pytest.importorskip("joblib")
    code = (
        "import os, sys\nfrom joblib import Parallel, delayed\n"
        "def imported(name):\n    import os, sys\n    return name in sys.modules, os.getppid()\n"
        "print(os.getpid(), Parallel(2)(delayed(imported)(name) for name in ('torch', 'torch')))\n"
    )
    done = forked.run(["-c", code])
    pid = done.stdout.split()[0]
    assert done.stdout == f"{pid} {[(True, int(pid))] * 2}\n", done.stderr


def test_other_ways_to_start_python_are_known() -> None:
    assert forked._program(["python", "-u", "-B", "-m", "this"]) == ["-m", "this"]
    assert forked._program(["python", "file.py", "-m"]) == ["file.py", "-m"]
    assert forked._program(["python", "-X", "dev", "-c", "pass"]) == forked._program(["python"]) == []
