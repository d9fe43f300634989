"""The workload ``verdict``: from a command to a table with intervals, by the shortest script of each side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suite_cells import Cell, Group
from suite_texts import labels

SIZES: dict[str, Any] = {
    "rates": [3e-5, 1e-4], "lengths": [128, 180], "seeds": [1, 2, 3], "steps": 20, "batch": 4, "ways": 16,
    "training": (800, 96), "test": (1000, 500),
}  # fmt: skip
"""What is trained and measured: 12 students; documents and queries of training and test."""
QUICK: dict[str, Any] = SIZES | {
    "lengths": [32], "seeds": [1, 2], "steps": 2, "ways": 8, "training": (400, 16), "test": (60, 20),
}  # fmt: skip


def verdict_groups(given: Any) -> list[Group]:
    """A sweep on the embedded text; and one student on ``--evaluation``, where that is named.

    Args:
        given: the options of the command line.
    """
    from colbert_lab.text.contents import package_folder

    size = QUICK if given.quick else SIZES
    factors = f"{len(size['rates'])} x {len(size['lengths'])} x {len(size['seeds'])} students of {size['steps']} steps"
    backbone = str(package_folder(given.backbone) or given.backbone)
    cases: list[tuple[str, Sequence[str]]] = [(factors, ("sweep", "{out}/texts/verdict", backbone))]
    if given.evaluation is not None:
        cases.append(
            (
                f"one student on {given.evaluation.name}",
                ("measure", str(given.evaluation), "{out}/weights/same/{side}"),
            )
        )
    return [
        Group(
            "verdict", case, "own",
            [Cell(side, "script", {"command": ["{sides}/{side}_verdict.py", *command]}) for side in given.sides],
            warm_up=False,
        )
        for case, command in cases
    ]  # fmt: skip


def write_texts(folder: Path, quick: bool) -> None:
    """The embedded text as files that every side reads: ``train`` with score lists, ``test`` with judgments, sizes.

    A list has as many documents as training reads, the teacher's best; its scores
    are labels that every side takes as they are, see ``suite_texts.labels``.
    """
    if (folder / "sizes.json").is_file():
        return
    size = QUICK if quick else SIZES
    (lists,), test = embedded(size)
    queries, rows = {}, []
    for n, name in enumerate(lists.query_ids):
        order = (-lists.scores[n]).argsort(kind="stable")
        picked = order[: size["ways"]]
        queries[name] = lists.queries[n]
        documents = [lists.corpus.ids[d] for d in lists.documents[n][picked]]
        rows.append(
            {
                "query_id": name,
                "document_ids": documents,
                "scores": labels([float(s) for s in lists.scores[n][picked]]),
            }
        )
    write_split(folder / "train", lists.corpus, queries)
    write_lines(folder / "train" / "lists.jsonl", rows)
    write_split(folder / "test", test.corpus, dict(test.queries))
    judged = folder / "test" / "qrels" / "test.tsv"
    judged.parent.mkdir(exist_ok=True)
    judgments = [f"{q}\t{d}\t{grade}" for q, grades in test.qrels.items() for d, grade in grades.items()]
    judged.write_text("\n".join(["query-id\tcorpus-id\tscore", *judgments, ""]), encoding="utf-8")
    (folder / "sizes.json").write_text(json.dumps(size), encoding="utf-8")


def embedded(size: dict[str, Any]) -> tuple[Sequence[Any], Any]:
    """Score lists and test split of the installed documentation, as the default run has them at these sizes."""
    from hydra import compose, initialize_config_dir

    from colbert_lab.run.inputs import split_requests
    from colbert_lab.settings import command_of
    from colbert_lab.settings.typed import made
    from colbert_lab.tasks.composing import CONF
    from colbert_lab.text.collections.splits import load_splits
    from colbert_lab.training.precision import of_this_machine

    (documents, queries), (searched, asked) = size["training"], size["test"]
    given = [
        "+experiment=colbert_zero_kd", f"data.documents={documents}", f"data.queries={queries}",
        f"evaluation.documents={searched}", f"evaluation.splits.test.queries={asked}", "~evaluation.splits.dev",
        "evaluation.headline=null",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = command_of(compose("config", overrides=given), here=of_this_machine).settings
    evaluation = settings.evaluation
    splits = load_splits(
        split_requests(evaluation.splits, evaluation.full),
        documents=evaluation.documents,
        cache_dir=settings.cache,
        tolerate_unknown_documents=False,
    )
    return made(settings.phases["distill"].data).load(settings.cache), splits["test"]


def mean_measured(folder: Path) -> float:
    """The mean nDCG@10 of the students that a command measured in its folder: by its records, or its last line."""
    from colbert_lab.records.records import read_records

    files = sorted((folder / "outputs").rglob("results.jsonl"))
    if files:
        found = [
            r.value
            for file in files
            for r in read_records(file)
            if (r.system, r.measure) == ("student", "ndcg@10")
        ]
        return sum(found) / len(found)
    last = (folder / "log.txt").read_text(encoding="utf-8").strip().splitlines()[-1]
    return float(json.loads(last)["ndcg@10"])


def write_split(folder: Path, corpus: Any, queries: dict[str, str]) -> None:
    """Documents and queries in BEIR layout."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = zip(corpus.ids, corpus.texts, strict=True)
    write_lines(folder / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in texts])
    write_lines(folder / "queries.jsonl", [{"_id": name, "text": text} for name, text in queries.items()])


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A JSON lines file."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
