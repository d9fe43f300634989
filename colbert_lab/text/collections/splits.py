"""Load the splits that a config names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import DEV_NAMES, HELD_OUT, Split
from colbert_lab.text.collections.beir import load_beir_splits
from colbert_lab.text.collections.collection import build_corpus, build_split, check_exclusions, own_documents
from colbert_lab.text.collections.cut import cut_together
from colbert_lab.text.collections.hub_splits import Table, load_hub_splits, read_columns
from colbert_lab.text.collections.ir_datasets_splits import documents_id, load_ir_datasets
from colbert_lab.text.collections.split_request import SplitRequest, filled, naming, resolve
from colbert_lab.text.documentation import documentation_splits
from colbert_lab.text.fingerprint import fingerprint, normalised
from colbert_lab.text.installed_docs import load_installed_docs
from colbert_lab.text.packages.package_docs import load_package_docs, load_text_folder


def load_candidates(dataset: str, name: str, table: Table) -> dict[str, Split]:
    """Load candidate lists, one split a source.

    A document is its text: equal texts are one document, in whatever list they are. A query is a row.

    Args:
        dataset: what the splits call their data set.
        name: name of the splits, for example ``test``.
        table: where the rows are; columns ``query`` and ``negatives`` (a list of texts), ``positive`` or ``document``
            (the relevant text), and ``source`` where the rows come from several.

    Returns:
        Source to split, sorted; one split under an empty name when there are no sources. Each has its own corpus.

    Raises:
        InputError: the table cannot be read, a value is of the wrong type, or a row has a document twice.
    """
    found = read_columns(table, "rows")
    queries = found.get("query", [])
    positives = found.get("positive") or found.get("document")
    if not queries:
        raise InputError(f"layout.rows: {table}: holds no rows; at least one candidate list is needed")
    if positives is None:
        raise InputError(f"layout.rows.columns: {table}: names no column of the relevant documents")
    sources = found.get("source") or [""] * len(queries)
    parts: dict[str, list[int]] = {}
    twice = []
    lists: list[list[str]] = []
    for row, (query, positive, negatives) in enumerate(
        zip(queries, positives, found["negatives"], strict=True)
    ):
        where = f"{table} row {row + 1}"
        lists.append([_text(positive, "positive", where), *_texts(negatives, where)])
        _text(query, "query", where)
        if len(set(lists[row])) < len(lists[row]):
            twice.append(str(row + 1))
        parts.setdefault(str(sources[row] or ""), []).append(row)
    if twice:
        raise InputError(
            f"{table}: rows with a document twice, as positive or negative: {some_ids(twice)}; make them different"
        )
    return {
        source: _split(f"{dataset} {source}".strip(), name, queries, lists, rows, str(table))
        for source, rows in sorted(parts.items())
    }


def _split(
    dataset: str, name: str, queries: list[str], lists: list[list[str]], rows: list[int], source: str
) -> Split:
    texts = list(dict.fromkeys(text for row in rows for text in lists[row]))
    ids = dict(zip(texts, (fingerprint(text) for text in texts), strict=True))
    candidates: Mapping[str, Any] = {f"row{row + 1}": [ids[text] for text in lists[row]] for row in rows}
    return build_split(
        dataset,
        name,
        build_corpus(list(ids.values()), texts),
        {f"row{row + 1}": queries[row] for row in rows},
        {query_id: {names[0]: 1} for query_id, names in candidates.items()},
        {"source": source},
        candidates=candidates,
    )


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {column} must be a text that is not empty, not {value!r}")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: negatives must be a list of at least one text, not {value!r:.80}")
    return [_text(text, "negatives", where) for text in value]


__all__ = ["SplitRequest", "is_dev", "is_held_out_split", "load_splits"]

log = logging.getLogger(__name__)
SAME_ID = "exclude_same_id"


def is_dev(split: Split) -> bool:
    """Whether a split may be used to choose anything (never a test split)."""
    return split.name in DEV_NAMES


def is_held_out_split(split: Split) -> bool:
    """Whether its queries are training queries that are kept out of training, whatever role the split was given."""
    return bool(split.details.get("judgments", split.name) == HELD_OUT)


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
            :func:`colbert_lab.text.collections.collection.judged_split`.

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
        if one.type == "ir_datasets":
            source = f"{documents_id(names[key])} {one.type}"
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
    found = {part: split for key in requests for part, split in loaded.get(key, ())}
    for part, split in found.items():
        _tell_own_documents(part, split)
    return found


def _tell_own_documents(key: str, split: Split) -> None:
    """Say that queries are in the corpus, where they would be the best answers to themselves."""
    own = own_documents(split)
    if not own:
        return
    row_of = {name: row for row, name in enumerate(split.corpus.ids)}
    texts = ((split.queries[query], split.corpus.texts[row_of[query]]) for query in own)
    same = sum(normalised(query) in normalised(document) for query, document in texts)
    if not same:
        log.info(
            "evaluation.splits.%s: %s queries have the id of a document and not its text: they are no documents",
            key, some_ids(own),
        )  # fmt: skip
        return
    log.warning(
        "evaluation.splits.%s: %d queries have a document of their own id, and %d of these documents hold the query's "
        "text: %s. Where queries are documents (ArguAna, Quora), evaluation.every.protocol.exclude_same_id=true takes "
        "a query's own out of its ranking",
        key, len(own), same, some_ids(own),
    )  # fmt: skip


def _whole(
    request: SplitRequest, wanted: Sequence[str], cache_dir: Path, tolerate_unknown_documents: bool
) -> dict[str, Split]:
    """All splits that are wanted of one collection."""
    if request.type == "installed_docs":
        return documentation_splits(load_installed_docs(cache_dir), wanted)
    if request.type == "package_docs":
        return documentation_splits(load_package_docs(request.path, cache_dir, "path"), wanted)
    if request.type == "text_folder":
        return documentation_splits(load_text_folder(Path(request.path or ""), cache_dir, "path"), wanted)
    if request.type == "ir_datasets":
        return load_ir_datasets(wanted, tolerate_unknown_documents=tolerate_unknown_documents)
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
