"""What every side of the suite reads: texts in a fixed order, and one set of weights in each side's layout."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

QUERY_WORDS = 3  # of a document that make the query of a contrastive pair: few, so that the loss is not zero
SHARPEN = 4.0  # z-scores of the teacher's scores times this are the labels on every side (temperature 0.25)
STUDENT: dict[str, Any] = {"bias": False, "attention": "eager", "dim": 128}
RULES: dict[str, Any] = {
    "query_length": 32, "document_length": 32, "query_prompt": "", "document_prompt": "", "extend_length": False,
    "skiplist": "punctuation",
}  # fmt: skip
"""What all sides have in common; every side is told the length of documents that a case has."""
PYLATE = {
    "query_marker": "[Q] ",
    "document_marker": "[D] ",
    "expansion": "unattended",
}  # PyLate 1.6.0's defaults
OURS = {"query_marker": None, "document_marker": None, "expansion": "none"}  # conf/student/minilm.yaml
LAYOUTS = ("colbert_lab", "pylate", "sentence_transformers")
KINDS = ("same", "defaults", "small")
SMALL = {
    "model_type": "bert", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 512,
}  # fmt: skip
"""An ordinary BERT, which every side loads, of ``conf/student/muvera_nano.yaml``'s size but for the table of tokens."""
Row = dict[str, Any]


class Collection:
    """Documents, and score lists over them.

    Attributes:
        name: for the table.
        documents: id to text.
        lists: query text, ids of its documents, the best first, and their scores.
    """

    def __init__(self, name: str, documents: dict[str, str], lists: list[tuple[str, list[str], list[float]]]):
        self.name, self.documents, self.lists = name, documents, lists

    @classmethod
    def folder(cls, path: Path) -> Collection:
        """A folder in BEIR layout; lists from ``kd/*.jsonl`` (one system: the first by name with TASB in it)."""
        documents = {row["_id"]: joined(row) for row in lines(path / "corpus.jsonl")}
        queries = {row["_id"]: row["text"] for row in lines(path / "queries.jsonl")}
        files = sorted((path / "kd").glob("*.jsonl"))
        files = [file for file in files if "TASB" in file.name] or files[:1]
        found = [row for file in files for row in lines(file)]
        lists = [
            best_first(queries[row["query_id"]], row["document_ids"], row["scores"])
            for row in found
            if row["query_id"] in queries
        ]
        return cls(path.name, documents, lists or drawn_lists(documents, list(queries.values())))

    @classmethod
    def installed(cls) -> Collection:
        """The documentation of the installed packages; there is no teacher, so scores are random numbers."""
        import os

        from colbert_lab.text.documentation import training_text
        from colbert_lab.text.installed_docs import load_installed_docs

        cache = Path(os.environ.get("COLBERT_LAB_CACHE", "~/.cache/colbert_lab")).expanduser()
        corpus, queries = training_text(load_installed_docs(cache))
        documents = dict(zip(corpus.ids, corpus.texts, strict=True))
        return cls("installed documentation", documents, drawn_lists(documents, list(queries.values())[:400]))


