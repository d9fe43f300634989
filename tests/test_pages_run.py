"""Every command on the pages runs, in the order of its page, at a small size.

The folder in which they run has what the pages name: the collection ``DIR``, models and data under their hub ids, mined
and scored data, runs. What a page makes, it reads itself.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from colbert_lab.model.formats.own import save_student
from colbert_lab.tasks.arguments import readable
from colbert_lab.tasks.composing import CONF
from colbert_lab.tasks.registry import TASKS
from tests.command import command
from tests.conftest import ROOT, STUDENT
from tests.hub_copies import Collection, write_beir_hub, write_mteb
from tests.smaller import smaller
from tests.teachers.support import make_reranker
from tests.test_pages import PAGES, PROGRAM, commands, one_cell
from tests.text.packages.made import MODULES
from tests.text.packages.made import page as text_page
from tests.toy import new_student, write_toy

ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "+experiment=paper/": ("tests/test_paper_runs.py", "+experiment=paper/"),
    "hydra/launcher=": ("tests/run/test_sweeping.py", "hydra/launcher={launcher}"),
    "trainer.devices=": ("tests/test_processes.py", '"trainer.devices=2"'),
    "repo=OWNER/NAME": ("tests/tasks/test_push.py", "repo={REPO}"),
    "report.live=true": ("tests/tasks/test_report.py", "report.live=true"),
    "to=wandb": ("tests/test_wandb_run.py", '"to=wandb"'),
    "compare.published": ("tests/tasks/test_compare.py", "compare.published="),
    "study=experiments/temperature": ("tests/tasks/test_report.py", "study="),
}
"""Parts of commands that need a cluster, a hub, a server or processes of their own; where they run, and by what."""
MADE = (
    ["+experiment=colbert_zero_kd", "phases.distill.optimizer.lr=1e-4"],
    ["+experiment=colbert_zero_kd", "name=a"],
    ["+experiment=colbert_zero_kd", "name=b", "seed=2"],
    ["task=mine", "data=beir", "data.path=DIR", "out=MINED"],
    ["task=score", "data=beir", "data.path=DIR", "teacher@score.teacher=bm25", "out=LISTS"],
)
"""What makes the things that a page reads and does not make."""
ASKS = ("--help", "--cfg")
READ_TEXT = ("train", "evaluate", "certify", "plan", "mine", "score", "audit")
"""Tasks for which the text is made small."""
EVERYWHERE = (
    "trainer.precision=32-true", "trainer.accelerator=cpu", "allow_flat_teacher=true", "tracking=off",
)  # fmt: skip
FEWER: Mapping[str, tuple[str, ...]] = {
    "+trainer.lightning.limit_train_batches=0.1": ("phases.distill.steps=20",),
    "teacher@score.teacher=cross_encoder": ("score.teacher.max_length=64",),
    "+experiment=search_lr": ("hydra.sweeper.n_trials=2", "phases.distill.evaluate_every=1"),
    "hydra/sweeper=optuna": ("hydra.sweeper.n_trials=2", "phases.distill.evaluate_every=1"),
    "+sweep=first_look": ("seed=1", "teacher@data.teacher=bm25"),
}
"""Words of commands to what small sizes ask for, and what leaves two cells of a sweep."""

DONE: list[set[str]] = []
"""Commands that take long and say the same wherever they stand."""


@pytest.fixture(scope="module")
def place(some_docs: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands run."""
    place = tmp_path_factory.mktemp("pages")
    (place / "cache").symlink_to(some_docs)
    for name in ("examples", "experiments"):
        (place / name).symlink_to(ROOT / name)
    write_collection(place / "DIR")
    make_reranker(place / "BAAI" / "bge-reranker-v2-m3")
    save_student(new_student(**STUDENT | {"backbone": str(tiny_bert)}), place / "lightonai" / "ColBERT-Zero")
    made = Collection(
        {"d1": "red fish", "d2": "old bird", "d3": "stone river"},
        {"q1": "fish", "q2": "bird"},
        {"test": [("q1", "d1", 1), ("q2", "d2", 1)]},
    )
    write_mteb(place / "mteb" / "nfcorpus", made)
    write_beir_hub(place / "OWNER" / "NAME", made)
    (corpus,) = (place / "OWNER" / "NAME" / "corpus").glob("*.parquet")
    pq.write_table(pq.read_table(corpus).rename_columns({"text": "body"}), corpus)
    with pytest.MonkeyPatch.context() as patch:
        at_place(place, patch)
        for words in MADE:
            run(words, place)
    return place


