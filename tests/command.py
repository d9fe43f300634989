"""Run the command line inside the test process."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from hydra._internal.hydra import Hydra

from colbert_lab.__main__ import main


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        status: exit status.
        out: standard output.
        err: standard error.
    """

    status: int
    out: str
    err: str


def command(*arguments: str) -> Outcome:
    """``python -m colbert_lab ...`` without the cost of a new process.

    Hydra composes the whole config once more to read ``hydra.mode``, a third of a small command's time. That is left
    out where nothing sets it.
    """
    out, err = io.StringIO(), io.StringIO()
    status = 0
    sets_mode = any("hydra" in each or "sweep" in each for each in arguments)
    with (
        contextlib.nullcontext() if sets_mode else patch.object(Hydra, "get_mode", return_value=None),
        patch.object(sys, "argv", ["colbert_lab", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Outcome(status, out.getvalue(), err.getvalue())


def the_run(output_dir: Path, name: str) -> Path:
    """The newest run of a name."""
    return (output_dir / name / "latest").resolve()


def written(output_dir: Path) -> list[Path]:
    """Files that a command left below a folder; hashes of what it read (``cache/contents``) are no output."""
    return [
        path
        for path in sorted(output_dir.rglob("*"))
        if path.is_file() and path.parent != output_dir / "cache" / "contents"
    ]
