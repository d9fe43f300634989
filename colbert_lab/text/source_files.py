"""Which installed source files belong to the documentation corpus, and their docstrings, read with all processors."""

import importlib.metadata
import json
import logging
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from packaging.requirements import Requirement

from colbert_lab.base.errors import InputError
from colbert_lab.base.machine import cores
from colbert_lab.base.progress import progress_bar
from colbert_lab.text import docstrings
from colbert_lab.text.docstrings import Docstring

_log = logging.getLogger(__name__)
_CHUNK = 200  # files a worker process; large against the 20 ms that an interpreter needs to start
_SECONDS = 120  # that a worker may take for untrusted files, which takes it a second


class SourceFile(NamedTuple):
    """A Python source file to read.

    Attributes:
        module: its dotted name.
        path: where it lies.
    """

    module: str
    path: str


def scan_files(
    files: Sequence[SourceFile],
    processes: int | None = None,
    progress: str | None = "reading installed documentation",
    trusted: bool = True,
) -> tuple[list[Docstring], int]:
    """Read the docstrings of source files, in parallel, with a progress bar.

    The workers are fresh interpreters in isolated mode that run ``docstrings.py`` by path. They import only
    the standard library, and, unlike forked or spawned workers, they neither inherit the threads of this
    process nor run its main module again.

    Args:
        files: what to read.
        processes: how many workers at a time; None means one a processor.
        progress: name of the progress bar; None shows none.
        trusted: whether this process may read what a worker could not. Python's parser may crash on a file made for
            that, or take long; such a file counts as unreadable.

    Returns:
        All docstrings in the order of ``files``, and how many files could not be read or parsed.
    """
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    results: dict[int, tuple[list[Docstring], int]] = {}
    with (
        ThreadPoolExecutor(processes or cores()) as pool,
        progress_bar(
            total=len(files),
            desc=progress,
            unit="file",
            mininterval=1,
            disable=progress is None,
        ) as bar,
    ):
        waiting = {pool.submit(_read_chunk, chunk, trusted): number for number, chunk in enumerate(chunks)}
        for done in as_completed(waiting):
            number = waiting[done]
            results[number] = done.result()
            bar.update(len(chunks[number]))
    found = [docstring for number in range(len(chunks)) for docstring in results[number][0]]
    return found, sum(unreadable for _, unreadable in results.values())


def _read_chunk(files: Sequence[SourceFile], trusted: bool) -> tuple[list[Docstring], int]:
    command = [sys.executable, "-I", "-S", str(Path(docstrings.__file__))]
    try:
        worker = subprocess.run(
            command,
            input=json.dumps(files),
            stdout=subprocess.PIPE,
            stderr=None if trusted else subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=None if trusted else _SECONDS,
        )
        rows, unreadable = json.loads(worker.stdout)
        return [Docstring(*row) for row in rows], unreadable
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        if not trusted:
            if isinstance(error, OSError):  # no worker can be started, whatever the file
                raise
            if len(files) == 1:
                return [], 1
            half = len(files) // 2
            halves = [_read_chunk(part, trusted) for part in (files[:half], files[half:])]
            return [each for found, _ in halves for each in found], sum(bad for _, bad in halves)
        _log.warning("a worker process failed (%s); reading %d files in this process", error, len(files))
        return docstrings.read_many(files)


DISTRIBUTION = "colbert-lab"
# Tests, and code of others that is copied into a package (it would be there twice).
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_testing", "idlelib", "lib2to3", "ensurepip", "__pycache__"}
    | {"site-packages", "dist-packages"}
    | {"_vendor", "vendor", "vendored", "_vendored", "_vendored_packages"}
    | {"thirdparty", "third_party", "externals", "extern"}
)


def required_distributions(roots: Sequence[str] | None = None) -> dict[str, str]:
    """Find the installed distributions that the project needs at run time, directly or not.

    Environment markers are evaluated and extras are left out, so the list does not depend on what else the
    environment holds. The files of metadata are read once in a process.

    Args:
        roots: requirements to start from; None means those of the distribution ``colbert-lab``.

    Returns:
        Normalised name to version, sorted by name, without ``colbert-lab`` itself.

    Raises:
        InputError: ``colbert-lab`` is not installed, so that its requirements cannot be read.
    """
    if roots is None:
        try:
            roots = tuple(importlib.metadata.requires(DISTRIBUTION) or [])
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(
                f"data=installed_docs: {DISTRIBUTION} is not installed, so its dependencies are not known; "
                "run pip install -e . in the source tree"
            ) from error
    return dict(_required(tuple(roots)))


@cache
def _required(roots: tuple[str, ...]) -> dict[str, str]:
    versions: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in versions or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        versions[name] = distribution.version
        waiting += distribution.requires or []
    versions.pop(DISTRIBUTION, None)
    return dict(sorted(versions.items()))


def standard_library_files() -> list[SourceFile]:
    """List the source files of the standard library."""
    return files_under(Path(sysconfig.get_path("stdlib")))


def distribution_files(name: str) -> list[SourceFile]:
    """List the source files that an installed distribution recorded."""
    distribution = importlib.metadata.distribution(name)
    recorded = [(file, Path(str(distribution.locate_file(file)))) for file in distribution.files or []]
    return _select((file, path) for file, path in recorded if file.suffix == ".py")


def files_under(root: Path) -> list[SourceFile]:
    """List the source files of a folder that is the root of module names."""
    return _select((path.relative_to(root), path) for path in root.rglob("*.py"))


def _select(found: Iterable[tuple[PurePath, Path]]) -> list[SourceFile]:
    files = []
    for relative, path in found:
        if module := module_of(relative):
            files.append(SourceFile(module, str(path)))
    return sorted(files)


def module_of(relative: PurePath) -> str:
    """The dotted name of a source file's module; empty where it is none, or tests or other packages' code.

    Args:
        relative: its path from the root of module names.
    """
    parts = relative.with_suffix("").parts
    if not all(part.isidentifier() for part in parts) or not SKIPPED_FOLDERS.isdisjoint(parts[:-1]):
        return ""
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
