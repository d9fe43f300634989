"""Read collections in the folder layout of the BEIR benchmark (Thakur et al. 2021).

``corpus.jsonl`` has lines ``{"_id", "title", "text"}``, ``queries.jsonl`` lines ``{"_id", "text"}``, and
``qrels/<split>.tsv`` a header and the columns query-id, corpus-id, score. Each file may be compressed (``.gz``).
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import HELD_OUT, Corpus, Split
from colbert_lab.text.collections.collection import Shared, build_corpus, check_unique, judged_split
from colbert_lab.text.collections.text_files import Qrels, read_qrels
from colbert_lab.text.lines import as_id, as_text, plain_or_gzipped, read_jsonl, stem

CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"


def is_held_out(query_id: str) -> bool:
    """Say whether a training query is kept away from training, to serve as a dev split.

    The rule depends on the id alone: the first 64 bits of the SHA-256 of ``"held-out:" + query_id``, read as
    a number in [0, 1), are below 0.1. So it holds on every machine, and adding or removing queries
    moves no other query. Used for folders without a dev split: training leaves these queries out.

    Args:
        query_id: id of a training query.

    Returns:
        True when the query is held out.
    """
    digest = hashlib.sha256(f"held-out:{query_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < 0.1 * 2**64


def beir_splits(path: str | Path) -> list[str]:
    """Name the splits of a folder, sorted; none when it has no ``qrels`` folder."""
    files = (file for end in (".tsv", ".tsv.gz") for file in Path(path).glob(f"qrels/*{end}"))
    return sorted({stem(file) for file in files})


def is_beir(path: str | Path) -> bool:
    """Whether a folder holds a corpus in this layout."""
    return plain_or_gzipped(Path(path) / CORPUS).is_file()


def load_beir(path: str | Path, split: str) -> Split:
    """Load one split of a folder, see :func:`load_beir_splits`."""
    return load_beir_splits(path, [split])[split]


def load_beir_splits(
    path: str | Path, splits: Sequence[str], *, tolerate_unknown_documents: bool = False
) -> dict[str, Split]:
    """Load several splits of a folder over one corpus object, reading the folder once.

    Args:
        path: the folder; its name becomes the name of the dataset.
        splits: names of files in ``qrels`` without ``.tsv`` or ``.tsv.gz``, or ``heldout`` for
            the queries of ``train`` that ``is_held_out`` picks (about 10%).
        tolerate_unknown_documents: drop judgments of documents that are not in the corpus (as in a pooled
            sub-collection), and queries left without any, instead of raising; the counts go to ``details``.

    Returns:
        Split name to split; its queries are the judged ones only.

    Raises:
        InputError: a file or a split is missing, a line is malformed, ids repeat or are unknown, a pair has
            two different grades, or the corpus is empty.
    """
    folder = _folder(path)
    judged = {name: _read_judgments(folder, name) for name in splits}
    corpus, texts = load_beir_corpus(folder), load_beir_queries(folder)
    places = str(_file(folder, CORPUS)), str(_file(folder, QUERIES))
    shared = Shared(folder.resolve().name, corpus, texts, *places)
    details = {"source": str(path), "queries_in_folder": len(texts)}
    return {
        name: judged_split(
            shared, name, qrels, details, str(file), tolerate_unknown_documents=tolerate_unknown_documents
        )
        for name, (file, qrels) in judged.items()
    }


def load_beir_corpus(path: str | Path) -> Corpus:
    """Load the documents of a folder.

    Args:
        path: the folder.

    Returns:
        The corpus; a text is the title, a space and the text, or what there is of the two, stripped.

    Raises:
        InputError: the folder or ``corpus.jsonl`` is missing or empty, a line is malformed, or an id repeats.
    """
    file = _file(path, CORPUS)
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
    file = _file(path, CORPUS)
    for number, row in read_jsonl(file):
        where = f"{file} line {number}"
        title = "" if row.get("title") is None else as_text(row["title"], '"title"', where).strip()
        text = as_text(row.get("text"), '"text"', where).strip()
        yield as_id(row.get("_id"), '"_id"', where), f"{title} {text}".strip()


def load_beir_queries(path: str | Path) -> dict[str, str]:
    """Load all queries of a folder, judged or not.

    Args:
        path: the folder.

    Returns:
        Query id to text, in the order of the file.

    Raises:
        InputError: the folder or ``queries.jsonl`` is missing, a line is malformed, or an id repeats.
    """
    file = _file(path, QUERIES)
    ids: list[str] = []
    texts: list[str] = []
    for number, row in read_jsonl(file):
        where = f"{file} line {number}"
        ids.append(as_id(row.get("_id"), '"_id"', where))
        texts.append(as_text(row.get("text"), '"text"', where).strip())
    check_unique(ids, "query", str(file))
    return dict(zip(ids, texts, strict=True))


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise InputError(f"{path}: no such folder; it should hold corpus.jsonl, queries.jsonl and qrels/")
    return Path(path)


def _file(path: str | Path, name: str) -> Path:
    return plain_or_gzipped(_folder(path) / name)


def judgments_file(path: str | Path, split: str) -> Path:
    """The file of a split's judgments, whether it is there or not."""
    return plain_or_gzipped(Path(path) / "qrels" / f"{split}.tsv")


def _read_judgments(folder: Path, split: str) -> tuple[Path, Qrels]:
    name = "train" if split == HELD_OUT else split
    file = judgments_file(folder, name)
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
