"""Documentation of packages that are not installed, and of folders of text, as corpora with one query a document.

Docstrings are parsed and never executed. A package's pairs are kept in the cache, so that a killed process goes on with
the next package, and one more package in a list costs that package alone.
"""

from __future__ import annotations

import email
import logging
import platform
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from colbert_lab.base.atomic import atomic_path
from colbert_lab.base.errors import InputError
from colbert_lab.base.locks import one_maker
from colbert_lab.base.progress import progress_bar
from colbert_lab.text.documentation import Documentation, kept_or_built, read_columns, write_columns
from colbert_lab.text.file_hashes import file_hash, files_id, folder_files
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs_build import (
    SPLITS,
    Pair,
    Row,
    UniquePairs,
    split_of_module,
    without_twins,
)
from colbert_lab.text.packages.archives import METADATA, read_archive
from colbert_lab.text.packages.fetching import FOLDER, KEY, Package, fetched, packages_id, packages_of
from colbert_lab.text.packages.pair_kinds import KINDS, PAIRS_VERSION, docstring_pairs, page_pairs
from colbert_lab.text.source_files import SKIPPED_FOLDERS, SourceFile, module_of, scan_files

PACKAGE_DOCS, TEXT_FOLDER = "package_docs", "text_folder"
OUT_OF_DOMAIN = "out_of_domain"
"""The split of the packages that are held out whole."""
PACKAGE_SPLITS = (OUT_OF_DOMAIN, *SPLITS)
BUILD_VERSION = 1  # raise it when the same pairs would give other rows
PAGES = (".md", ".rst", ".txt")
"""Files of a folder that are read."""
_NO_PAGE = ("change", "history", "news", "license", "licence", "copying", "authors", "contributors", "notice")
_log = logging.getLogger(__name__)


def load_package_docs(packages: Sequence[str] | str | None, cache_dir: Path, key: str = KEY) -> Documentation:
    """Load the documentation of packages; fetch and read what the cache does not have.

    Args:
        packages: see :func:`colbert_lab.text.packages.fetching.packages_of`.
        cache_dir: the config's; wheels and pairs are kept below ``packages/``.
        key: config key of ``packages``, for messages.

    Raises:
        InputError: a package is not known, cannot be fetched or read, or has no documentation.
    """
    chosen = packages_of(packages, key)
    mark = fingerprint([_version(), packages_id(packages, key)])
    folder = Path(cache_dir) / f"{PACKAGE_DOCS}-{mark}"

    def build() -> tuple[list[Row], dict[str, Any]]:
        try:
            return _rows(chosen, Path(cache_dir))
        except InputError as error:
            raise InputError(f"{key}: {error}") from error

    return kept_or_built(folder, PACKAGE_DOCS, build, PACKAGE_SPLITS)


def load_text_folder(path: Path, cache_dir: Path, key: str = "data.path") -> Documentation:
    """Load the pages (``.md``, ``.rst``, ``.txt``) of a folder; dev and test are whole files.

    Args:
        path: the folder; files whose names begin with a dot are left out.
        cache_dir: the config's.
        key: config key of ``path``, for messages.

    Raises:
        InputError: there is no such folder, or no text in it; a file is no UTF-8 text.
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"{key}={path}: no such folder; name one with .md, .rst or .txt files")
    files = {name: file for name, file in folder_files(folder).items() if file.suffix.lower() in PAGES}
    if not files:
        raise InputError(f"{key}={path}: holds no .md, .rst or .txt file; name a folder of text")
    mark = fingerprint([_version(), files_id(files)])
    return kept_or_built(
        Path(cache_dir) / f"{TEXT_FOLDER}-{mark}", TEXT_FOLDER, lambda: _folder_rows(files, f"{key}={path}")
    )


def _version() -> str:
    """What decides rows beside text: Python's parser, which may read more in another version, and our code."""
    return f"python {'.'.join(platform.python_version_tuple()[:2])} {PAIRS_VERSION} {BUILD_VERSION}"


def _rows(packages: Sequence[Package], cache_dir: Path) -> tuple[list[Row], dict[str, Any]]:
    made: list[tuple[Package, list[Pair]]] = []
    archives = list(fetched(packages, cache_dir))
    for package, path in progress_bar(archives, desc="reading packages", unit="package"):
        made.append((package, _pairs(package, path, cache_dir)))
    held_out = {package.key for package in packages if package.held_out}
    pairs = UniquePairs()
    splits: list[str] = []
    for kind in KINDS:  # of two near-twins the earlier kind's stays
        for package, found in made:
            for pair in found:
                if pair.kind == kind:
                    pairs.add(pair)
            own = OUT_OF_DOMAIN if package.key in held_out else None
            splits += [own or split_of_module(pair.module) for pair in pairs.pairs[len(splits) :]]
    details = {
        "packages": {package.key: package.version or path.name for package, path in archives},
        "held_out": sorted(held_out),
        "megabytes": round(sum(path.stat().st_size for _, path in archives) / 1e6, 1),
    }
    return _finished(pairs, splits, PACKAGE_SPLITS, details)


