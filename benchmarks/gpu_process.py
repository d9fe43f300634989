"""Each part of ``gpu_check.py`` in a process of its own, which ends at its time limit and takes nothing else along.

Processes are forked from a server that has imported everything and computed nothing, so that a part starts at once and
takes the GPU for itself.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gpu_book import Line, impossible
from gpu_sizes import Sizes

HERE = Path(__file__).resolve().parent
SAID = 3  # last lines of an error that stand in the table


@dataclass(frozen=True)
class Check:
    """What every part is told.

    Attributes:
        device: ``cuda`` or ``cpu``.
        quick: whether sizes are tiny.
        sizes: of the work.
        work: the folder of texts, students and runs.
        pythons: of the peers' environments, by side; None for this one.
        threads: of torch on the CPU.
        seconds: that the part may take.
    """

    device: str
    quick: bool
    sizes: Sizes
    work: Path
    pythons: dict[str, Path | None]
    threads: int
    seconds: float = 0.0


def server() -> ForkServerContext:
    """The server that parts are forked from."""
    paths = [str(HERE), str(HERE / "sides"), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    # Whether there is a GPU is asked without starting CUDA, which a process cannot do before it is forked.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gpu_preload"])
    return context


def run_part(
    context: ForkServerContext, part: str, place: str, check: Check, log: Path
) -> tuple[list[Line], str | None]:
    """Run one part.

    Args:
        context: the server.
        part: its name.
        place: ``module:function`` that yields its lines.
        check: what it is told; it is ended after ``check.seconds``.
        log: what it prints is added there.

    Returns:
        Its lines so far, and why it broke off, or None where it ran to its end.
    """
    said, told = check.work / f"{part}.log", check.work / f"{part}.lines"
    said.write_text("", encoding="utf-8")
    told.write_text("", encoding="utf-8")
    process = context.Process(target=_inside, args=(place, check, said, told))
    process.start()
    process.join(check.seconds)
    why = None
    if process.is_alive():
        why = f"stopped at its limit of {check.seconds:.0f} s"
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):  # also what it has started
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    lines = [json.loads(row) for row in told.read_text(encoding="utf-8").splitlines()]
    error = [each["error"] for each in lines if "error" in each]
    lines = [each for each in lines if "error" not in each]
    if why is None and error:
        why = error[0]
    elif why is None and process.exitcode:
        why = f"ended with status {process.exitcode}; {_last(said.read_text(encoding='utf-8', errors='replace'))}"
    with log.open("a", encoding="utf-8") as file:
        file.write(f"\n===== {part}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.write(said.read_text(encoding="utf-8", errors="replace"))
    return lines, why


def _last(text: str) -> str:
    return " / ".join(text.strip().splitlines()[-SAID:]) or "nothing said"


def _inside(place: str, check: Check, said: Path, told: Path) -> None:
    """The process of a part: its output to one file, its lines to another."""
    os.setsid()
    with said.open("a", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    with told.open("a", encoding="utf-8", buffering=1) as file:
        try:
            for each in _lines(place, check):
                file.write(json.dumps(each) + "\n")
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            file.write(json.dumps({"error": _last(f"{type(error).__name__}: {error}")}) + "\n")
            sys.exit(1)


def _lines(place: str, check: Check) -> Iterator[Line]:
    if check.device == "cuda" and not _has_gpu():
        yield impossible("everything", "torch sees no CUDA device")
        return
    module, _, name = place.partition(":")
    yield from getattr(import_module(module), name)(check)


def _has_gpu() -> bool:
    """Whether torch sees a GPU; asked in a process of its own, as one that has asked may not be forked any more."""
    asked = multiprocessing.get_context("fork").Process(target=_ask)
    asked.start()
    asked.join()
    return asked.exitcode == 0


def _ask() -> None:
    import torch

    sys.exit(0 if torch.cuda.is_available() else 3)


def command(arguments: list[str], log: Path, threads: int) -> Any:
    """Start ``python -m colbert_lab`` with some arguments, forked from a part that has not used its device.

    Args:
        arguments: of the command line.
        log: what it prints is added there.
        threads: of torch.

    Returns:
        A started process, see ``multiprocessing.Process``.
    """
    process = multiprocessing.get_context("fork").Process(target=_command, args=(arguments, log, threads))
    process.start()
    return process


def _command(arguments: list[str], log: Path, threads: int) -> None:
    from colbert_lab.__main__ import main

    with log.open("a", encoding="utf-8") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.argv = ["colbert_lab", *arguments, f"trainer.threads={threads}", "tracking=off", "progress=false"]
    main()
