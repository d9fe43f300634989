"""Damaged inputs, over all readers and at the command line: read, left out with a warning, or refused in one line."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests import test_injection as injection
from tests.chaos.arena import Arena
from tests.chaos.commands import Blow
from tests.chaos.figures import Figures
from tests.chaos.kinds import KINDS, PLAIN, places
from tests.studies.made_up import made_study
from tests.test_damaged_files import damaged as damaged_file
from tests.test_damaged_files import make_tree, read_damaged_files
from tests.text.test_damage import READERS, read_damaged
from tests.text.test_damage import damaged as damaged_text

LONGEST = 60  # seconds to read a small file


class Hung(Exception):
    """A reader takes too long."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise ``Hung`` in the block when it takes too long."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def count(figures: Figures, problems: list[str]) -> None:
    """Add what readers did wrong."""
    hangs = [each for each in problems if "Hung" in each]
    figures.hangs += len(hangs)
    figures.tracebacks += len(problems) - len(hangs)
    figures.problems += problems


def damage_readers(folder: Path, inputs: int, seed: str) -> Figures:
    """Damage the files of each reader of text, and read them."""
    figures = Figures(f"damaged text and scores: {len(READERS)} readers")
    for name in READERS:
        each = -(-inputs // len(READERS))
        _, problems = read_damaged(
            name, folder / name.replace(" ", "-"), each, random.Random(f"{seed} {name}"), limited
        )
        figures.times += each
        count(figures, problems)
    return figures


def damage_runs(folder: Path, inputs: int, seed: str) -> Figures:
    """Damage the files of runs and of a study, and list, compare, show and publish them."""
    figures = Figures("damaged files of runs and studies")
    study = made_study(folder / "made", (1,)).folder
    problems = read_damaged_files(
        make_tree(folder / "outputs"), study, inputs, random.Random(f"{seed} runs"), limited
    )
    figures.times += inputs
    count(figures, problems)
    return figures


def command_lines(arena: Arena, folder: Path, killed: Path | None) -> dict[str, tuple[list[str], list[Path]]]:
    """By name: a command that reads files, and these; with a folder, also what a killed training left there."""
    toy, student, reranker = (
        shutil.copytree(each, folder / each.name)
        for each in (arena.material.toy, arena.material.student, arena.material.reranker)
    )
    tree = make_tree(folder / "outputs")
    study = made_study(folder / "made", (1,)).folder
    root = folder / "root"
    common = [*PLAIN, *places(root)]
    measured = ["evaluation=beir", f"evaluation.path={toy}", "evaluation.headline=null"]
    measured += ["evaluation.splits.dev=null", "tracking=off"]

    def files(*where: Path) -> list[Path]:
        return [
            each
            for path in where
            for each in sorted(path.rglob("*"))
            if each.is_file() and each.suffix != ".lock"
        ]

    resumed = {}
    if killed is not None:
        killed.mkdir()
        arena.run("train", killed, Blow(write=arena.undisturbed("train")[0].writes - 25))
        resumed["train, after a kill"] = KINDS["train"](arena.material, killed), files(killed)
    texts = files(toy)
    return resumed | {
        "compare": (["task=compare", f"runs=[{tree / 'study'}]", "compare.allow_different=true",
                     f"compare.output={root / 'compared'}", *places(root)], files(tree / "study")),
        "runs": (["task=runs", f"output_dir={tree}"], files(tree)),
        "report": (["task=report", f"study={study}", f"out={root / 'page.html'}"], files(study)),
        "evaluate": (["task=evaluate", f"student.checkpoint={student}", *measured, *common], [*texts, *files(student)]),
        "score": (["task=score", "data=scored_lists", f"data.path={toy}", "data.scores=lists.jsonl",
                   "teacher@score.teacher=cross_encoder", f"score.teacher.model={reranker}",
                   "score.teacher.max_length=40", f"out={root / 'out'}", *common], [*texts, *files(reranker)]),
        "mine": (["task=mine", "data=beir", f"data.path={toy}", f"out={root / 'out'}", "mine.negatives=4",
                  "mine.shares={bm25: 0.75, bi_encoder: 0, random: 0.25}", *common], texts),
        "convert": (["task=convert", f"from={student}", "to=pylate", f"out={root / 'out'}", *places(root)],
                    files(student)),
    }  # fmt: skip


def damage_commands(arena: Arena, folder: Path, inputs: int, seed: str, resumed: bool = True) -> Figures:
    """Damage a file that a command reads, one at a time; also of a training that is ``resumed``."""
    figures, dice = Figures("damaged files at the command line"), random.Random(f"{seed} commands")
    killed = folder / "killed" if resumed else None
    lines = command_lines(arena, folder, killed)
    for number in range(inputs):
        name = list(lines)[number % len(lines)]
        arguments, files = lines[name]
        file = dice.choice(files)
        content = file.read_bytes()
        if file.suffix == ".jsonl" and "toy" in file.parts:
            damaged = damaged_text(content, dice)[1]
        else:
            damaged = damaged_file(dice, file) if content else b"x"
        copy = None
        if killed is not None and file.is_relative_to(killed):
            copy = shutil.copytree(killed, folder / "before", symlinks=True)
        file.write_bytes(damaged)
        ended = arena.commands.run(arguments, folder)
        file.write_bytes(content)
        figures.times += 1
        figures.orphans += ended.orphans
        place = f"{name}: {file.relative_to(folder)} = {damaged[:200]!r}"
        errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
        if ended.status is None:
            figures.hangs += 1
            figures.problems.append(f"{place}: hangs")
        elif "Traceback" in ended.err + ended.out or ended.status not in (0, 2) or len(errors) > 1:
            figures.tracebacks += 1
            figures.problems.append(f"{place}: {ended.status}: {ended.err[-2500:]}")
        shutil.rmtree(folder / "root", ignore_errors=True)
        if killed is not None and copy is not None:
            shutil.rmtree(killed)
            copy.rename(killed)
    return figures


@pytest.fixture(autouse=True)
def _datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.mark.slow
def test_a_share_of_damage(arena: Arena, tmp_path: Path, record_property: Any) -> None:
    damage_readers(tmp_path / "text", 2 * len(READERS), "share").done(record_property)
    damage_commands(arena, tmp_path, 4, "share", resumed=False).done(record_property)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_damage(arena: Arena, tmp_path: Path, record_property: Any, pytestconfig: pytest.Config) -> None:
    """Six of ten inputs are text and scores, three a run's or a study's files, one is at the command line."""
    tenth, seed = -(-pytestconfig.getoption("--damaged") // 10), pytestconfig.getoption("--chaos-seed")
    text = damage_readers(tmp_path / "text", 6 * tenth, seed)
    text.tell(record_property)
    runs = damage_runs(tmp_path / "runs", 3 * tenth, seed)
    runs.tell(record_property)
    lines = damage_commands(arena, tmp_path / "commands", tenth, seed)
    lines.tell(record_property)
    for figures in (text, runs, lines):
        figures.check()


@pytest.mark.chaos
def test_injected_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Any) -> None:
    """Each in every output: terminal, log, Markdown, LaTeX, CSV, JSON, SVG, HTML, model card, W&B's names."""
    figures = Figures("injected texts, each in 10 outputs")
    for number, text in enumerate(injection.INJECTIONS):
        (tmp_path / str(number)).mkdir()
        injection.test_each_text_in_each_format(text, tmp_path / str(number), capsys)
        figures.times += 1
    injection.test_runs_compare_and_tables_of_strange_records(
        injection.strange_outputs(tmp_path / "outputs"), capsys
    )
    injection.test_the_page_of_a_strange_study(tmp_path / "study")
    injection.test_the_parts_of_a_card_of_a_strange_run(tmp_path / "card")
    figures.done(record_property)
