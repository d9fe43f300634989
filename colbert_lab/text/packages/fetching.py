"""Packages whose documentation is read: which they are, and their wheels, which pip fetches and does not install.

They are a committed list, a list of the user's, or entries in the config. An entry is a line of pip's:
``name==version --hash=sha256:...``, so that ``pip download --no-deps -r`` takes the same file. ``# held out`` after it
makes the whole package a part of the split ``out_of_domain``.

Wheels alone are fetched, and kept: for a source archive pip runs the package's own build code, whatever it is asked
for. All machines get the same files, those for CPython 3.11 on Linux.
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
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import one_maker
from colbert_lab.base.progress import progress_bar
from colbert_lab.text.file_hashes import file_hash
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.packages.archives import is_archive

COMMITTED = Path(__file__).with_name("packages.txt")
HELD_OUT = "held out"
KEY = "data.packages"
_ENTRY = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)(==(?P<version>[A-Za-z0-9][\w.+!-]*))?"
    r"(\s+--hash=sha256:(?P<sha256>[0-9a-f]{64}))?",
    re.ASCII,
)
_NOTE = re.compile(r"\s+#\s*(?P<note>.*?)\s*$")
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


@dataclass(frozen=True)
class Package:
    """A package whose documentation is read.

    Attributes:
        name: as in the list; normalised in names of folders.
        version: that is fetched; of an archive at a path it is empty.
        sha256: of the wheel; None where the list has none.
        held_out: whether all its text is of the split ``out_of_domain``.
        path: of a wheel or source archive that is there already.
    """

    name: str
    version: str = ""
    sha256: str | None = None
    held_out: bool = False
    path: str | None = None

    @property
    def key(self) -> str:
        """The name as pip compares it."""
        return re.sub(r"[-_.]+", "-", self.name).lower()

    @property
    def identity(self) -> str:
        """What decides its text: the hash of its archive; its version where that is not known yet."""
        content = self.sha256 or f"{self.key}=={self.version}"
        if self.path is not None:
            content = file_hash(Path(self.path))
        return f"{self.key} {content}{f' {HELD_OUT}' if self.held_out else ''}"


def packages_of(packages: Sequence[str] | str | None, key: str = KEY) -> list[Package]:
    """The packages that a setting names, sorted by name.

    Args:
        packages: entries; or the path of a file of them, one a line; None is the list that comes along.
        key: the config key, for messages.

    Raises:
        InputError: an entry is none, is there twice, or has no version and is not in the list that comes along.
    """
    if packages is None or isinstance(packages, str):
        found = _of_file(COMMITTED if packages is None else Path(packages).expanduser(), key)
    else:
        found = [_entry(str(text), f"{key}={text}") for text in packages]
    if not found:
        raise InputError(f"{key}: names no package; null takes the list that comes along")
    keys = [package.key for package in found]
    twice = sorted({name for name in keys if keys.count(name) > 1})
    if twice:
        raise InputError(f"{key}: {twice[0]} is there twice; name each package once")
    return sorted(found, key=lambda package: package.key)


def packages_id(packages: Sequence[str] | str | None, key: str = KEY) -> str:
    """What decides the text of some packages, see :func:`packages_of`; where a list or an archive lies does not.

    Raises:
        InputError: see there.
        OSError: an archive cannot be read.
    """
    return fingerprint([package.identity for package in packages_of(packages, key)])


@lru_cache(maxsize=1)
def _committed() -> dict[str, Package]:
    return {package.key: package for package in _of_file(COMMITTED, KEY)}


def _of_file(path: Path, key: str) -> list[Package]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise InputError(f"{key}={path}: cannot be read ({reason}); name a file of packages") from error
    return [
        _entry(line.strip(), f"{key}: {path}:{number}", listed=path == COMMITTED)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _entry(text: str, where: str, listed: bool = False) -> Package:
    note = _NOTE.search(text)
    if note is not None and note["note"] != HELD_OUT:
        raise InputError(f"{where}: the note after # must be '{HELD_OUT}', or nothing")
    place = (text[: note.start()] if note is not None else text).strip()
    if is_archive(place):
        path = Path(place).expanduser()
        if not path.is_file():
            raise InputError(f"{where}: no such file; name a wheel or source archive, or a package")
        name = re.split(r"-\d", path.name)[0]
        return Package(name, "", None, note is not None, str(path))
    match = _ENTRY.fullmatch(place)
    if match is None:
        raise InputError(
            f"{where}: is no package; write name==version, perhaps with --hash=sha256:... and '# {HELD_OUT}' after it"
        )
    package = Package(match["name"], match["version"] or "", match["sha256"], note is not None)
    if package.version:
        return package
    if listed or package.sha256 is not None or package.key not in _committed():
        raise InputError(
            f"{where}: is not in the list that comes along; give its version too, as {package.name}==1.0"
        )
    known = _committed()[package.key]
    return known if note is None else Package(known.name, known.version, known.sha256, True)


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
    for package in progress_bar(missing, desc="fetching packages", unit="package", disable=not missing):
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
