"""Load the splits that a config names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.text.beir import beir_splits, load_beir_splits
from colbert_lab.text.installed_docs import installed_docs_splits, load_installed_docs
from colbert_lab.types import Split

log = logging.getLogger(__name__)
TYPES = ("installed_docs", "beir")
DEV_NAMES = ("dev", "validation", "heldout")


@dataclass(frozen=True)
class SplitRequest:
    """One entry of ``evaluation.splits``.

    Attributes:
        type: ``installed_docs`` or ``beir``.
        split: name of the split in its source; ``auto`` is the folder's dev split, else 10% of its training
            queries, else nothing.
        path: folder of a ``beir`` entry.
        queries: cut to this many queries; None keeps all.
    """

    type: str
    split: str
    path: str | None = None
    queries: int | None = None


def is_dev(split: Split) -> bool:
    """Whether a split may be used to choose anything (never a test split)."""
    return split.name in DEV_NAMES


def load_splits(
    requests: Mapping[str, SplitRequest], *, documents: int | None, cache_dir: Path
) -> dict[str, Split]:
    """Load splits; those of one collection share one corpus object, which is then encoded once.

    Args:
        requests: name in the config to what is wanted.
        documents: cut each corpus to this many documents; None keeps all.
        cache_dir: where built text is cached.

    Returns:
        Splits by name, in the order of ``requests``; an ``auto`` entry whose folder has neither dev nor
        train queries is left out with a log line.

    Raises:
        InputError: an entry cannot be loaded; the message names it.
    """
    for key, request in requests.items():
        if request.type not in TYPES:
            raise InputError(
                f"evaluation.splits.{key}.type={request.type}: must be one of {', '.join(TYPES)}"
            )
        if request.type == "beir" and not request.path:
            raise InputError(f"evaluation.splits.{key}.path: no folder given; set evaluation.path=DIR")
    loaded: dict[str, Split] = {}
    docs = {key: request for key, request in requests.items() if request.type == "installed_docs"}
    if docs:
        named = {request.split: request.queries for request in docs.values()}
        splits = installed_docs_splits(load_installed_docs(cache_dir), list(named), documents, named)
        loaded |= {key: splits[request.split] for key, request in docs.items()}
    for path in dict.fromkeys(request.path for request in requests.values() if request.type == "beir"):
        assert path is not None
        wanted = {key: request for key, request in requests.items() if request.path == path}
        names = {key: name for key, request in wanted.items() if (name := _resolve(key, request))}
        queries = {names[key]: wanted[key].queries for key in names}
        splits = load_beir_splits(path, list(queries), documents, queries)
        loaded |= {key: splits[name] for key, name in names.items()}
    return {key: loaded[key] for key in requests if key in loaded}


def _resolve(key: str, request: SplitRequest) -> str | None:
    if request.split != "auto":
        return request.split
    assert request.path is not None
    available = beir_splits(request.path)
    for name, source in (("dev", "dev"), ("validation", "validation"), ("heldout", "train")):
        if source in available:
            return name
    log.info(
        "evaluation.splits.%s: %s has neither dev nor training queries, so nothing is selected on it",
        key,
        request.path,
    )
    return None
