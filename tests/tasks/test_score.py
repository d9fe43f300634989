"""``task=score`` on the command line: what it writes, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from colbert_lab.model.formats.own import save_student
from colbert_lab.records.identity import config_hash
from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF
from colbert_lab.teachers.cross_encoder import CrossEncoder
from colbert_lab.teachers.llm_reranker import LLMReranker
from colbert_lab.text.scored_lists import read_scored_lists
from tests import forked
from tests.command import Outcome, command, the_run
from tests.conftest import SHARED_DATA
from tests.teachers.support import make_reranker
from tests.toy import new_student, toy_overrides, write_toy

PLAIN = ["trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1", "progress=false"]
POOL = SHARED_DATA / "msmarco-dl-pool"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_reranker(tmp_path_factory.mktemp("reranker"))


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_toy(tmp_path / "toy")


def base(tmp_path: Path) -> list[str]:
    return ["task=score", *PLAIN, f"output_dir={tmp_path / 'outputs'}", f"cache_dir={tmp_path / 'cache'}"]


def lists_command(toy: Path, reranker: Path, tmp_path: Path, *more: str) -> list[str]:
    """Score the toy's own lists with the reranker."""
    return [
        *base(tmp_path),
        "data=scored_lists",
        f"data.path={toy}",
        "data.scores=lists.jsonl",
        "teacher@score.teacher=cross_encoder",
        f"score.teacher.model={reranker}",
        "score.teacher.max_length=40",
        *more,
    ]


def files_command(toy: Path, tmp_path: Path, *files: str) -> list[str]:
    """Ready score files over the toy's texts."""
    return [*base(tmp_path), "data=beir", f"data.path={toy}", f"score.files=[{','.join(files)}]"]


def rows_of(folder: Path, config: str = "train") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / config / "part-0.parquet").to_pylist()
    return rows