def _finished(
    pairs: UniquePairs, splits: Sequence[str], order: Sequence[str], details: Mapping[str, Any]
) -> tuple[list[Row], dict[str, Any]]:
    _log.info("comparing %s documents, so that near-twins cross no splits", f"{len(pairs.pairs):,}")
    rows = without_twins(pairs.pairs, splits, order, pairs.dropped)
    by_split = Counter(row.split for row in rows)
    by_kind = Counter(row.kind for row in rows)
    counts = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "documents": {"all": len(rows)} | {split: by_split[split] for split in reversed(order)},
        "kinds": {kind: by_kind[kind] for kind in KINDS},
        "dropped": dict(sorted(pairs.dropped.items())),
    }
    _log.info("documentation: %s", counts)
    return rows, dict(details) | counts


def _pairs(package: Package, path: Path, cache_dir: Path) -> list[Pair]:
    """The pairs of a package's archive, from the cache where it has them."""
    mark = fingerprint([file_hash(path), package.key, _version()])
    kept = cache_dir / FOLDER / f"{package.key}-{mark}.parquet"
    with one_maker(kept):
        try:
            return read_columns(Pair, kept, Pair._fields)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            _log.warning("%s cannot be used (%s); reading the package anew", kept, type(error).__name__)
        pairs = _read(package.key, path)
        with atomic_path(kept) as temporary:
            write_columns(pairs, Pair, temporary)
    return pairs


def _read(package: str, path: Path) -> list[Pair]:
    skipped: Counter[str] = Counter()
    pairs: list[Pair] = []
    with tempfile.TemporaryDirectory() as folder:
        sources: list[SourceFile] = []
        for name, content in read_archive(path, skipped):
            place = _inside(name, path)
            if place.suffix == ".py":
                if module := module_of(place):
                    source = Path(folder, f"{len(sources)}.py")
                    source.write_bytes(content)
                    sources.append(SourceFile(module, str(source)))
            elif _is_page(place):
                text = _description(content) if place.name == METADATA else _decoded(content)
                pairs += page_pairs(package, "" if place.name == METADATA else str(place), text)
        sources.sort()
        docstrings, unreadable = scan_files(sources, progress=None, trusted=False)
    for docstring in docstrings:
        pairs += docstring_pairs(package, docstring, skipped)
    if not pairs:
        raise InputError(
            f"{package}: {path.name} has no documentation that gives a pair (of {len(docstrings)} docstrings); "
            "leave it out"
        )
    _log.debug("%s: %d pairs, %d files unreadable, left out: %s", package, len(pairs), unreadable, skipped)
    return pairs


def _inside(name: str, path: Path) -> PurePosixPath:
    """The path of an archive's file from the root of its modules."""
    parts = PurePosixPath(name).parts
    if path.suffix != ".whl":  # NAME-VERSION/, perhaps with src/ in it
        parts = parts[1:]
        parts = parts[1:] if parts[:1] == ("src",) else parts
    elif parts[0].endswith(".data") and len(parts) > 2 and parts[1] in ("purelib", "platlib"):
        parts = parts[2:]
    return PurePosixPath(*parts)


def _is_page(place: PurePosixPath) -> bool:
    if place.name == METADATA:
        return True
    plain = place.stem.lower().startswith(_NO_PAGE) or ".dist-info" in str(place)
    return not plain and SKIPPED_FOLDERS.isdisjoint(place.parts[:-1])


def _description(content: bytes) -> str:
    """The long description of a package's metadata, which most show as their readme."""
    message = email.message_from_bytes(content)
    body = message.get_payload(decode=True)
    return _decoded(body) if isinstance(body, bytes) else ""


def _decoded(content: bytes) -> str:
    """A text in UTF-8, in UTF-16 with its mark, or else in Latin-1; nothing where it is binary."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        return ""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _folder_rows(files: Mapping[str, Path], where: str) -> tuple[list[Row], dict[str, Any]]:
    found: list[Pair] = []
    for name, file in progress_bar(sorted(files.items()), desc="reading text", unit="file"):
        found += page_pairs("", name, _text_of(file, name, where))
    pairs = UniquePairs()
    for kind in KINDS:
        for pair in found:
            if pair.kind == kind:
                pairs.add(pair)
    if not pairs.pairs:
        raise InputError(
            f"{where}: gives no pair of a heading and its section, or of a sentence and the rest, of 20 words or more"
        )
    splits = [split_of_module(pair.module) for pair in pairs.pairs]
    return _finished(pairs, splits, SPLITS, {"files": len(files)})


def _text_of(file: Path, name: str, where: str) -> str:
    try:
        content = file.read_bytes()
        if b"\0" in content:
            raise InputError(f"{where}: {name} is binary, whatever its ending; take it out of the folder")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: {name} is no UTF-8 text; save it as UTF-8, or take it out") from error
    except OSError as error:
        raise InputError(f"{where}: {name} cannot be read ({error.strerror}); take it out") from error
