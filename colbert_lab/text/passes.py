"""What a pass over much text found, kept from one process to the next, so that a second start reads no text again.

Hundreds of millions of rows take minutes to check, to hash and to compare with evaluation queries. What that found is
kept as arrays below ``cache_dir``, named by the content that they were made from; one process makes them, others wait,
and all read the same memory-mapped files. Imports no torch.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.locks import one_maker
from colbert_lab.text.file_hashes import remember_in
from colbert_lab.text.fingerprint import fingerprint

log = logging.getLogger(__name__)
MANY = 100_000
"""Rows below which a pass takes no time and is not kept."""
WHOLE = "whole"
VERSION = "2"
"""Raise it when the same content would give other arrays."""
_folder: Path | None = None


def remember_below(cache_dir: Path) -> None:
    """Keep hashes of files and passes below a folder, for this process and later ones.

    Args:
        cache_dir: made when there is something to keep.
    """
    remember_in(cache_dir / "contents")
    keep_passes_in(cache_dir / "passes")


def keep_passes_in(folder: Path | None) -> None:
    """Where passes are kept; None keeps none.

    Args:
        folder: made when there is something to keep.
    """
    global _folder
    _folder = folder


def kept_pass(
    what: str, decides: Sequence[str] | None, make: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of a pass, from the folder where they are kept, or made.

    Args:
        what: name of the pass.
        decides: all that decides what it finds; None makes it and keeps nothing.
        make: the pass. What it raises is raised, and nothing is kept.

    Returns:
        The arrays; memory-mapped files where they are kept.
    """
    if decides is None or _folder is None:
        return dict(make())
    path = _folder / f"{what}-{fingerprint([VERSION, what], decides)}"
    with one_maker(path):
        if (found := _read(path)) is not None:
            return found
        made = dict(make())
        try:
            with atomic_folder(path, whole_with=WHOLE) as temporary:
                for name, values in made.items():
                    np.save(temporary / f"{name}.npy", values, allow_pickle=False)
                (temporary / WHOLE).write_text(" ".join(made), encoding="utf-8")
        except OSError as error:
            log.warning("%s cannot be written (%s); the next start reads all text again", path, error)
            return made
    return _read(path) or made


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a folder; None where it is not there, or damaged, when it is removed."""
    try:
        names = (path / WHOLE).read_text(encoding="utf-8").split()
        return {name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("%s cannot be used (%s); it is made anew", path, error)
        shutil.rmtree(path, ignore_errors=True)
        return None