def write_collection(folder: Path) -> None:
    """``DIR``: a collection with score files and pages of text."""
    write_toy(folder)
    for letter in MODULES:
        (folder / f"{letter}.rst").write_text(text_page(f"page{letter}", 4), encoding="utf-8")
    (folder / "kd").mkdir()
    lists = (folder / "lists.jsonl").read_text(encoding="utf-8")
    (folder / "kd" / "a.jsonl").write_text(lists, encoding="utf-8")
    lines = [
        f"{row['query_id']} Q0 {document} 1 {score} b\n"
        for row in map(json.loads, lists.splitlines())
        for document, score in zip(row["document_ids"], row["scores"], strict=True)
    ]
    (folder / "kd" / "b.run").write_text("".join(lines), encoding="utf-8")


def at_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what follows in the folder."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLBERT_LAB_CACHE", str(place / "cache"))
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "own"))


def ours(page: Path) -> list[list[str]]:
    """What the page gives to the program, without the commands that other tests run."""
    found = [words[3:] for words in commands(page) if words[1:3] == PROGRAM[1:]]
    kept = [words for words in found if not any(part in word for part in ELSEWHERE for word in words)]
    return [[word.replace("=FILE", "=lists.jsonl") for word in words] for words in kept]


def shortened(words: list[str]) -> list[str]:
    """A command with fewer cells: two values of one factor, or of two where their name says so, and else one."""
    kept: list[str] = []
    left = 2 if "name=two_factors" in words else 1
    for word in sorted(words, key=lambda each: each.startswith("seed=")):  # seeds are the last that get two
        if "=" in word and not word.startswith("-"):
            (override,) = OverridesParser.create().parse_overrides([word])
            if override.is_sweep_override() and not isinstance(override.value(), IntervalSweep):
                values = list(map(str, override.sweep_string_iterator()))[: 2 if left > 0 else 1]
                word = f"{word.partition('=')[0]}={','.join(values)}"
                left -= 1
        kept.append(word)
    return kept


def small(words: list[str], folder: Path) -> list[str]:
    """What makes the command small; nothing for one that only asks."""
    if set(ASKS) & set(words):
        return []
    first, folders = one_cell(words)
    searched = [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*first, *searched])
    if cfg.task not in READ_TEXT:
        return []
    given = [*smaller(cfg, folder), *EVERYWHERE, *(more for word in words for more in FEWER.get(word, ()))]
    if "distill" in cfg.schedule:
        given.append("phases.distill.n_way=4")
    says = any("n_way" in word for word in words)
    return [each for each in given if not (says and ".n_way=" in each)]


def run(words: list[str], place: Path) -> None:
    """One command; what it writes is not there before."""
    for word in words:
        if word.startswith("out="):
            shutil.rmtree(place / word[4:], ignore_errors=True)
    given = [*shortened(readable(words, CONF, TASKS)), *small(words, place / "small")]
    outcome = command(*given)
    assert outcome.status == 0, f"{shlex.join(given)}\n{outcome.err[-3000:]}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if ours(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_commands_of_a_page_run(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_place(place, monkeypatch)
    for words in ours(page):
        alone = {word for word in words if not word.startswith("out=")}
        if not alone & {"task=certify", "task=plan"}:
            run(words, place)
        elif alone not in DONE:
            DONE.append(alone)
            run(words, place)


def test_what_runs_elsewhere_is_there() -> None:
    for part, (home, text) in ELSEWHERE.items():
        assert text in (ROOT / home).read_text(encoding="utf-8"), (part, home)
