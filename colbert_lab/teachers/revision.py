"""Which version of a teacher it is: what its settings leave open."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import locate

WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
READ_WITH_THEM = ("*.json", "*.txt", "*.model")
"""Settings and vocabulary beside the weights; they decide scores too."""


def revision(scorer: Any) -> str:
    """The version of the model behind a scorer.

    Args:
        scorer: a teacher, a retriever, or an ensemble of them.

    Returns:
        ``commit <hash>`` of a model on the hub; ``weights sha256:<hash> files sha256:<hash>`` of a folder, where the
        second hash (16 digits) is of the other files that decide scores; for BM25, bm25s and its version.

    Raises:
        InputError: the model cannot be found.
    """
    members = getattr(scorer, "members", None)
    if members is not None:
        return ", ".join(f"{name}={revision(member)}" for name, member in members.items())
    for key in ("model", "checkpoint"):
        place = getattr(scorer, key, None)
        if isinstance(place, str):
            found = Path(locate(place, f"teacher.{key}")).expanduser()
            return _of_folder(found.resolve()) if found.is_dir() else _of_hub(place, f"teacher.{key}")
    return f"bm25s {importlib.metadata.version('bm25s')}" if scorer.system == "bm25" else "built in"


def _of_folder(folder: Path) -> str:
    weights, others = (
        sorted({file for pattern in patterns for file in folder.glob(pattern)})
        for patterns in (WEIGHTS, READ_WITH_THEM)
    )
    return f"weights sha256:{_digest(weights, named=False)} files sha256:{_digest(others, named=True)[:16]}"


def _digest(files: Iterable[Path], named: bool) -> str:
    """SHA-256 of the files end to end, so that of a single one is what sha256sum prints."""
    digest = hashlib.sha256()
    for file in files:
        if named:
            digest.update(f"{file.name}\n".encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def _of_hub(model: str, key: str) -> str:
    from transformers.utils.hub import cached_file, extract_commit_hash

    try:
        file = cached_file(model, "config.json")
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{key}={model}: cannot be loaded ({first}); give a hub id that can be reached, or a local folder"
        ) from error
    commit = extract_commit_hash(file, None)
    return f"commit {commit}" if commit else "commit unknown"
