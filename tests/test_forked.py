"""Forked processes are like those that start Python: streams, environment, folder, session, signals, exit status."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

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
