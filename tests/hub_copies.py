"""Small local copies of data sets in the layouts of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

Row = Mapping[str, Any]


def write_splits(folder: Path, splits: Mapping[str, Sequence[Row]], *, card: bool = True) -> Path:
    """One config of several splits, as nomic-ai's data sets have them.

    Args:
        folder: where to.
        splits: name to rows.
        card: write the README.md that names the splits; without it, the file names tell.
    """
    (folder / "data").mkdir(parents=True)
    for name, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / "data" / f"{name}-00000-of-00001.parquet")
    if card:
        files = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in splits)
        text = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
        (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def write_configs(folder: Path, configs: Mapping[str, Sequence[Row]]) -> Path:
    """Several configs of one split ``train``, as lightonai's score lists have them."""
    text = "---\nconfigs:\n"
    for name, rows in configs.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / name / "train-00000-of-00001.parquet")
        text += f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n"
    (folder / "README.md").write_text(f"{text}---\n", encoding="utf-8")
    return folder


def write_tables(folder: Path, tables: Mapping[str, Mapping[str, Sequence[Row]]]) -> Path:
    """Several configs with splits of their own, as in the collections of mteb, NanoBEIR and BRIGHT."""
    text = "---\nconfigs:\n"
    for config, splits in tables.items():
        (folder / config).mkdir(parents=True)
        text += f"- config_name: {config}\n  data_files:\n"
        for name, rows in splits.items():
            file = folder / config / f"{name}-00000-of-00001.parquet"
            pq.write_table(pa.Table.from_pylist(list(rows)), file)
            text += f"  - split: {name}\n    path: {config}/{name}-*\n"
    (folder / "README.md").write_text(f"{text}---\n", encoding="utf-8")
    return folder


class Collection(NamedTuple):
    """A collection to be written in any layout."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Sequence[tuple[str, str, int]]]


def _texts(texts: Mapping[str, str]) -> list[Row]:
    return [{"_id": key, "text": text} for key, text in texts.items()]


def _judged(rows: Sequence[tuple[str, str, int]], graded: bool = True) -> list[Row]:
    return [
        {"query-id": query, "corpus-id": document} | ({"score": grade} if graded else {})
        for query, document, grade in rows
    ]


def write_beir_hub(folder: Path, made: Collection) -> Path:
    """BeIR/<name>, and BeIR/<name>-qrels beside it with one tab-separated file a split."""
    corpus = [{"title": ""} | dict(row) for row in _texts(made.documents)]
    write_tables(
        folder,
        {
            "corpus": {"corpus": corpus},
            "queries": {"queries": [{"title": ""} | dict(row) for row in _texts(made.queries)]},
        },
    )
    judgments = folder.with_name(f"{folder.name}-qrels")
    judgments.mkdir()
    for name, rows in made.qrels.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{grade}" for q, d, grade in rows)]
        (judgments / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_mteb(folder: Path, made: Collection) -> Path:
    """mteb/<name>; its grades are floating-point numbers, as in some of them."""
    judged = {
        name: [dict(row) | {"score": float(row["score"])} for row in _judged(rows)]
        for name, rows in made.qrels.items()
    }
    return write_tables(
        folder,
        {
            "corpus": {"corpus": [{"title": ""} | dict(row) for row in _texts(made.documents)]},
            "queries": {"queries": _texts(made.queries)},
            "default": judged,
        },
    )


def write_nano(folder: Path, made: Collection) -> Path:
    """zeta-alpha-ai/Nano<name>; only relevant pairs, without grades."""
    return write_tables(
        folder,
        {
            "corpus": {"train": _texts(made.documents)},
            "queries": {"train": _texts(made.queries)},
            "qrels": {"train": _judged(made.qrels["test"], graded=False)},
        },
    )


def write_nano_en(folder: Path, sets: Mapping[str, Collection]) -> Path:
    """sentence-transformers/NanoBEIR-en: a split for each set."""
    return write_tables(
        folder,
        {
            "corpus": {key: _texts(made.documents) for key, made in sets.items()},
            "queries": {key: _texts(made.queries) for key, made in sets.items()},
            "qrels": {key: _judged(made.qrels["test"], graded=False) for key, made in sets.items()},
        },
    )


def write_bright(
    folder: Path, domains: Mapping[str, Collection], excluded: Mapping[str, Sequence[str]], long: bool = False
) -> Path:
    """xlangai/BRIGHT, with long_documents (the documents under another id, twice as long) where asked for."""

    def examples(made: Collection) -> list[Row]:
        gold = {query: [d for q, d, grade in made.qrels["test"] if q == query] for query in made.queries}
        return [
            {
                "query": text,
                "reasoning": "because",
                "id": query,
                "excluded_ids": list(excluded.get(query, ["N/A"])),
                "gold_ids_long": [f"{name}.long" for name in gold[query]] if long else ["N/A"],
                "gold_ids": gold[query],
                "gold_answer": "",
            }
            for query, text in made.queries.items()
        ]

    tables: dict[str, dict[str, list[Row]]] = {"documents": {}, "examples": {}}
    for domain, made in domains.items():
        short: list[Row] = [{"id": key, "content": text} for key, text in made.documents.items()]
        tables["documents"][domain] = short
        tables["examples"][domain] = examples(made)
        if long:
            rows: list[Row] = [
                {"id": f"{key}.long", "content": f"{text} {text}"} for key, text in made.documents.items()
            ]
            tables.setdefault("long_documents", {})[domain] = rows
    return write_tables(folder, tables)


def write_az_mirage(folder: Path, made: Collection) -> Path:
    """The folder dataset/ of AZ-MIRAGE: a pool whose chunks name the query that they are for, relevant or not."""
    folder.mkdir(parents=True)
    of = {document: (query, grade) for query, document, grade in made.qrels["test"]}
    questions = [
        {
            "source": "ldquad_v2",
            "query_id": key,
            "query": text,
            "doc_name": "x",
            "answer": ["y"],
            "num_doc_labels": 1,
        }
        for key, text in made.queries.items()
    ]
    pool = [
        {"mapped_id": of.get(key, ("", 0))[0], "doc_chunk": text, "support": of.get(key, ("", 0))[1]}
        for key, text in made.documents.items()
    ]
    (folder / "dataset.json").write_text(
        json.dumps(questions, ensure_ascii=False, indent=2), encoding="utf-8"
    )
    (folder / "doc_pool.json").write_text(json.dumps(pool, ensure_ascii=False, indent=2), encoding="utf-8")
    return folder
