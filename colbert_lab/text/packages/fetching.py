"""Fetch wheels with pip, which neither builds nor installs them, and keep them.

Wheels alone are fetched: for a source archive pip runs the package's own build code, whatever it is asked for. All
machines get the same files, those for CPython 3.11 on Linux.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import one_maker
from colbert_lab.text.file_hashes import file_hash
from colbert_lab.text.packages.package_list import Package

FOLDER = "packages"
"""In the cache: a folder for each version of a package, with its wheel."""
TARGET = (
    "--only-binary=:all:", "--no-deps", "--implementation=cp", "--python-version=3.11", "--abi=cp311",
    "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_17_x86_64", "--platform=manylinux2014_x86_64",
    "--platform=linux_x86_64",
)  # fmt: skip
QUIET = ("--quiet", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "--retries=2")
_OFFLINE = re.compile(r"Retrying \(|NewConnectionError|Connection(Error|Refused|Reset)|timed out|--no-index")
log = logging.getLogger(__name__)


def fetched(packages: Sequence[Package], cache_dir: Path) -> Iterator[tuple[Package, Path]]:
    """Give each package's archive, fetched where the cache does not have it, with a progress bar for the fetching.

    A killed process goes on with the packages that are not there yet.

    Args:
        packages: what is wanted.
        cache_dir: the config's.

    Raises:
        InputError: a package cannot be fetched, or its wheel is another one than the list says.
    """
    missing = [each for each in packages if each.path is None and _kept(each, cache_dir) is None]
    for package in tqdm(missing, desc="fetching packages", unit="package", disable=None if missing else True):
        _fetch(package, cache_dir)
    for package in packages:
        path = Path(package.path) if package.path is not None else _kept(package, cache_dir)
        assert path is not None
        yield package, path


def _folder(package: Package, cache_dir: Path) -> Path:
    return cache_dir / FOLDER / f"{package.key}-{package.version}"


def _kept(package: Package, cache_dir: Path) -> Path | None:
    """The wheel in the cache; None where there is none, or another one than the list says."""
    found = sorted(_folder(package, cache_dir).glob("*.whl"))
    if len(found) != 1 or package.sha256 not in (None, file_hash(found[0])):
        return None
    return found[0]


def _fetch(package: Package, cache_dir: Path) -> None:
    folder = _folder(package, cache_dir)
    with one_maker(folder):
        if _kept(package, cache_dir) is not None:  # another process has fetched it
            return
        with atomic_folder(folder) as temporary:
            wanted = f"{package.name}=={package.version}"
            line = wanted + (f" --hash=sha256:{package.sha256}" if package.sha256 else "")
            with _lines(line) as requirements:
                command = [sys.executable, "-m", "pip", "download", *TARGET, *QUIET]
                command += [f"--dest={temporary}", f"--requirement={requirements}"]
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                )
            if done.returncode:
                raise InputError(f"{wanted}: {_reason(done.stderr)}")
            if len(list(temporary.glob("*.whl"))) != 1:
                raise InputError(f"{wanted}: pip brought no wheel; leave it out")


@contextmanager
def _lines(line: str) -> Iterator[Path]:
    """A file with one line: pip takes hashes from files alone."""
    handle, name = tempfile.mkstemp(suffix=".txt")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(line + "\n")
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _reason(said: str) -> str:
    """What pip said, in a few words."""
    log.debug("pip: %s", said)
    if "No module named pip" in said:
        return "this environment has no pip to fetch it; run python -m ensurepip"
    if "DO NOT MATCH THE HASHES" in said:
        return (
            "its wheel is not the one of the list (another SHA-256); it may have been tampered with: compare the "
            "hash with that on the package's page before you change the list"
        )
    if _OFFLINE.search(said):
        return "is not in the cache, and pip reaches no index; connect once, or name packages that are there"
    if "No matching distribution" in said or "Could not find a version" in said:
        return "pip finds no such wheel; check name and version, and whether it has one for CPython 3.11 on Linux"
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines()[-1:]
    return f"pip cannot fetch it ({' '.join(' '.join(errors).split())[:200]})"
