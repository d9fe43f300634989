"""What is disturbed: a command of each kind over tiny models, and what has to be the same at its end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from colbert_lab.model.formats.own import save_student
from colbert_lab.records.records import TIMES
from tests.conftest import STUDENT
from tests.teachers.support import make_reranker
from tests.test_schedule import three_phases
from tests.tiny import make_tiny_bert
from tests.toy import new_student, student_overrides, write_toy

SECONDS = {
    *TIMES, "seconds", "started", "ended", "pid", "host", "start", "matmul_rate",
    "reused_from", "peak_memory_bytes", "peak_device_bytes",
}  # fmt: skip
"""Keys whose values tell times, and which run measured a value that others take over."""
SPEEDS = ("_per_second", "_gib", "/mfu", "_seconds", "_share")
"""Ends of names of logged points that tell time or memory."""
PLACES = (".log", ".lock", ".md")
"""Files of which only the names are compared."""
PLAIN = ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1", "progress=false"]


@dataclass(frozen=True)
class Material:
    """What the commands read.

    Attributes:
        bert: a tiny encoder.
        toy: a collection, see :func:`tests.toy.write_toy`.
        reranker: a tiny cross-encoder.
        student: a tiny student.
    """

    bert: Path
    toy: Path
    reranker: Path
    student: Path


def make_material(folder: Path) -> Material:
    """Write the models and the text."""
    bert = make_tiny_bert(folder / "bert")
    torch.manual_seed(2)
    save_student(new_student(backbone=str(bert), **STUDENT), folder / "student")
    return Material(bert, write_toy(folder / "toy"), make_reranker(folder / "reranker"), folder / "student")


def places(root: Path) -> list[str]:
    """Where a command writes."""
    return [f"output_dir={root / 'outputs'}", f"cache_dir={root / 'cache'}"]


def train(material: Material, root: Path) -> list[str]:
    """A contrastive phase, and distillation that keeps the best student; dropout, checkpoints between logged steps."""
    given = [
        a
        for a in three_phases(material.bert, material.toy, root / "outputs")
        if not a.startswith(("cache_dir", "output_dir"))
    ]
    given += ["schedule=[supervised,distill]", "student.dropout=0.1", *places(root)]
    for phase in ("supervised", "distill"):
        given += [f"phases.{phase}.{key}" for key in ("steps=9", "checkpoint_every=2", "log_every=3")]
    return [*given, "phases.distill.evaluate_every=4", "phases.distill.keep=best"]


def score(material: Material, root: Path) -> list[str]:
    """A cross-encoder's scores, in many parts."""
    return [
        *("task=score", *PLAIN, *places(root), "data=scored_lists", f"data.path={material.toy}"),
        *("data.scores=lists.jsonl", "teacher@score.teacher=cross_encoder", "score.part=1"),
        *(
            f"score.teacher.model={material.reranker}",
            "score.teacher.max_length=40",
            f"out={root / 'results' / 'out'}",
        ),
    ]


def mine(material: Material, root: Path) -> list[str]:
    """BM25's and random negatives, some left out by a teacher, in many parts."""
    return [
        *("task=mine", *PLAIN, *places(root), "data=beir", f"data.path={material.toy}", "mine.part=1"),
        *(
            "mine.shares={bm25: 0.75, bi_encoder: 0, random: 0.25}",
            "mine.negatives=4",
            f"out={root / 'results' / 'out'}",
        ),
        *("+mine.filter.teacher._target_=tests.teachers.support.Hashed", "+mine.filter.teacher.name=t"),
        "mine.filter.max_score=0.8",
    ]


def convert(material: Material, root: Path) -> list[str]:
    """A student in another layout."""
    return [
        "task=convert",
        f"from={material.student}",
        "to=pylate",
        f"out={root / 'results' / 'out'}",
        *places(root),
    ]


