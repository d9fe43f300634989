"""``task=explain`` on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import colbert_lab
from colbert_lab.model.formats.own import save_student
from colbert_lab.records.identity import config_hash
from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF
from tests.command import Outcome, command
from tests.toy import new_student, student_overrides

QUERY, DOCUMENT = "what's red, and swims?", "a red fish swims: in the river ${water} <script>x</script>"
TEXTS = [f"query={QUERY}", f"document={DOCUMENT}"]


@pytest.fixture
def checkpoint(student_settings: dict[str, Any], tmp_path: Path) -> Path:
    settings = {"query_prompt": "search_query: ", "expansion": "attended", "query_length": 24}
    save_student(new_student(**student_settings | settings), tmp_path / "student")
    return tmp_path / "student"


def run(tmp_path: Path, *arguments: str) -> Outcome:
    return command(
        "task=explain", "trainer.accelerator=cpu", f"output_dir={tmp_path / 'outputs'}", *arguments
    )


def test_a_checkpoint_is_explained_as_it_scores(checkpoint: Path, tmp_path: Path) -> None:
    outcome = run(tmp_path, f"student.checkpoint={checkpoint}", *TEXTS)
    assert outcome.status == 0, outcome.err
    (page,) = (tmp_path / "outputs" / "explain").iterdir()
    assert page.suffix == ".html"
    assert f"saved: {page}" in outcome.err
    assert "untrained" not in outcome.err
    assert "\x1b" not in outcome.out
    model = colbert_lab.load(str(checkpoint), device="cpu", precision="32-true")
    (hit,) = model.rerank(QUERY, [DOCUMENT])
    assert f"score {hit.score:.4f}" in outcome.out
    assert "${water}" in outcome.out
    written = page.read_text(encoding="utf-8")
    assert "&lt;" in written
    assert "<script" not in written
    assert "search (prompt)" in outcome.out
    assert "[MASK] #1 (expansion)" in outcome.out


def test_an_untrained_student_is_said_to_be_one(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "one.HTML"
    outcomes = [run(tmp_path, *student_overrides(tiny_bert)[:-1], *TEXTS, f"out={out}") for _ in range(2)]
    assert outcomes[0].status == 0, outcomes[0].err
    assert "the head is untrained (random weights, seed 42)" in outcomes[0].err
    assert "the head is untrained" in out.read_text(encoding="utf-8")
    assert [path.name for path in out.parent.iterdir()] == ["one.HTML"]
    assert outcomes[0] == outcomes[1]


def test_other_texts_and_settings_are_other_files(checkpoint: Path, tmp_path: Path) -> None:
    student = f"student.checkpoint={checkpoint}"
    for extra in (TEXTS, TEXTS, [*TEXTS, "explain.top=1"], ["query=fish", TEXTS[1]], [*TEXTS, "name=mine"]):
        assert run(tmp_path, student, *extra).status == 0
    names = sorted(path.name for path in (tmp_path / "outputs" / "explain").iterdir())
    assert len(names) == 4
    assert names[-1].startswith("mine-")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (TEXTS[1:], 'query: no text; give query="..."'),
        (TEXTS[:1], 'document: no text; give document="..."'),
        (["query=", TEXTS[1]], "query='': the text is empty"),
        ([TEXTS[0], "document= \n"], r"document=' \n': the text is empty"),
        (["query=a\udcff", TEXTS[1]], "query: no UTF-8 text (see character 2)"),
        ([*TEXTS, "explain.top=0"], "explain.top=0: must be at least 1"),
        ([*TEXTS, "explain.heatmap=-1"], "explain.heatmap=-1: must be at least 0"),
        ([*TEXTS, "explain.tip=1"], "tip"),
        ([*TEXTS, "out=page.txt"], "out=page.txt: must be a file that ends in .html"),
        ([*TEXTS, "out=page"], "out=page: must be a file that ends in .html"),
        ([*TEXTS, "out=/dev/null/x.html"], "out: cannot write to /dev/null"),
        ([*TEXTS, "data=beir"], "data: has no effect on task=explain"),
        ([*TEXTS, "evaluation.depth=5"], "evaluation.depth: has no effect on task=explain"),
        ([*TEXTS, "trainer.precision=bf16-mixed"], "trainer.precision: has no effect on task=explain"),
        ([*TEXTS, "compare.splits=[dev]"], "compare.splits: has no effect on task=explain"),
        ([*TEXTS, "runs=[a]"], "runs: has no effect on task=explain"),
        ([*TEXTS, "student.output=single"], "student.output=single: a dense student has one vector a text"),
    ],
)
def test_bad_input_is_one_line(tiny_bert: Path, tmp_path: Path, arguments: list[str], part: str) -> None:
    outcome = run(tmp_path, *student_overrides(tiny_bert)[:-1], *arguments)
    assert outcome.status == 2
    assert part in outcome.err.splitlines()[-1]
    assert outcome.err.count("error:") == 1
    assert not outcome.out
    assert not list(tmp_path.rglob("*.html"))


def test_out_may_not_be_a_folder(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "x.html").mkdir()
    outcome = run(tmp_path, *student_overrides(tiny_bert)[:-1], *TEXTS, f"out={tmp_path / 'x.html'}")
    assert (outcome.status, outcome.err.count("is a folder; choose another file")) == (2, 1)


@pytest.mark.parametrize(
    ("argument", "part"),
    [
        ("prompts=nomic", "prompts: has no effect on task=explain with student.checkpoint"),
        ("student.output=multi", "student.output: has no effect on task=explain with student.checkpoint"),
        ("student.query_length=9", "student.query_length=9 has no effect with student.checkpoint"),
    ],
)
def test_a_checkpoint_brings_its_own(checkpoint: Path, tmp_path: Path, argument: str, part: str) -> None:
    outcome = run(tmp_path, f"student.checkpoint={checkpoint}", argument, *TEXTS)
    assert outcome.status == 2
    assert part in outcome.err


def test_a_dense_checkpoint_has_no_matches(student_settings: dict[str, Any], tmp_path: Path) -> None:
    save_student(new_student(**student_settings, output="single"), tmp_path / "dense")
    outcome = run(tmp_path, f"student.checkpoint={tmp_path / 'dense'}", *TEXTS)
    assert outcome.status == 2
    assert "a dense student has one vector a text, so no token matches another" in outcome.err


@pytest.mark.parametrize("argument", ["query=a, b", "document=a", "explain.top=1"])
def test_other_tasks_take_none_of_its_settings(argument: str) -> None:
    outcome = command("task=compare", "runs=[a]", argument)
    assert outcome.status == 2
    assert f"{argument.partition('=')[0]}: has no effect on task=compare" in outcome.err


def test_its_settings_are_no_part_of_a_run() -> None:
    plain = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for extra in ([], ["query=a", "document=b", "explain.top=1"]):
            cfg = checked(compose("config", overrides=["+experiment=colbert_zero_kd", *extra]))
            container: Any = OmegaConf.to_container(cfg)
            plain.append(config_hash(container))
    assert plain[0] == plain[1]


def test_an_experiments_student_needs_neither_its_data_nor_its_splits(
    tiny_bert: Path, tmp_path: Path
) -> None:
    outcome = run(tmp_path, "+experiment=real_collections", *student_overrides(tiny_bert)[:-1], *TEXTS)
    assert outcome.status == 0, outcome.err
