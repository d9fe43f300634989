"""A toy collection over the tiny BERT's words, with scored lists, and the command that trains on it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from colbert_lab.model.student import NewStudent, Student, build_student
from colbert_lab.model.tokenizer import TokenRules
from tests.tiny import sentences, write_beir

N_DOCUMENTS, N_TRAIN, N_TEST, N_CANDIDATES = 60, 40, 12, 6


def write_toy(folder: Path) -> Path:
    """A BEIR-layout folder with ``lists.jsonl``: a document is relevant to the query that is cut from it.

    Scores count shared words, so there is something to learn.
    """
    texts = sentences(N_DOCUMENTS, low=8, high=18)
    documents = {f"d{n}": text for n, text in enumerate(texts)}
    queries, qrels, lists = {}, {"train": [], "test": []}, []  # type: ignore[var-annotated]
    for n in range(N_TRAIN + N_TEST):
        words = texts[n].split()
        split = "train" if n < N_TRAIN else "test"
        queries[f"q{n}"] = " ".join(words[n % 3 :: 2])
        qrels[split].append((f"q{n}", f"d{n}", 1))
        if split == "train":
            candidates = [f"d{(n + 7 * k) % N_DOCUMENTS}" for k in range(N_CANDIDATES)]
            wanted = set(queries[f"q{n}"].split())
            scores = [len(wanted & set(documents[d].split())) + 0.01 * k for k, d in enumerate(candidates)]
            lists.append({"query_id": f"q{n}", "document_ids": candidates, "scores": scores})
    write_beir(folder, documents, queries, qrels)
    (folder / "lists.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lists), encoding="utf-8")
    return folder


def new_student(**settings: Any) -> Student:
    """An untrained student by the names of its settings in the config, and those of its prompts."""
    rules = {field.name for field in fields(TokenRules)}
    return build_student(
        NewStudent(**{name: value for name, value in settings.items() if name not in rules}),
        TokenRules(**{name: value for name, value in settings.items() if name in rules}),
    )


def student_overrides(tiny_bert: Path) -> list[str]:
    """The tiny student, on the CPU in float32."""
    return [
        f"student.backbone={tiny_bert}",
        "student.dim=16",
        "student.query_length=12",
        "student.document_length=24",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
    ]


def toy_overrides(tiny_bert: Path, toy: Path, outputs: Path) -> list[str]:
    """Arguments of a whole run that takes seconds."""
    return [
        "+experiment=colbert_zero_kd",
        "name=toy",
        *student_overrides(tiny_bert),
        "data=scored_lists",
        f"data.path={toy}",
        "data.scores=lists.jsonl",
        "evaluation=beir",
        f"evaluation.path={toy}",
        "phases.distill.objective.distillation.teacher.temperature=1",
        "phases.distill.epochs=null",
        "phases.distill.steps=6",
        "phases.distill.batch_size=4",
        "phases.distill.n_way=4",
        "phases.distill.optimizer.lr=1e-3",
        "phases.distill.checkpoint_every=2",
        "phases.distill.evaluate_every=2",
        "phases.distill.log_every=1",
        "tracking=off",
        "progress=false",
        f"output_dir={outputs}",
        f"cache_dir={outputs / 'cache'}",
    ]
