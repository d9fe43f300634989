"""Which packages' documentation is read: a committed list, a list of the user's, or entries in the config.

An entry is a line of pip's: ``name==version --hash=sha256:...``, so that ``pip download --no-deps -r`` takes the same
file. ``# held out`` after it makes the whole package a part of the split ``out_of_domain``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from colbert_lab.base.errors import InputError
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
