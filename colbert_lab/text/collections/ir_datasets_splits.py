"""Data sets of the package ``ir_datasets`` (MacAvaney et al. 2021): texts, queries, judgments and pairs of documents.

The extra ``ir-datasets`` has the package. It fetches a data set when it is read for the first time, into a folder of
its own. A text is what the package itself calls the default text of a document or query, such as title and body.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Split
from colbert_lab.text.collections.collection import Shared, build_corpus, check_unique, judged_split
from colbert_lab.text.collections.text_files import Qrels, add_grade, as_grade
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.lines import as_id, as_text

PACKAGE, EXTRA = "ir_datasets", "ir-datasets"
SPLITS = ("train", "dev", "validation", "test", "eval")
"""Parts of ids that say which split a data set is."""
PAIRS = ("query_id", "doc_id_a", "doc_id_b")


def open_ir_dataset(name: str) -> Any:
    """A data set by its id; nothing is fetched or read.

    Args:
        name: such as ``beir/scifact/test``.

    Raises:
        InputError: the package is not installed, or knows no such id.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise InputError(f'the package {PACKAGE} is not installed; pip install "colbert-lab[{EXTRA}]"')
    import ir_datasets

    try:
        return ir_datasets.load(name)
    except KeyError:
        near = get_close_matches(name, list(ir_datasets.registry), n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else "`ir_datasets list` shows all of them"
        raise InputError(f"{name}: {PACKAGE} has no such data set; {advice}") from None


def documents_id(name: str) -> str:
    """The id of the data set that holds the documents of another: several splits share one corpus.

    Raises:
        InputError: see :func:`open_ir_dataset`.
    """
    _needed(name, "docs")
    import ir_datasets

    return str(ir_datasets.docs_parent_id(name))


def split_name(name: str) -> str:
    """What a data set's split is called: the last part of its id that names one, else its last part."""
    parts = name.split("/")
    return next((part for part in reversed(parts) if part in SPLITS), parts[-1])


def load_ir_datasets(names: Sequence[str], *, tolerate_unknown_documents: bool = False) -> dict[str, Split]:
    """Load data sets as splits; those with the same documents share one corpus object.

    Args:
        names: ids.
        tolerate_unknown_documents: see :func:`colbert_lab.text.collections.collection.judged_split`.

    Returns:
        Id to split, named by :func:`split_name`.

    Raises:
        InputError: see :func:`open_ir_dataset`; a data set lacks documents, queries or judgments, cannot be fetched or
            read, or its parts do not belong together.
    """
    made = {}
    for name in names:
        for part in ("docs", "queries", "qrels"):
            _needed(name, part)
        documents = documents_id(name)
        corpus, queries, qrels = corpus_of(documents), queries_of(name), _qrels(name)
        places = f"the documents of {documents}", f"the queries of {name}"
        shared = Shared(documents.replace("/", "-"), corpus, queries, *places)
        made[name] = judged_split(
            shared,
            split_name(name),
            qrels,
            {"source": f"{PACKAGE} {name}"},
            f"the judgments of {name}",
            tolerate_unknown_documents=tolerate_unknown_documents,
        )
    return made


@lru_cache(maxsize=4)
def corpus_of(name: str) -> Corpus:
    """The documents of a data set, each with its default text; a process reads them once.

    Raises:
        InputError: see :func:`load_ir_datasets`.
    """
    ids, texts = [], []
    with _reading(name, "documents"):
        for document in _needed(name, "docs").docs_iter():
            ids.append(as_id(document.doc_id, "doc_id", name))
            texts.append(_text(document, name))
    if not ids:
        raise InputError(f"{name}: holds no document; at least one is needed")
    check_unique(ids, "document", name)
    return build_corpus(ids, texts)


@lru_cache(maxsize=8)
def queries_of(name: str) -> Mapping[str, str]:
    """The queries of a data set by id, each with its default text.

    Raises:
        InputError: see :func:`load_ir_datasets`.
    """
    ids, texts = [], []
    with _reading(name, "queries"):
        for query in _needed(name, "queries").queries_iter():
            ids.append(as_id(query.query_id, "query_id", name))
            texts.append(_text(query, name))
    check_unique(ids, "query", name)
    return dict(zip(ids, texts, strict=True))


def pairs_of_documents(name: str, most: int | None = None) -> Iterator[tuple[str, str, str]]:
    """The ``docpairs`` of a data set: ids of a query, a document, and another that is less relevant to it.

    Args:
        name: its id.
        most: stop after so many; None reads all.

    Raises:
        InputError: it has none, or they cannot be read.
    """
    dataset = _needed(name, "docpairs")
    with _reading(name, "pairs of documents"):
        for row, pair in enumerate(dataset.docpairs_iter()):
            if row == most:
                return
            query, positive, negative = (as_id(getattr(pair, each), each, name) for each in PAIRS)
            yield query, positive, negative


def ir_dataset_id(name: str, docpairs: bool = False, most: int | None = None) -> str | None:
    """What a data set holds, as the hash of its texts and judgments; reading it may fetch it.

    Args:
        name: its id.
        docpairs: whether its pairs of documents count in place of its judgments.
        most: of these, see :func:`pairs_of_documents`.

    Returns:
        None where it cannot be read: loading it says why.
    """
    try:
        corpus, queries = corpus_of(documents_id(name)), queries_of(name)
        rows: Iterator[tuple[str, str, str]]
        if docpairs:
            rows = pairs_of_documents(name, most)
        else:
            judged = sorted(_qrels(name).items())
            rows = (
                (query, each, str(grade))
                for query, grades in judged
                for each, grade in sorted(grades.items())
            )
        parts = (queries.keys(), queries.values(), chain.from_iterable(rows))
        return f"texts:{fingerprint(corpus.fingerprint, *parts)}"
    except InputError:
        return None


def _qrels(name: str) -> Qrels:
    found: Qrels = {}
    with _reading(name, "judgments"):
        for row in _needed(name, "qrels").qrels_iter():
            query, document = as_id(row.query_id, "query_id", name), as_id(row.doc_id, "doc_id", name)
            add_grade(found, query, document, as_grade(row.relevance, name), f"the judgments of {name}")
    if not found:
        raise InputError(f"{name}: holds no judgments; at least one is needed")
    return found


def _needed(name: str, part: str) -> Any:
    """The data set, once it is known to have a part."""
    dataset = open_ir_dataset(name)
    if not dataset.has(part):
        import ir_datasets

        there = [each.value for each in ir_datasets.EntityType if dataset.has(each)]
        below = (each for each in ir_datasets.registry if each.startswith(f"{name}/"))
        inside = [each for each in below if ir_datasets.registry[each].has(part)]
        advice = f"; try {' or '.join(inside[:3])}" if inside else ""
        raise InputError(f"{name}: has no {part}; it has {', '.join(there) or 'nothing'}{advice}")
    return dataset


def _text(row: Any, name: str) -> str:
    default = getattr(row, "default_text", None)
    if default is None:
        raise InputError(
            f"{name}: {type(row).__name__} has no default_text(), so it is not known what to read"
        )
    return as_text(default(), f"the text of {row[0]}", name).strip()


@contextmanager
def _reading(name: str, what: str) -> Iterator[None]:
    """Tell in one line what a data set's own code raises: a download that fails, or a file that is damaged."""
    try:
        yield
    except (InputError, GeneratorExit):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: {PACKAGE} cannot fetch or read its {what} ({type(error).__name__}: {said}); its page says where "
            "files can be put by hand"
        ) from error
