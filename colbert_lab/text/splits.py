"""Load the splits that a config names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.text.beir import HELD_OUT, load_beir_splits
from colbert_lab.text.candidates import load_candidates
from colbert_lab.text.collection import build_split
from colbert_lab.text.cut import cut_together
from colbert_lab.text.hub_splits import load_hub_splits
from colbert_lab.text.installed_docs import installed_docs_splits, load_installed_docs
from colbert_lab.text.judged import check_exclusions
from colbert_lab.text.split_request import SplitRequest, filled, naming, resolve
from colbert_lab.types import Split

__all__ = ["DEV_NAMES", "SplitRequest", "is_dev", "load_splits"]

log = logging.getLogger(__name__)
DEV_NAMES = ("dev", "validation", HELD_OUT)
SAME_ID = "exclude_same_id"


def is_dev(split: Split) -> bool:
    """Whether a split may be used to choose anything (never a test split)."""
    return split.name in DEV_NAMES


def load_splits(
    requests: Mapping[str, SplitRequest],
    *,
    documents: int | None,
    cache_dir: Path,
    tolerate_unknown_documents: bool = False,
) -> dict[str, Split]:
    """Load splits; those of one collection share one corpus object, which is then encoded once.

    Args:
        requests: name in the config to what is wanted.
        documents: cut each corpus to this many documents; None keeps all.
        cache_dir: where built text is cached.
        tolerate_unknown_documents: drop judgments of unknown documents, see
            :func:`colbert_lab.text.judged.judged_split`.

    Returns:
        Splits by name, in the order of ``requests``; an ``auto`` entry whose source has neither a dev split
        nor held-out training queries is left out with a log line. Two entries may cut one split differently.
        Candidate lists of several sources become ``<name>.<source>``, one split each.

    Raises:
        InputError: an entry cannot be loaded; the message names it.
    """
    asked = {key: filled(key, request) for key, request in requests.items()}
    names = {key: name for key, request in asked.items() if (name := resolve(key, request)) is not None}
    sources: dict[str, list[str]] = {}
    for key in names:
        one = asked[key]
        source = "installed_docs" if one.type == "installed_docs" else f"{one.path} {one.type} {one.layout}"
        sources.setdefault(source, []).append(key)
    loaded: dict[str, list[tuple[str, Split]]] = {}
    for keys in sources.values():
        first = asked[keys[0]]
        with naming(keys):
            wanted = list(dict.fromkeys(names[key] for key in keys))
            if first.type == "candidates":
                if documents is not None:
                    log.info(
                        "evaluation.documents: has no effect on the candidate lists of %s", ", ".join(keys)
                    )
                lists = [(key, _lists(key, asked[key])) for key in keys]
            else:
                whole = _whole(first, wanted, cache_dir, tolerate_unknown_documents)
                limits = [asked[key].queries for key in keys]
                cut = cut_together([whole[names[key]] for key in keys], documents, limits)
                lists = [(key, [(key, split)]) for key, split in zip(keys, cut, strict=True)]
        for key, made in lists:
            with naming([key]):
                loaded[key] = [(part, _as_asked(split, asked[key])) for part, split in made]
    return {part: split for key in requests for part, split in loaded.get(key, ())}


def _whole(
    request: SplitRequest, wanted: Sequence[str], cache_dir: Path, tolerate_unknown_documents: bool
) -> dict[str, Split]:
    """All splits that are wanted of one collection."""
    if request.type == "installed_docs":
        return installed_docs_splits(load_installed_docs(cache_dir), wanted, None, {})
    assert request.path is not None
    if request.is_folder:
        return load_beir_splits(request.path, wanted, tolerate_unknown_documents=tolerate_unknown_documents)
    assert request.layout is not None
    return load_hub_splits(
        _end(request.path), request.layout, wanted, tolerate_unknown_documents=tolerate_unknown_documents
    )


def _lists(key: str, request: SplitRequest) -> list[tuple[str, Split]]:
    assert request.path is not None
    if request.layout is None or request.layout.rows is None:
        raise InputError("layout.rows: none; it says which columns hold the query and its documents")
    made = load_candidates(
        request.name or _end(request.path), request.split, request.layout.rows.filled(split=request.split)
    )
    cut = {source: cut_together([split], None, [request.queries])[0] for source, split in made.items()}
    return [(f"{key}.{source}" if len(cut) > 1 else key, split) for source, split in cut.items()]


def _end(path: str) -> str:
    """What a data set is called: the end of its path, without a file's ending."""
    end = Path(path.rstrip("/"))
    return end.stem if end.is_file() else end.name


def _as_asked(split: Split, request: SplitRequest) -> Split:
    """The split with the entry's name, role and protocol."""
    asked = {
        rule: value for rule, value in request.protocol.items() if value is not None and value is not False
    }
    if not asked and request.role is None and request.name is None:
        return split
    excluded = {query: set(names) for query, names in split.excluded.items()}
    if asked.get(SAME_ID):
        known = set(split.corpus.ids)
        for query_id in known.intersection(split.queries):
            excluded.setdefault(query_id, set()).add(query_id)
        check_exclusions(split.qrels, excluded, f"protocol.{SAME_ID}")
    details = dict(split.details)
    if request.role is not None:
        details["judgments"] = split.name
    named = request.name is not None and not split.candidates
    return build_split(
        str(request.name) if named else split.dataset,
        request.role or split.name,
        split.corpus,
        split.queries,
        split.qrels,
        details,
        excluded=excluded,
        candidates=split.candidates,
        protocol=asked,
    )
