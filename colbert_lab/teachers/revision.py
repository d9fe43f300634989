"""Which version of a teacher it is: what its settings leave open."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.model.model_files import locate
from colbert_lab.model.student import pick_device
from colbert_lab.text.contents import MODELS, STUDENT_FILE, code_id, commit_id, model_id
from colbert_lab.text.file_hashes import file_hash, files_id, folder_files

WEIGHTS = ("*.safetensors", "*.bin", "*.pt")
READ_WITH_THEM = ("*.json", "*.txt", "*.model")
"""Settings and vocabulary beside the weights; they decide scores too."""


def identified(scorer: Any) -> str:
    """What decides a scorer's scores, as a stable text: its settings, with its model by content and ``auto`` resolved.

    Equal texts mean equal scores, wherever the model lies; another model in the same place gives another text. What a
    scorer takes from its model's files (``resolved``) counts as what that is.

    Args:
        scorer: a teacher, a retriever, or an ensemble of them.
    """
    members = getattr(scorer, "members", None)
    if members is not None:
        return "mean z-score of " + ", ".join(
            f"{key}={identified(member)}" for key, member in members.items()
        )
    content = {
        key: _content(getattr(scorer, key), key)
        for key in MODELS
        if isinstance(getattr(scorer, key, None), str)
    }
    if hasattr(scorer, "resolved"):
        with suppress(InputError):  # loading it will say why
            scorer = scorer.resolved()
    if not is_dataclass(scorer):
        return " ".join([repr(scorer), *content.values()])
    told = []
    for field in fields(scorer):
        value = getattr(scorer, field.name)
        if field.name == "accelerator":
            value = pick_device(value).type
        if field.repr:
            told.append(f"{field.name}={content.get(field.name, value)!r}")
    if (code := code_id(f"{type(scorer).__module__}.{type(scorer).__qualname__}")) is not None:
        told.append(f"code={code}")
    return f"{type(scorer).__qualname__}({', '.join(told)})"


def _content(model: str, key: str) -> str:
    """What a model is; its name where that cannot be known, and loading it will say why."""
    found = model_id(model)
    if found is None or found.startswith("commit:"):
        try:
            commit, snapshots = _commit(model)  # the one that is loaded: the hub may have moved on
        except InputError:
            return found or model
        if key == "checkpoint":
            _fetch_student_file(model, commit)
        return commit_id(commit, snapshots)
    return found


@lru_cache(maxsize=64)
def _fetch_student_file(model: str, commit: str) -> None:
    """Have what names a saved student's head in the local cache before the student is: its code is a part of it."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with suppress(EntryNotFoundError, OSError, ValueError):  # no such student; or loading it will say why
        hf_hub_download(model, STUDENT_FILE, revision=commit)


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
    for key in MODELS:
        place = getattr(scorer, key, None)
        if isinstance(place, str):
            found = Path(locate(place, f"teacher.{key}")).expanduser()
            return _of_folder(found.resolve()) if found.is_dir() else _of_hub(place, f"teacher.{key}")
    return f"bm25s {importlib.metadata.version('bm25s')}" if scorer.system == "bm25" else "built in"


def _of_folder(folder: Path) -> str:
    weights, others = (
        {name: file for name, file in folder_files(folder, patterns).items() if file.parent == folder}
        for patterns in (WEIGHTS, READ_WITH_THEM)
    )
    return f"weights sha256:{_digest(weights)} files sha256:{files_id(others)}"


def _digest(files: Mapping[str, Path]) -> str:
    """What sha256sum prints of a single file; one id of several."""
    return file_hash(next(iter(files.values()))) if len(files) == 1 else files_id(files)


def _of_hub(model: str, key: str) -> str:
    try:
        return f"commit {_commit(model)[0]}"
    except InputError as error:
        raise InputError(
            f"{key}={model}: cannot be loaded ({error}); give a hub id that can be reached, or a local folder"
        ) from error


@lru_cache(maxsize=64)
def _commit(model: str) -> tuple[str, Path]:
    """The commit that loading a hub id takes: the newest where the hub can be reached, else that of the local cache.

    Returns:
        The commit, and the folder that has a folder for each commit.

    Raises:
        InputError: neither is there.
    """
    from transformers.utils.hub import cached_file, extract_commit_hash

    try:
        file = cached_file(model, "config.json")
    except (OSError, ValueError) as error:
        raise InputError(str(error).strip().splitlines()[0]) from error
    return extract_commit_hash(file, None) or "unknown", Path(file).parent.parent