def content(folder: Path) -> dict[str, bytes]:
    """Every file but teacher.json, which tells times."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "teacher.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def refused(outcome: Outcome, *parts: str) -> None:
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.status == 2, outcome.err
    assert len(lines) == 1
    assert "Traceback" not in outcome.err
    for part in parts:
        assert part in lines[0]


def test_lists_of_the_data_are_scored_by_a_cross_encoder(toy: Path, reranker: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = command(*lists_command(toy, reranker, tmp_path, f"out={out}", "score.part=7"))
    assert outcome.status == 0, outcome.err
    assert "candidates: the documents that the data lists for each query" in outcome.err
    assert f"240 scores of 40 queries, 60 documents: {out}" in outcome.err
    given = [json.loads(line) for line in (toy / "lists.jsonl").read_text().splitlines()]
    rows = rows_of(out)
    assert [(row["query_id"], row["document_ids"]) for row in rows] == [
        (row["query_id"], row["document_ids"]) for row in given
    ]
    lists = read_scored_lists(out, cache_dir=tmp_path / "cache")
    teacher = CrossEncoder(str(reranker), max_length=40, accelerator="cpu")
    for query, documents, scores in zip(lists.queries, lists.documents, lists.scores, strict=True):
        texts = [lists.corpus.texts[n] for n in documents]
        alone = torch.cat([teacher.score_pairs([query], [text]) for text in texts]).numpy()
        np.testing.assert_allclose(scores, alone, atol=1e-5, rtol=0)
    facts = json.loads((out / "teacher.json").read_text())
    assert facts["teacher"]["revision"].startswith("weights sha256:")
    assert f"CrossEncoder(model='{reranker}'" in facts["teacher"]["settings"]
    assert facts["counts"]["scores"] == 240
    assert facts["seconds"] > 0
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["time"].startswith("20")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out.")) == []


@pytest.mark.slow
def test_what_it_writes_is_trained_on(toy: Path, reranker: Path, tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert command(*lists_command(toy, reranker, tmp_path, f"out={out}")).status == 0
    arguments = [a for a in toy_overrides(tiny_bert, toy, tmp_path / "runs") if not a.startswith("data.")]
    outcome = command(*arguments, f"data.path={out}", "allow_flat_teacher=true")
    assert outcome.status == 0, outcome.err
    assert (the_run(tmp_path / "runs", "toy") / "distill" / "student").is_dir()


def test_candidates_are_retrieved_for_a_folder_with_judgments(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = command(
        *base(tmp_path), "data=beir", f"data.path={toy}", "teacher@score.teacher=bm25", f"out={out}",
        "score.top=4", "score.random=2", "data.split=test",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    assert (
        "candidates: relevant documents, the best 4 of BM25 (k1=0.9, b=0.4), 2 random others" in outcome.err
    )
    rows = rows_of(out)
    assert [row["query_id"] for row in rows] == [f"q{n}" for n in range(40, 52)]
    assert all(row["document_ids"][0] == f"d{40 + n}" for n, row in enumerate(rows))
    named = {document for row in rows for document in row["document_ids"]}
    assert {row["document_id"] for row in rows_of(out, "documents")} == named
    assert len(named) < 60
    facts = json.loads((out / "teacher.json").read_text())
    assert facts["identity"]["candidates"]["top"] == 4
    assert facts["teacher"]["revision"].startswith("bm25s ")


def test_a_student_of_ours_scores(toy: Path, student_settings: dict[str, Any], tmp_path: Path) -> None:
    save_student(new_student(**student_settings), tmp_path / "student")
    outcome = command(
        *base(tmp_path), "data=scored_lists", f"data.path={toy}", "data.scores=lists.jsonl",
        "teacher@score.teacher=colbert", f"score.teacher.checkpoint={tmp_path / 'student'}", "name=mine",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    (out,) = (tmp_path / "outputs" / "score").iterdir()
    assert out.name.startswith("mine-")
    assert str(out) in outcome.err
    assert len(rows_of(out)) == 40


def test_a_finished_folder_is_left_alone_and_another_command_is_refused(
    toy: Path, reranker: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = lists_command(toy, reranker, tmp_path, f"out={out}")
    assert command(*arguments).status == 0
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    again = command(*arguments)
    assert again.status == 0, again.err
    assert f"finished before, nothing to do: {out}" in again.err
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    refused(
        command(*arguments, "score.teacher.max_length=39"),
        f'out: {out} was made with other settings (teacher: "CrossEncoder(',
        "choose another with out=DIR",
    )
    other = make_reranker(tmp_path / "other", seed=1)
    shutil.copytree(reranker, tmp_path / "copy")
    shutil.copy(other / "model.safetensors", reranker / "model.safetensors")
    try:
        refused(command(*arguments), "revision: 'weights sha256:")
    finally:
        shutil.copy(tmp_path / "copy" / "model.safetensors", reranker / "model.safetensors")
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refused(command(*arguments, f"out={tmp_path / 'full'}"), "exists and is not such a folder")


@pytest.mark.slow
def test_a_killed_command_goes_on_and_gives_the_same_files(toy: Path, reranker: Path, tmp_path: Path) -> None:
    def line(out: str) -> list[str]:
        arguments = lists_command(toy, reranker, tmp_path, f"out={tmp_path / out}", "score.part=1")
        return ["-m", "colbert_lab", *arguments]

    whole = forked.run(line("whole"))
    assert whole.returncode == 0, whole.stderr
    unfinished = tmp_path / "killed.unfinished"
    process = forked.Python(line("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    while process.poll() is None and not list(unfinished.glob("part-*.parquet")):
        time.sleep(0.002)
        assert time.monotonic() - begun < 120
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    there = {file: file.stat().st_mtime_ns for file in unfinished.glob("part-*.parquet")}
    assert 0 < len(there) < 40
    # What differs is said, and what is scored stays.
    other = command(*line("killed")[2:], "score.part=2")
    refused(
        other, f"out: {unfinished} holds parts made with other settings or libraries (part: 1 there, 2 here"
    )
    done = forked.Python(line("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while done.poll() is None and unfinished.exists():
        for file, written in there.items():
            try:
                assert file.stat().st_mtime_ns == written, "scored twice"
            except FileNotFoundError:
                break
        time.sleep(0.01)
    _, told = done.communicate()
    assert done.returncode == 0, told
    assert f"{len(there)} of 40 parts are there already" in told
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert len(content(tmp_path / "killed")) == 5
    assert not unfinished.exists()


@pytest.mark.slow
def test_two_processes_write_what_one_writes(toy: Path, reranker: Path, tmp_path: Path) -> None:
    for name, extra in (("two", ["trainer=ddp", "trainer.devices=2"]), ("one", [])):
        arguments = lists_command(toy, reranker, tmp_path, f"out={tmp_path / name}", "score.part=3", *extra)
        arguments = [*extra, *(a for a in arguments if a not in extra)]
        done = forked.run(["-m", "colbert_lab", *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr
        assert ("2 processes did 14 parts, this one 7" in done.stderr) == (name == "two")
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_nan_scores_are_named_and_scored_parts_stay(
    toy: Path, reranker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = CrossEncoder.score_pairs

    def broken(self: CrossEncoder, queries: Any, documents: Any) -> Any:
        scores = honest(self, queries, documents)
        if len(list((tmp_path / "out.unfinished").glob("part-*.parquet"))) == 3:
            scores[4] = float("nan")
        return scores

    arguments = lists_command(toy, reranker, tmp_path, f"out={tmp_path / 'out'}", "score.part=4")
    monkeypatch.setattr(CrossEncoder, "score_pairs", broken)
    refused(command(*arguments), "NaN or infinite scores for queries 1 (q12)", "what is scored already stays")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(CrossEncoder, "score_pairs", honest)
    outcome = command(*arguments)
    assert "3 of 10 parts are there already" in outcome.err
    assert len(rows_of(tmp_path / "out")) == 40


def test_files_become_lists_alone_and_together(toy: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (toy / "lists.jsonl").read_text().splitlines()][:3]
    (toy / "three.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = "".join(
        f"{row['query_id']} Q0 {document} 1 {n} tag\n"
        for row in rows
        for n, document in enumerate(row["document_ids"])
    )
    (toy / "three.run").write_text(run)
    one, both = tmp_path / "one", tmp_path / "both"
    assert command(*files_command(toy, tmp_path, "three.jsonl"), f"out={one}").status == 0
    assert [(row["query_id"], row["document_ids"]) for row in rows_of(one)] == [
        (row["query_id"], row["document_ids"]) for row in rows
    ]
    assert [row["scores"] for row in rows_of(one)] == [pytest.approx(row["scores"]) for row in rows]
    outcome = command(
        *files_command(toy, tmp_path, str(one), "three.run"), f"out={both}", "score.combine=rank"
    )
    assert outcome.status == 0, outcome.err
    first = rows_of(both)[0]
    order = sorted(
        rows[0]["document_ids"], key=lambda d: -rows[0]["scores"][rows[0]["document_ids"].index(d)]
    )
    for document, score in zip(first["document_ids"], first["scores"], strict=True):
        by_run = rows[0]["document_ids"].index(document) / 5
        assert score == pytest.approx((1 - order.index(document) / 5 + by_run) / 2, abs=1e-6)
    facts = json.loads((both / "teacher.json").read_text())
    assert facts["teacher"]["settings"] == {"combine": "rank", "missing": "lowest"}
    again = command(*files_command(toy, tmp_path, str(one), "three.run"), f"out={both}", "score.combine=rank")
    assert "finished before, nothing to do" in again.err


@pytest.mark.skipif(not POOL.is_dir(), reason="msmarco-dl-pool is not here")
def test_six_systems_of_the_pool_become_one_teacher(tmp_path: Path) -> None:
    files = sorted(str(file.relative_to(POOL)) for file in (POOL / "kd").glob("dl20.*.jsonl"))
    assert len(files) == 6
    outcome = command(*files_command(POOL, tmp_path, *files), f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    lists = read_scored_lists(tmp_path / "out", cache_dir=tmp_path / "cache")
    assert len(lists) == 54
    assert min(map(len, lists.documents)) >= 100


TEACHER = ["teacher@score.teacher=bm25"]
REFUSED: dict[str, tuple[list[str], str]] = {
    "nobody scores": ([], "score.teacher: name what scores"),
    "both": ([*TEACHER, "score.files=[lists.jsonl]"], "score.teacher: name what scores"),
    "part": ([*TEACHER, "score.part=0"], "score.part=0: must be at least 1"),
    "candidates": ([*TEACHER, "score.candidates=all"], "score.candidates=all: must be one of"),
    "idle combine": ([*TEACHER, "score.combine=rank"], "score.combine: has no effect with score.teacher"),
    "idle top": (["score.files=[lists.jsonl]", "score.top=3"], "score.top: has no effect with score.files"),
    "idle retriever": (
        ["score.files=[lists.jsonl]", "score.retrievers.bm25.k1=1"],
        "score.retrievers: has no effect with score.files",
    ),
    "idle missing": (
        ["score.files=[lists.jsonl]", "score.missing=drop"],
        "score.missing: has no effect with a single one",
    ),
    "twice": (["score.files=[lists.jsonl,lists.jsonl]"], "score.files: a file is named twice"),
    "devices": (
        ["score.files=[lists.jsonl]", "trainer.devices=2"],
        "trainer.devices=2: has no effect on score.files",
    ),
    "pairs have no lists": ([*TEACHER, "score.candidates=source"], "has neither lists nor negatives"),
    "too many": ([*TEACHER, "score.top=59"], "score.top and score.random ask for up to 67 of only 60"),
    "missing file": (["score.files=[none.tsv]"], "score.files: none.tsv: no such file"),
    "not writable": ([*TEACHER, "out=/dev/null/x"], "out: cannot write to /dev/null"),
    "typo": (["score.teachr=bm25"], "teachr"),
    "unknown model": (
        ["teacher@score.teacher=cross_encoder", "score.teacher.model=./nowhere"],
        "error: score.teacher.model=./nowhere: no such folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_line_and_leaves_nothing(case: str, toy: Path, tmp_path: Path) -> None:
    more, part = REFUSED[case]
    out = [] if any(argument.startswith("out=") for argument in more) else [f"out={tmp_path / 'out'}"]
    outcome = command(*base(tmp_path), "data=beir", f"data.path={toy}", *out, *more)
    refused(outcome, part)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.unfinished").exists()


def test_triples_of_ids_are_scored_as_lists(toy: Path, tmp_path: Path) -> None:
    (toy / "ids.tsv").write_text("q0\td1\td2\td3\nq0\td4\td2\td5\nq1\td6\td7\td8\n")
    triples = [
        "data=triples",
        f"data.path={toy}",
        "data.triples=ids.tsv",
        *TEACHER,
        "score.candidates=source",
    ]
    outcome = command(*base(tmp_path), *triples, "data.negatives=2", f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    found = {row["query_id"]: row["document_ids"] for row in rows_of(tmp_path / "out")}
    assert found == {"q0": ["d1", "d4", "d2", "d3", "d5"], "q1": ["d6", "d7", "d8"]}
    pairs = command(*base(tmp_path), *triples, "data.negatives=null", f"out={tmp_path / 'pairs'}")
    refused(pairs, "has pairs of ids and no negatives; set data.negatives")


def test_no_data_is_one_line(tmp_path: Path) -> None:
    refused(command(*base(tmp_path), "~data", *TEACHER), "data: nothing to score")


def test_retrieval_settings_have_no_effect_on_lists_and_say_so(
    toy: Path, reranker: Path, tmp_path: Path
) -> None:
    outcome = command(*lists_command(toy, reranker, tmp_path, "score.top=3"))
    refused(outcome, "score.top: has no effect with the lists of the data")


def test_out_without_the_task_has_no_effect_and_says_so(tmp_path: Path) -> None:
    refused(command("+experiment=colbert_zero_kd", f"out={tmp_path}"), "out: has no effect on task=train")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("cross_encoder", CrossEncoder("BAAI/bge-reranker-v2-m3", accelerator="cpu")),
        ("llm_reranker", LLMReranker("BAAI/bge-reranker-v2-gemma", accelerator="cpu")),
    ],
)
def test_the_config_of_a_teacher_holds_its_defaults(option: str, expected: Any) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["task=score", f"teacher@score.teacher={option}", *PLAIN]
        cfg = checked(compose("config", overrides=overrides))
    assert instantiate(cfg.score.teacher) == expected


def test_its_settings_change_no_config_hash() -> None:
    def composed(*overrides: str) -> dict[str, object]:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = checked(compose("config", overrides=["+experiment=colbert_zero_kd", *overrides]))
        return OmegaConf.to_container(cfg)  # type: ignore[return-value]

    plain = composed()
    before = {key: value for key, value in plain.items() if key not in ("out", "score")}
    assert len(before) == len(plain) - 2
    assert config_hash(plain) == config_hash(before)
    assert config_hash(composed("out=x", "teacher@score.teacher=bm25", "score.top=3")) == config_hash(before)
