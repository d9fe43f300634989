"""Local data sets in the registry of ``ir_datasets``, made of the package's own classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from colbert_lab.text.collections.ir_datasets_splits import corpus_of, queries_of

NAME = "colbert-lab-toy"


@contextmanager
def registered(
    folder: Path,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Sequence[tuple[str, str, int]]],
) -> Iterator[str]:
    """A data set of documents, ``<name>/<split>`` with queries and judgments, and ``docpairs`` beside those of train.

    The pairs of documents are each relevant one and the next document. Every title is ``T``.
    """
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.datasets.beir import BeirTitleDoc
    from ir_datasets.formats import TrecQrels, TsvDocPairs, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    def file(name: str, rows: Sequence[Sequence[object]], between: str = "\t") -> LocalDownload:
        text = "".join(between.join(map(str, row)) + "\n" for row in rows)
        (folder / name).write_text(text, encoding="utf-8")
        return LocalDownload(folder / name, mkdir=False)

    folder.mkdir(parents=True, exist_ok=True)
    docs = TsvDocs(
        file("docs.tsv", [(key, text, "T") for key, text in documents.items()]), doc_cls=BeirTitleDoc
    )
    asked = TsvQueries(file("queries.tsv", list(queries.items())))
    made = {NAME: Dataset(docs)}
    for split, judged in qrels.items():
        rows = [(query, 0, document, grade) for query, document, grade in judged]
        parts = [docs, asked, TrecQrels(file(f"{split}.qrels", rows, " "), {0: "no", 1: "yes"})]
        if split == "train":
            after = dict(zip(documents, [*list(documents)[1:], next(iter(documents))], strict=True))
            pairs = [(query, document, after[document]) for query, document, grade in judged if grade > 0]
            parts.append(TsvDocPairs(file("docpairs.tsv", pairs)))
        made[f"{NAME}/{split}"] = Dataset(*parts)
    for cached in (corpus_of, queries_of):
        cached.cache_clear()
    for name, dataset in made.items():
        ir_datasets.registry.register(name, dataset)
    try:
        yield NAME
    finally:
        for name in made:
            del ir_datasets.registry._registered[name]
        for cached in (corpus_of, queries_of):
            cached.cache_clear()
