"""The processes of the suite: the peers' environments, workers that wait for commands, and timed commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PINNED = {
    "pylate": ("pylate", "1.6.0", [["pylate==1.6.0"]]),
    "sentence_transformers": (
        "sentence-transformers",
        "6.2.0",
        [["torch==2.13.0"], ["sentence-transformers==6.2.0", "datasets", "accelerate"]],
    ),
}
"""By side: its distribution, version, and what pip installs, call by call."""


class WorkerError(Exception):
    """A worker ended, or cannot do what it was asked to."""


def environment(side: str, python: Path | None, folder: Path | None) -> Path:
    """The Python of a peer's environment, which is made where it is missing.

    Raises:
        SystemExit: there is none, or it holds another version.
    """
    name, version, installs = PINNED[side]
    if python is None:
        if folder is None:
            option = "--" + side.replace("_", "-")
            sys.exit(
                f"{side}: needs {option} PYTHON of an environment with {name}=={version}, or --environments DIR"
            )
        python = folder / side / "bin" / "python"
        if not (folder / side / "installed").is_file():
            print(f"making the environment of {name}=={version} in {folder / side}", flush=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder / side)], check=True)
            for packages in installs:
                subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
            (folder / side / "installed").touch()
    code = f"from importlib.metadata import version; print(version({name!r}))"
    asked = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    if asked.stdout.strip() != version:
        sys.exit(f"{python}: has {name} {asked.stdout.strip() or 'not installed'}, and {version} is wanted")
    return python


def variables(side: str, threads: int, device: str) -> dict[str, str]:
    """Environment variables of a process of a side."""
    found = {**os.environ, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    found |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    if device == "cpu":
        found["CUDA_VISIBLE_DEVICES"] = ""
    paths = found.pop("PYTHONPATH", "")
    if side == "colbert_lab":
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), paths]))
    return found


class Worker:
    """A process of one side that does one case, a step for each command.

    Args:
        side: whose.
        python: of its environment.
        spec: what to do; its ``folder`` takes the spec and what the process says.
    """

    def __init__(self, side: str, python: Path, spec: dict[str, Any]) -> None:
        self.side = side
        folder = Path(spec["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "spec.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        self.log = folder / "log.txt"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [str(python), str(HERE / "sides" / f"{side}_side.py"), str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=variables(side, spec["threads"], spec["device"]),
            )
        try:
            self.ready = self._line()
        except WorkerError:
            self.stop()
            raise

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            code = self.process.returncode
            raise WorkerError(
                f"ended with status {code}: {said[-1] if said else 'nothing said'} (see {self.log})"
            )
        found: dict[str, Any] = json.loads(line)
        if "unavailable" in found:
            raise WorkerError(f"not available here: {found['unavailable']}")
        return found

    def step(self) -> dict[str, Any]:
        """Do the next step.

        Raises:
            WorkerError: the process ended.
        """
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # what it said before it ended is read next
            self.process.stdin.write('{"do": "step"}\n')
            self.process.stdin.flush()
        return self._line()

    def stop(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def timed_command(
    side: str, python: Path, command: Sequence[str], folder: Path, threads: int, device: str
) -> dict[str, Any]:
    """Wall seconds and the most resident memory of a command from start to end.

    Raises:
        WorkerError: it failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    filled = [str(python), *command]
    with log.open("w", encoding="utf-8") as said:
        begun = time.perf_counter()
        process = subprocess.Popen(
            filled, stdout=said, stderr=subprocess.STDOUT, env=variables(side, threads, device), cwd=folder
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise WorkerError(f"{' '.join(filled)} ended with status {process.returncode} (see {log})")
    return {"seconds": seconds, "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}
