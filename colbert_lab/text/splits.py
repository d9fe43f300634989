"""Load the splits that a config names."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.text.beir import HELD_OUT, beir_splits, is_held_out, load_beir_splits
from colbert_lab.text.cut import cut_together
from colbert_lab.text.installed_docs import installed_docs_splits, load_installed_docs
from colbert_lab.text.installed_docs_build import SPLITS
from colbert_lab.text.qrels import read_qrels
from colbert_lab.types import Split

log = logging.getLogger(__name__)
TYPES = ("installed_docs", "beir")
DEV_NAMES = ("dev", "validation", HELD_OUT)
TRAIN = "train"


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
        Splits by name, in the order of ``requests``; an ``auto`` entry whose folder has neither a dev split
        nor held-out training queries is left out with a log line. Two entries may cut one split differently.

    Raises:
        InputError: an entry cannot be loaded; the message names it.
    """
    names = {key: name for key, request in requests.items() if (name := _resolve(key, request)) is not None}
    sources: dict[str | None, list[str]] = {}
    for key in names:
        sources.setdefault(requests[key].path if requests[key].type == "beir" else None, []).append(key)
    loaded: dict[str, Split] = {}
    for path, keys in sources.items():
        wanted = list(dict.fromkeys(names[key] for key in keys))
        with _naming(keys):
            if path is None:
                whole = installed_docs_splits(load_installed_docs(cache_dir), wanted, None, {})
            else:
                whole = load_beir_splits(path, wanted)
            limits = [requests[key].queries for key in keys]
            cut = cut_together([whole[names[key]] for key in keys], documents, limits)
        loaded |= dict(zip(keys, cut, strict=True))
    return {key: loaded[key] for key in requests if key in loaded}


def _resolve(key: str, request: SplitRequest) -> str | None:
    """The name of the split in its source; None when ``auto`` finds none."""
    entry = f"evaluation.splits.{key}"
    if request.type not in TYPES:
        raise InputError(f"{entry}.type={request.type}: must be one of {', '.join(TYPES)}")
    if request.type == "installed_docs":
        if request.split not in SPLITS:
            raise InputError(
                f"{entry}.split={request.split}: installed_docs has {', '.join(reversed(SPLITS))}"
            )
        return request.split
    if not request.path:
        raise InputError(f"{entry}.path: no folder given; set evaluation.path=DIR")
    if not Path(request.path).is_dir():
        raise InputError(f"{entry}.path={request.path}: no such folder")
    available = beir_splits(request.path)
    if request.split != "auto":
        if (TRAIN if request.split == HELD_OUT else request.split) not in available:
            there = ", ".join(available) or "none"
            raise InputError(
                f"{entry}.split={request.split}: not in {request.path}/qrels; splits there: {there}"
            )
        return request.split
    for name in ("dev", "validation"):
        if name in available:
            return name
    if TRAIN in available:
        with _naming([key]):
            if any(map(is_held_out, read_qrels(Path(request.path) / "qrels" / f"{TRAIN}.tsv"))):
                return HELD_OUT
    log.info(
        "%s: %s has neither dev nor held-out training queries, so nothing is selected on it",
        entry,
        request.path,
    )
    return None


@contextmanager
def _naming(keys: Sequence[str]) -> Iterator[None]:
    """Put the entries concerned in front of an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{', '.join(f'evaluation.splits.{key}' for key in keys)}: {error}") from error