def lines(path: Path) -> list[Row]:
    """Rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def joined(row: Row) -> str:
    """Title and text."""
    return f"{row.get('title') or ''} {row['text']}".strip()


def best_first(query: str, ids: Sequence[str], scores: Sequence[float]) -> tuple[str, list[str], list[float]]:
    """A list, best document first."""
    order = sorted(range(len(ids)), key=lambda n: -scores[n])
    return query, [ids[n] for n in order], [scores[n] for n in order]


def drawn_lists(documents: dict[str, str], queries: list[str]) -> list[tuple[str, list[str], list[float]]]:
    """Random documents with normally distributed scores."""
    generator, names = random.Random(0), list(documents)
    return [
        best_first(
            query, generator.sample(names, min(100, len(names))), [generator.gauss(0, 1) for _ in range(100)]
        )
        for query in queries
    ]


def list_batches(collection: Collection, count: int, size: int, n_way: int, scored: bool) -> list[list[Row]]:
    """Batches of queries with ``n_way`` documents each: the best, and a random draw of the list's others.

    No document is twice in a batch, so that frameworks which treat repeated ones differently do the same work.
    """
    generator, lists = random.Random(1), list(collection.lists)
    generator.shuffle(lists)
    batches: list[list[Row]] = []
    for n in range(count):
        seen: set[str] = set()
        batch: list[Row] = []
        place = n * size
        while len(batch) < size:
            query, ids, scores = lists[place % len(lists)]
            place += 1
            if place > n * size + 2 * len(lists):
                raise SystemExit(
                    f"{collection.name}: too few different documents for {size} lists of {n_way}"
                )
            free = [i for i, name in enumerate(ids) if collection.documents[name] not in seen]
            if len(free) < n_way:
                continue
            pick = [free[0], *generator.sample(free[1:], n_way - 1)]
            texts = [collection.documents[ids[i]] for i in pick]
            if len(set(texts)) < n_way:
                continue
            seen.update(texts)
            row: Row = {"query": query, "documents": texts}
            batch.append(row | {"scores": labels([scores[i] for i in pick])} if scored else row)
        batches.append(batch)
    return batches


def labels(scores: list[float]) -> list[float]:
    """Sharpened z-scores, what every side takes as it is."""
    mean = sum(scores) / len(scores)
    deviation = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5 or 1.0
    return [SHARPEN * (score - mean) / deviation for score in scores]


def pair_batches(collection: Collection, count: int, size: int) -> list[list[Row]]:
    """Batches of pairs: some words of a document, and the document. All documents of a batch differ."""
    generator = random.Random(2)
    texts = list(dict.fromkeys(collection.documents.values()))
    generator.shuffle(texts)
    if len(texts) < size:
        raise SystemExit(f"{collection.name}: {len(texts)} different documents are too few for {size} pairs")
    queries = [" ".join(generator.choices(text.split(), k=QUERY_WORDS)) for text in texts]
    rows = [{"query": query, "documents": [text]} for query, text in zip(queries, texts, strict=True)]
    whole = len(texts) // size
    return [rows[n % whole * size : (n % whole + 1) * size] for n in range(count)]


def split_texts(folder: Path, documents: int | None, queries: int | None) -> dict[str, Any]:
    """The test split of a folder in BEIR layout, cut with the relevant documents first."""
    from colbert_lab.text.collections.beir import load_beir
    from colbert_lab.text.collections.cut import cut_split

    split = cut_split(load_beir(folder, "test"), documents, queries)
    return {
        "corpus": dict(zip(split.corpus.ids, split.corpus.texts, strict=True)),
        "queries": dict(split.queries),
        "qrels": {query: dict(grades) for query, grades in split.qrels.items()},
    }


def write_weights(
    folder: Path, backbone: str, kinds: Sequence[str] = KINDS, layouts: Sequence[str] = LAYOUTS
) -> int:
    """Write one student in every side's layout; what is there already is kept.

    ``same`` is without dropout and with PyLate's markers and expansion on every side; so is ``small``, with random
    weights. ``defaults`` has on each side what its own default is: colbert_lab no dropout, markers and expansion, the
    peers the backbone's dropout and both.

    Args:
        folder: where; a folder is made for each kind, and in it one for each layout.
        backbone: of the student; of ``small`` its tokenizer alone.
        kinds: which of them are written.
        layouts: whose.

    Returns:
        Positions of the backbone of the first kind, the longest text it can read.
    """
    import torch

    from colbert_lab.model.formats.known import save_checkpoint
    from colbert_lab.model.student import NewStudent, build_student
    from colbert_lab.model.tokenizer import TokenRules

    for kind in kinds:
        mark = folder / kind / "positions.json"
        if mark.is_file():
            continue
        shutil.rmtree(folder / kind, ignore_errors=True)
        for layout in layouts:
            own = kind == "defaults" and layout == "colbert_lab"
            torch.manual_seed(0)
            new = NewStudent(
                backbone=backbone,
                dropout=None if kind == "defaults" and not own else 0.0,
                architecture=SMALL if kind == "small" else None,
                **STUDENT,
            )
            student = build_student(new, TokenRules(**RULES, **(OURS if own else PYLATE)))
            (folder / kind / layout).mkdir(parents=True)
            save_checkpoint(student, layout, folder / kind / layout)
        positions = getattr(student.model.backbone.config, "max_position_embeddings", 1 << 20)
        mark.write_text(json.dumps(positions), encoding="utf-8")
    return int(json.loads((folder / kinds[0] / "positions.json").read_text(encoding="utf-8")))
