"""Short hashes that say whether two pieces of data are the same."""

import hashlib
import os
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
    return files_state(folder.rglob("*"), folder) if folder.is_dir() else []


def files_state(files: Iterable[Path], base: Path) -> list[str]:
    """As :func:`folder_state`, for some files; what does not exist is not in it.

    Args:
        files: the files.
        base: their names are told from here.
    """
    there = sorted((os.path.relpath(file, base), file.stat()) for file in files if file.is_file())
    return [f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in there]
