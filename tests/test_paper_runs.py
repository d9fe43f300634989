"""The recipes of ColBERT-AZ, ColBERTv2, Reason-mxbai and MUVERA nano train on small stand-ins for their data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.model.formats.known import save_checkpoint
from tests.command import command, the_run
from tests.conftest import STUDENT
from tests.hub_copies import write_configs, write_tables
from tests.test_paper_recipes import PHASES, RUN
from tests.tiny import sentences
from tests.toy import new_student


def list_rows(texts: list[str], width: int, raw: bool) -> dict[str, list[dict[str, Any]]]:
    """Lists in the hub's columns."""
    generator = np.random.default_rng(0)
    lists = []
    for query in range(8):
        scores = generator.normal(size=width) * 4 if raw else generator.random(width)
        documents = (1000 + generator.permutation(len(texts))[:width]).tolist()
        lists.append({"query_id": query, "document_ids": documents, "scores": scores.tolist()})
    return {
        "train": lists,
        "queries": [{"query_id": query, "text": texts[query][:30]} for query in range(8)],
        "documents": [{"document_id": 1000 + n, "text": text} for n, text in enumerate(texts)],
    }


def stand_ins(name: str, folder: Path) -> list[str]:
    """Small copies of a recipe's data in the layouts of their sources, and the settings that name them."""
    texts = sentences(80, low=6, high=18)
    if name == "colbert_az":
        path = write_configs(folder / "lists", list_rows(texts, 9, raw=False))
        weights = [f"data.source_weights.source_{n}=0.25" for n in range(1, 5)]
        return [*weights, *(f"data.sources.source_{n}.path={path}" for n in range(1, 5))]
    if name == "muvera_nano":
        return [f"data.path={write_configs(folder / 'lists', list_rows(texts, 32, raw=True))}"]
    if name == "colbert_v2":
        (folder / "marco").mkdir(parents=True)
        rows = list_rows(texts, 64, raw=True)
        tables = {"collection": rows["documents"], "queries": rows["queries"]}
        for table, values in tables.items():
            lines = ["\t".join(str(value) for value in row.values()) for row in values]
            (folder / "marco" / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        examples = [
            [row["query_id"], *map(list, zip(row["document_ids"], row["scores"], strict=True))]
            for row in rows["train"]
        ]
        (folder / "marco" / "examples.json").write_text(
            "\n".join(json.dumps(example) for example in examples) + "\n", encoding="utf-8"
        )
        return [f"data.path={folder / 'marco'}"]
    return reasoning_stand_ins(texts, folder)


def reasoning_stand_ins(texts: list[str], folder: Path) -> list[str]:
    found = range(8)
    vl = [
        {"query": ["what is", texts[n][:30]], "pos": [["", texts[n]]], "neg": [["", texts[n + 10]]]}
        for n in found
    ]
    hq = [row | {"pos": [["the", f"b{n}"]]} for n, row in enumerate(vl)]
    write_tables(folder / "reasonir-data", {"vl": {"train": vl}, "hq": {"train": hq}})
    documents = [{"id": f"b{n}", "content": texts[n]} for n in range(20)]
    write_tables(folder / "BRIGHT", {"documents": {"biology": documents[:10], "pony": documents[10:]}})
    bge = folder / "bge" / "bge-reasoner-data-0904"
    bge.mkdir(parents=True)
    for domain in ("biology", "pony"):
        rows = [
            {"prompt": "find the", "query": texts[n], "pos": texts[n : n + 3], "neg": texts[n + 20 : n + 26]}
            for n in found
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (bge / f"{domain}.jsonl").write_text(lines, encoding="utf-8")
    return [
        f"data.path={folder / 'reasonir-data'}",
        f"phases.polish.data.sources.hq.path={folder / 'reasonir-data'}",
        f"phases.polish.data.sources.hq.documents={folder / 'BRIGHT'}",
        f"phases.polish.data.sources.bge.path={folder / 'bge'}",
    ]


def student_overrides(name: str, tiny_bert: Path, folder: Path) -> list[str]:
    """A tiny student; Reason-mxbai's is a checkpoint in PyLate's layout, whose stack is widened."""
    if name != "reason_mxbai":
        settings = {"backbone": tiny_bert, "dim": 16, "query_length": 16, "document_length": 48}
        return [f"student.{key}={value}" for key, value in settings.items()]
    rules = {"query_marker": "[Q] ", "document_marker": "[D] ", "query_length": 16, "document_length": 48}
    student = new_student(
        **STUDENT | rules | {"dim": 8}, backbone=str(tiny_bert), head={"depth": 3, "width": 2.0}
    )
    folder.mkdir()
    save_checkpoint(student, "pylate", folder)
    return [f"student.checkpoint={folder}", "student.widen=16"]


@pytest.mark.parametrize("name", RUN)
def test_a_paper_experiment_trains_two_steps(
    name: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    schedule = list(PHASES[name])
    small = stand_ins(name, tmp_path / "data")
    for phase in schedule:
        values = {
            **{"epochs": "null", "steps": 2, "batch_size": 2, "query_length": 16, "document_length": 48},
            **{"checkpoint_every": 1, "log_every": 1, "lr_schedule.warmup": 0, "token_budget": 512},
        }
        small += [f"phases.{phase}.{key}={value}" for key, value in values.items()]
    outcome = command(
        f"+experiment=paper/{name}",
        *small,
        *student_overrides(name, tiny_bert, tmp_path / "start"),
        "trainer=auto",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "allow_flat_teacher=true",
        "evaluation=none",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path / 'out'}",
        f"cache_dir={tmp_path / 'cache'}",
    )
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path / "out", f"paper_{name}")
    for phase in schedule:
        done = json.loads((run / phase / "phase.json").read_text(encoding="utf-8"))
        assert done["steps"] == 2
        assert (run / phase / "student" / "model.safetensors").is_file()
