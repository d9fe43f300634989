"""Short hashes that say whether two pieces of data are the same."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def fingerprint(*parts: Iterable[str]) -> str:
    """Hash sequences of strings, so that any change of content, order or boundary changes the result.

    Every string goes in with its length before it, and every part with an end mark, so that ``["ab", "c"]``,
    ``["a", "bc"]`` and ``["ab"], ["c"]`` differ. A part that is one string counts as a sequence of one.

    Args:
        parts: the sequences, in an order that has a meaning to the caller.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for part in parts:
        for text in (part,) if isinstance(part, str) else part:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
        digest.update(b";")
    return digest.hexdigest()[:16]


def fingerprint_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Hash a sequence of numpy arrays: their types, lengths and numbers.

    Args:
        arrays: one-dimensional arrays.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"%s%d:" % (array.dtype.str.encode(), array.size))
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def folder_state(folder: Path) -> list[str]:
    """What tells one state of a folder's files from another without reading them: names, sizes and times.

    Args:
        folder: a folder; the list is empty when it is none.
    """
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [f"{f.relative_to(folder)} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files]
