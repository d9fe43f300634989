"""Read the docstrings of many source files with all processors."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from colbert_lab.text import docstrings
from colbert_lab.text.docstrings import Docstring

_log = logging.getLogger(__name__)
_CHUNK = 200  # files a worker process; large against the 20 ms that an interpreter needs to start


class SourceFile(NamedTuple):
    """A Python source file to read.

    Attributes:
        module: its dotted name.
        path: where it lies.
    """

    module: str
    path: str


def scan_files(files: Sequence[SourceFile], processes: int | None = None) -> tuple[list[Docstring], int]:
    """Read the docstrings of source files, in parallel, with a progress bar.

    The workers are fresh interpreters in isolated mode that run ``docstrings.py`` by path. They import only
    the standard library, and, unlike forked or spawned workers, they neither inherit the threads of this
    process nor run its main module again.

    Args:
        files: what to read.
        processes: how many workers at a time; None means one a processor.

    Returns:
        All docstrings in the order of ``files``, and how many files could not be read or parsed.
    """
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    results: dict[int, tuple[list[Docstring], int]] = {}
    with (
        ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool,
        tqdm(total=len(files), desc="reading installed documentation", unit="file", mininterval=1) as bar,
    ):
        waiting = {pool.submit(_read_chunk, chunk): number for number, chunk in enumerate(chunks)}
        for done in as_completed(waiting):
            number = waiting[done]
            results[number] = done.result()
            bar.update(len(chunks[number]))
    found = [docstring for number in range(len(chunks)) for docstring in results[number][0]]
    return found, sum(unreadable for _, unreadable in results.values())


def _read_chunk(files: Sequence[SourceFile]) -> tuple[list[Docstring], int]:
    command = [sys.executable, "-I", "-S", str(Path(docstrings.__file__))]
    try:
        worker = subprocess.run(
            command, input=json.dumps(files), stdout=subprocess.PIPE, text=True, encoding="utf-8", check=True
        )
        rows, unreadable = json.loads(worker.stdout)
        return [Docstring(*row) for row in rows], unreadable
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.warning("a worker process failed (%s); reading %d files in this process", error, len(files))
        return docstrings.read_many(files)