def sweep(material: Material, root: Path) -> list[str]:
    """Two cells of distillation."""
    given = [
        a
        for a in train(material, root)
        if not a.startswith(("schedule", "phases.distill.evaluate_every", "phases.distill.keep"))
    ]
    return [
        "-m",
        *given,
        "schedule=[distill]",
        "phases.distill.steps=3",
        "evaluation.measures=[ndcg@10]",
        "seed=1,2",
    ]


def evaluate(material: Material, root: Path) -> list[str]:
    """The embeddings of a corpus that are kept in files, a few documents each."""
    return [*evaluate_in_memory(material, root), "evaluation.keep_embeddings=true"]


def evaluate_in_memory(material: Material, root: Path) -> list[str]:
    """The embeddings of a corpus in memory that a file stands behind."""
    return [
        *("task=evaluate", *student_overrides(material.bert), "evaluation=beir", "trainer.threads=1"),
        *(f"evaluation.path={material.toy}", "evaluation.headline=null", "evaluation.splits.dev=null"),
        *("evaluation.memory=0.25", "tracking=off", "progress=false"),
        *places(root),
    ]


def ddp(material: Material, root: Path) -> list[str]:
    """A contrastive phase of two processes."""
    given = [
        a
        for a in train(material, root)
        if not a.startswith(("schedule", "evaluation", "phases.distill.evaluate", "phases.distill.keep"))
    ]
    return [
        *(*given, "schedule=[supervised]", "evaluation=none", "evaluation.headline=null"),
        *("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true"),
        "trainer.threads=1",
    ]


KINDS: dict[str, Callable[[Material, Path], list[str]]] = {
    each.__name__: each for each in (train, score, mine, convert, sweep, evaluate, evaluate_in_memory, ddp)
}
"""By name: the arguments of a command that writes below a folder alone."""


SMALL: dict[str, dict[str, float]] = {
    name: {"colbert_lab.search.corpus:COPIES": 50_000, "colbert_lab.model.encode:SAVE_SECONDS": 0.0}
    for name in ("evaluate", "evaluate_in_memory")
}
"""Sizes that make a tiny corpus a large one: three documents a shard, each batch saved."""


def found(root: Path) -> dict[str, Any]:
    """What a command left below a folder: for each file, what has to be the same in another folder."""
    return {
        str(path.relative_to(root)): content(path, root)
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and not is_kept_hash(path)
    }


def is_kept_hash(path: Path) -> bool:
    """Hashes of what was read are kept once a file is a little old, see ``cache_dir/contents``: they are no output."""
    return path.parent.parts[-2:] == ("cache", "contents") and not path.name.startswith(".")


def content(path: Path, root: Path) -> Any:
    """Weights, vectors and files of others to the bit; rankings, records and logged points as values; no times."""
    if path.suffix in PLACES:
        return None
    if path.suffix == ".parquet" and "rankings" in path.parts:
        return repr(pq.read_table(path).to_pylist())
    if path.suffix in (".json", ".jsonl", ".yaml", ".csv"):
        text = path.read_text(encoding="utf-8").replace(str(root), "ROOT")
        if path.suffix == ".json":
            return without_times(json.loads(text))
        if path.suffix == ".jsonl":
            return [without_times(json.loads(line)) for line in text.splitlines()]
        if path.name == "metrics.csv":
            return [line for line in map(point, text.splitlines()) if line]
        return text
    return hashlib.sha256(path.read_bytes()).hexdigest()


def point(line: str) -> str:
    """A logged point without its time; nothing where it tells time or memory."""
    step, _, name, value = line.split(",")
    return "" if name.endswith(SPEEDS) else f"{step},{name},{value}"


def without_times(value: Any) -> Any:
    """JSON without what two executions of one command may say differently."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in SECONDS}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def different(whole: dict[str, Any], disturbed: dict[str, Any]) -> list[str]:
    """Names of files that are not the same in both, or in one alone."""
    return [name for name in whole | disturbed if whole.get(name, "") != disturbed.get(name, "")]
