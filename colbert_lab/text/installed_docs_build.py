"""Build the installed-documentation corpus: scan, pair, split by module, drop near-twins."""

import hashlib
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from colbert_lab.errors import InputError
from colbert_lab.text.docstring_pairs import Pair, make_pairs
from colbert_lab.text.near_twins import drop_twins, shingle_hashes
from colbert_lab.text.scan import SourceFile, scan_files

SPLITS = ("test", "dev", "train")  # in this order: a document goes when it is a twin of an earlier split's


class Row(NamedTuple):
    """One document of the corpus with its query.

    Attributes:
        document_id: ``module`` or ``module:qualified.name``.
        document: the text to retrieve.
        query: the text to retrieve it with.
        split: ``train``, ``dev`` or ``test``.
    """

    document_id: str
    document: str
    query: str
    split: str


def split_of_module(module: str) -> str:
    """Assign a module to a split: 10% test, 10% dev, the rest train, by the SHA-256 of its name.

    All docstrings of a module stay together, because they share their subject and often their words.

    Args:
        module: dotted name.

    Returns:
        ``train``, ``dev`` or ``test``.
    """
    digest = hashlib.sha256(f"split:{module}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if share < 0.1 else "dev" if share < 0.2 else "train"


def build_rows(files: Sequence[SourceFile], packages: Mapping[str, str]) -> tuple[list[Row], dict[str, Any]]:
    """Read source files and make the corpus.

    Args:
        files: the source files; of duplicate docstrings the first one stays.
        packages: name to version of what the files belong to, for the details.

    Returns:
        The rows in the order of the files, and the details: Python version, packages, number of files and
        docstrings, rows of each split, and dropped docstrings for each reason.

    Raises:
        InputError: the files hold no usable docstring.
    """
    docstrings, unreadable = scan_files(files)
    pairs, dropped = make_pairs(docstrings)
    rows = _without_twins(pairs, dropped)
    if not rows:
        raise InputError(
            f"no usable docstring in {len(files)} source files of the installed packages (are they installed "
            "without sources?); set data.path to a collection of your own"
        )
    counts = Counter(row.split for row in rows)
    details = {
        "python": platform.python_version(),
        "packages": dict(packages),
        "files": len(files),
        "files_unreadable": unreadable,
        "docstrings": len(docstrings),
        "documents": {"all": len(rows)} | {split: counts[split] for split in reversed(SPLITS)},
        "dropped": dict(sorted(dropped.items())),
    }
    return rows, details


def _without_twins(pairs: Sequence[Pair], dropped: Counter[str]) -> list[Row]:
    splits = [split_of_module(pair.module) for pair in pairs]
    hashes = shingle_hashes([pair.document for pair in pairs])
    members = [[number for number, name in enumerate(splits) if name == split] for split in SPLITS]
    keep = drop_twins([[hashes[number] for number in group] for group in members])
    kept: set[int] = set()
    for split, group, wanted in zip(SPLITS, members, keep, strict=True):
        kept.update(number for number, yes in zip(group, wanted, strict=True) if yes)
        dropped[f"near-twin in {split}"] = wanted.count(False)
    return [
        Row(pair.document_id, pair.document, pair.query, splits[number])
        for number, pair in enumerate(pairs)
        if number in kept
    ]
