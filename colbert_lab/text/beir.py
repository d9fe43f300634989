"""Read collections in the folder layout of the BEIR benchmark (Thakur et al. 2021).

``corpus.jsonl`` has lines ``{"_id", "title", "text"}``, ``queries.jsonl`` lines ``{"_id", "text"}``, and
``qrels/<split>.tsv`` a header and the columns query-id, corpus-id, score.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.text.collection import build_corpus
from colbert_lab.text.cut import cut_together
from colbert_lab.text.jsonl import read_jsonl
from colbert_lab.text.judged import Places, check_unique, judged_split
from colbert_lab.text.qrels import Qrels, read_qrels
from colbert_lab.types import Corpus, Split

HELD_OUT = "heldout"


def is_held_out(query_id: str, share: float = 0.1) -> bool:
    """Say whether a training query is kept away from training, to serve as a dev split.

    The rule depends on the id alone: the first 64 bits of the SHA-256 of ``"held-out:" + query_id``, read as
    a number in [0, 1), are below ``share``. So it holds on every machine, and adding or removing queries
    moves no other query. Used for folders without a dev split: training leaves these queries out.

    Args:
        query_id: id of a training query.
        share: the expected share of held-out queries, 0 to 1.

    Returns:
        True when the query is held out.
    """
    digest = hashlib.sha256(f"held-out:{query_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def beir_splits(path: str | Path) -> list[str]:
    """Name the splits of a folder, sorted; none when it has no ``qrels`` folder."""
    return sorted(file.stem for file in Path(path).glob("qrels/*.tsv"))


def load_beir(
    path: str | Path,
    split: str,
    documents: int | None = None,
    queries: int | None = None,
    *,
    tolerate_unknown_documents: bool = False,
) -> Split:
    """Load one split of a folder.

    Args:
        path: the folder; its name becomes the name of the dataset.
        split: name of a file in ``qrels`` without ``.tsv``, or ``heldout`` for the queries of ``train`` that
            ``is_held_out`` picks (about 10%).
        documents: cut the corpus to so many documents (see ``cut.cut_split``).
        queries: cut the split to so many queries.
        tolerate_unknown_documents: drop judgments of documents that are not in the corpus (as in a pooled
            sub-collection), and queries left without any, instead of raising; the counts go to ``details``.

    Returns:
        The split; its queries are the judged ones only.

    Raises:
        InputError: a file or the split is missing, a line is malformed, ids repeat or are unknown, a pair has
            two different grades, or the corpus is empty.
    """
    return load_beir_splits(
        path, [split], documents, {split: queries}, tolerate_unknown_documents=tolerate_unknown_documents
    )[split]


def load_beir_splits(
    path: str | Path,
    splits: Sequence[str],
    documents: int | None = None,
    queries: Mapping[str, int | None] | None = None,
    *,
    tolerate_unknown_documents: bool = False,
) -> dict[str, Split]:
    """Load several splits of a folder over one corpus object, reading the folder once.

    Args:
        path: the folder.
        splits: their names, as in ``load_beir``.
        documents: cut the shared corpus to so many documents.
        queries: split name to the number of queries to cut it to; a missing name or None keeps all.
        tolerate_unknown_documents: as in ``load_beir``.

    Returns:
        Split name to split.

    Raises:
        InputError: as in ``load_beir``.
    """
    folder = _folder(path)
    judged = {name: _read_judgments(folder, name) for name in splits}
    corpus, texts = load_beir_corpus(folder), load_beir_queries(folder)
    whole = []
    for name, (file, qrels) in judged.items():
        details = {"source": str(path), "queries_in_folder": len(texts)}
        places = Places(str(folder / "corpus.jsonl"), str(folder / "queries.jsonl"), str(file))
        whole.append(
            judged_split(
                folder.resolve().name,
                name,
                corpus,
                texts,
                qrels,
                details,
                places,
                tolerate_unknown_documents=tolerate_unknown_documents,
            )
        )
    limits = [(queries or {}).get(name) for name in judged]
    return dict(zip(judged, cut_together(whole, documents, limits), strict=True))


def load_beir_corpus(path: str | Path) -> Corpus:
    """Load the documents of a folder.

    Args:
        path: the folder.

    Returns:
        The corpus; a text is the title, a space and the text, or what there is of the two, stripped.

    Raises:
        InputError: the folder or ``corpus.jsonl`` is missing or empty, a line is malformed, or an id repeats.
    """
    file = _folder(path) / "corpus.jsonl"
    ids: list[str] = []
    texts: list[str] = []
    for name, text in beir_documents(path):
        ids.append(name)
        texts.append(text)
    if not ids:
        raise InputError(f"{file}: the corpus is empty; it needs at least one document")
    check_unique(ids, "document", str(file))
    return build_corpus(ids, texts)


def beir_documents(path: str | Path) -> Iterator[tuple[str, str]]:
    """Id and text of every document of a folder, one after the other; the text as in :func:`load_beir_corpus`.

    Args:
        path: the folder.

    Raises:
        InputError: the folder or ``corpus.jsonl`` is missing, or a line is malformed.
    """
    file = _folder(path) / "corpus.jsonl"
    for number, row in read_jsonl(file):
        where = f"{file} line {number}"
        title = "" if row.get("title") is None else _text(row, "title", where).strip()
        yield _id(row, where), f"{title} {_text(row, 'text', where).strip()}".strip()


def load_beir_queries(path: str | Path) -> dict[str, str]:
    """Load all queries of a folder, judged or not.

    Args:
        path: the folder.

    Returns:
        Query id to text, in the order of the file.

    Raises:
        InputError: the folder or ``queries.jsonl`` is missing, a line is malformed, or an id repeats.
    """
    file = _folder(path) / "queries.jsonl"
    ids: list[str] = []
    texts: list[str] = []
    for number, row in read_jsonl(file):
        where = f"{file} line {number}"
        ids.append(_id(row, where))
        texts.append(_text(row, "text", where).strip())
    check_unique(ids, "query", str(file))
    return dict(zip(ids, texts, strict=True))


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder; it should hold corpus.jsonl, queries.jsonl and qrels/")
    return Path(path)


def _read_judgments(folder: Path, split: str) -> tuple[Path, Qrels]:
    name = "train" if split == HELD_OUT else split
    file = folder / "qrels" / f"{name}.tsv"
    if not file.is_file():
        there = ", ".join(beir_splits(folder)) or "none"
        reason = f" (the split {HELD_OUT} is made from it)" if split == HELD_OUT else ""
        raise InputError(f"{file}: no such file{reason}; splits in this folder: {there}")
    qrels = read_qrels(file)
    if split == HELD_OUT:
        held_out = {query_id: grades for query_id, grades in qrels.items() if is_held_out(query_id)}
        if not held_out:
            raise InputError(f"{file}: none of its {len(qrels)} queries is held out; add a dev split")
        return file, held_out
    return file, qrels


def _id(row: Mapping[str, Any], where: str) -> str:
    value = row.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f'{where}: "_id" must be a string that is not empty, not {value!r}')
    return value


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f'{where}: "{key}" must be a string, not {value!r}')
    return value
