"""Read the text of a wheel or a source archive that nobody vouches for.

Nothing is unpacked under a name of the archive's, and nothing of it is executed: names serve as names alone. Bounds on
files, bytes and members hold whatever the archive says of itself.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import UNSEEN

MOST_FILE = 4 * 2**20
"""Bytes of a text file: the largest source file of the standard library has a fifth of it; larger ones are data."""
MOST_UNPACKED = 2**30
"""Bytes that are unpacked of one archive: many times the text of the largest packages."""
MOST_MEMBERS = 200_000
LONGEST_NAME = 400
SUFFIXES = (".py", ".rst", ".md")
METADATA = "METADATA"
"""A wheel's file with the package's description, in its folder ``.dist-info``."""
ZIPS = (".whl", ".zip")
TARS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError, MemoryError,
)  # fmt: skip
"""What reading a damaged, an encrypted or a hostile archive ends in."""


class TextFile(NamedTuple):
    """A text file of an archive.

    Attributes:
        name: its path in the archive, with ``/`` between the parts.
        content: its bytes.
    """

    name: str
    content: bytes


def is_archive(path: str) -> bool:
    """Whether a path ends as a wheel's or a source archive's does."""
    return path.endswith((*ZIPS, ".tgz")) or PurePosixPath(path).suffixes[-2:-1] == [".tar"]


def read_archive(path: Path, skipped: Counter[str]) -> Iterator[TextFile]:
    """Read the Python, reStructuredText and Markdown files of an archive, and a wheel's description.

    Args:
        path: a wheel, ``.zip``, ``.tar.gz``, ``.tar.bz2`` or ``.tar.xz``.
        skipped: takes the number of files that are left out, for each reason.

    Raises:
        InputError: the archive is damaged, encrypted, has too many members, or unpacks to too much.
    """
    found = _of_zip(path, skipped) if path.name.endswith(ZIPS) else _of_tar(path, skipped)
    try:
        yield from found
    except DAMAGED as error:
        if isinstance(error, InputError):
            raise InputError(f"{path.name}: {error}") from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path.name}: cannot be read ({reason}); leave the package out") from error


def _of_zip(path: Path, skipped: Counter[str]) -> Iterator[TextFile]:
    left = MOST_UNPACKED
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_count(len(members))
        for member in members:
            if member.is_dir() or not _wanted(member.filename, skipped):
                continue
            with archive.open(member) as opened:
                content = opened.read(MOST_FILE + 1)
            left -= len(content)
            if left < 0:
                raise _too_much()
            if not _too_large(content, skipped):
                yield TextFile(member.filename, content)


def _of_tar(path: Path, skipped: Counter[str]) -> Iterator[TextFile]:
    opener = TARS.get(path.suffix)
    if opener is None:
        raise InputError("is no wheel, .zip, .tar.gz, .tar.bz2 or .tar.xz; name one")
    with opener(path, "rb") as unpacked:
        stream = cast("IO[bytes]", _Bounded(unpacked))
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, member in enumerate(archive):
                _check_count(number)
                if not member.isfile() or not _wanted(member.name, skipped):
                    continue
                opened = archive.extractfile(member)
                content = b"" if opened is None else opened.read(MOST_FILE + 1)
                if not _too_large(content, skipped):
                    yield TextFile(member.name, content)


class _Bounded(io.RawIOBase):
    """A stream that ends in an error after ``MOST_UNPACKED`` bytes: also what a tar file skips is unpacked."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MOST_UNPACKED

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise _too_much()
        return data


def _wanted(name: str, skipped: Counter[str]) -> bool:
    place = PurePosixPath(name)
    description = place.name == METADATA and place.parent.suffix == ".dist-info"
    if not (description or place.suffix in SUFFIXES):
        return False
    safe = not (place.is_absolute() or ".." in place.parts or "\\" in name or UNSEEN.search(name))
    if not safe or len(name) > LONGEST_NAME:
        skipped["unsafe name"] += 1
        return False
    return True


def _too_large(content: bytes, skipped: Counter[str]) -> bool:
    if len(content) > MOST_FILE:
        skipped["too large"] += 1
        return True
    return False


def _check_count(number: int) -> None:
    if number > MOST_MEMBERS:
        raise InputError(f"holds more than {MOST_MEMBERS:,} files; leave the package out")


def _too_much() -> InputError:
    return InputError(f"unpacks to more than {MOST_UNPACKED / 2**20:,.0f} MiB; leave the package out")
