"""``task=mine`` on the command line."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from colbert_lab.records.records import read_records
from colbert_lab.sources.mining import Miner
from colbert_lab.text.rows.hub_triples import load_triples
from colbert_lab.text.scored_lists import read_scored_lists
from tests import forked
from tests.command import Outcome, command, the_run
from tests.conftest import ROOT
from tests.tiny import sentences, write_beir
from tests.toy import student_overrides, write_toy

TEACHER = ["+mine.filter.teacher._target_=tests.teachers.support.Hashed", "+mine.filter.teacher.name=t"]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def arguments(toy: Path, folder: Path) -> list[str]:
    """BM25 and random negatives of the toy collection."""
    return [
        "task=mine",
        "data=beir",
        f"data.path={toy}",
        "mine.shares={bm25: 0.75, bi_encoder: 0, random: 0.25}",
        "mine.negatives=4",
        "mine.part=16",
        "trainer.threads=1",
        "trainer.accelerator=cpu",
        "progress=false",
        f"output_dir={folder / 'outputs'}",
        f"cache_dir={folder / 'cache'}",
    ]


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a finished folder, without the seconds."""
    files: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    report = json.loads(files["report.json"])
    assert report.pop("seconds")
    return files | {"report.json": report}


def test_the_default_retrievers_need_no_setting(toy: Path, tiny_bert: Path, tmp_path: Path) -> None:
    given = [a for a in arguments(toy, tmp_path) if not a.startswith("mine.")]
    outcome = command(
        *given, f"mine.retrievers.bi_encoder.model={tiny_bert}", "mine.retrievers.bi_encoder.max_length=60"
    )
    assert outcome.status == 0, outcome.err
    (out,) = (tmp_path / "outputs" / "mine").iterdir()
    assert out.name.startswith("mine-")
    assert f"mined: {out} (train on it with data=triples data.path={out})" in outcome.err
    rows = pq.read_table(out / "train" / "0.parquet").to_pylist()
    assert len(rows) == 40
    for row in rows:
        assert len(row["negative"]) == len(set(row["negative"])) == 8
        assert row["negative_from"] == ["bm25", "bi_encoder"] * 4
        assert row["document"] not in row["negative"]
    report = json.loads((out / "report.json").read_text())
    assert report["counts"]["rows"] == 40
    assert {name: (own["quota"], own["kept"]) for name, own in report["retrievers"].items()} == {
        "bm25": (4, 160), "bi_encoder": (4, 160),
    }  # fmt: skip
    assert report["settings"]["shares"] == {"bm25": 0.5, "bi_encoder": 0.5}


def test_triples_train_a_phase(toy: Path, tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "mined"
    outcome = command(*arguments(toy, tmp_path), f"out={out}", *TEACHER, "mine.filter.max_score=0.9")
    assert outcome.status == 0, outcome.err
    assert "40 rows of 40 queries with 160 negatives" in outcome.out
    (triples,) = load_triples(str(out), negatives=10, columns={})
    assert (len(triples), triples.negatives) == (40, 4)
    row = triples.table[3]
    assert row["query_id"] == "q3"
    stored = pq.read_table(out / "train" / "0.parquet").to_pylist()
    assert set(stored[0]) == {
        "query_id", "query", "document", "document_id", "negative", "negative_ids", "negative_from",
        "negative_scores", "positive_score",
    }  # fmt: skip
    assert all(max(row["negative_scores"]) <= 0.9 for row in stored)
    trained = command(
        "+experiment=colbert_zero",
        "name=mined",
        "schedule=[supervised]",
        *student_overrides(tiny_bert),
        "data=triples",
        f"data.path={out}",
        "data@phases.supervised.data=triples",
        f"phases.supervised.data.path={out}",
        "phases.supervised.epochs=null",
        "phases.supervised.steps=2",
        "phases.supervised.batch_size=4",
        "phases.supervised.checkpoint_every=1",
        "phases.supervised.log_every=1",
        "evaluation=beir",
        f"evaluation.path={toy}",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path / 'outputs'}",
        f"cache_dir={tmp_path / 'cache'}",
    )
    assert trained.status == 0, trained.err
    records = read_records(the_run(tmp_path / "outputs", "mined") / "results.jsonl")
    assert "supervised" in {record.phase for record in records}


def test_lists_are_read_as_scored_lists(toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    outcome = command(*arguments(toy, tmp_path), f"out={out}", *TEACHER, "mine.output=lists", "seed=3")
    assert outcome.status == 0, outcome.err
    assert f"data=scored_lists data.path={out}" in outcome.err
    lists = read_scored_lists(str(out), cache_dir=tmp_path / "cache")
    assert len(lists) == 40
    other = tmp_path / "triples"
    assert command(*arguments(toy, tmp_path), f"out={other}", *TEACHER, "seed=3").status == 0
    rows = pq.read_table(other / "train" / "0.parquet").to_pylist()
    used = {document for row in rows for document in (row["document_id"], *row["negative_ids"])}
    assert set(lists.corpus.ids) == used
    for n, row in enumerate(rows):
        assert (lists.query_ids[n], lists.queries[n]) == (row["query_id"], row["query"])
        own = lists.documents[n].tolist()
        assert [lists.corpus.ids[d] for d in own] == [row["document_id"], *row["negative_ids"]]
        assert [lists.corpus.texts[d] for d in own] == [row["document"], *row["negative"]]
        assert lists.scores[n].tolist() == [row["positive_score"], *row["negative_scores"]]


def test_pairs_of_a_file_are_mined_too(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    lines = [
        json.dumps({"query": text.split()[0] + f" {n}", "document": text})
        for n, text in enumerate(sentences(30))
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    given = ["data=pairs" if a == "data=beir" else a for a in arguments(folder, tmp_path)]
    outcome = command(*given, f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    rows = pq.read_table(tmp_path / "out" / "train" / "0.parquet").to_pylist()
    assert [row["query_id"] for row in rows] == [f"q{n}" for n in range(30)]


@pytest.mark.parametrize(
    "left_out", ["mine.retrievers.bi_encoder=null", "~teacher@mine.retrievers.bi_encoder"]
)
def test_a_default_retriever_can_be_left_out(left_out: str, toy: Path, tmp_path: Path) -> None:
    given = ["mine.shares=null" if a.startswith("mine.shares") else a for a in arguments(toy, tmp_path)]
    outcome = command(*given, left_out, f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["shares"] == {"bm25": 1.0}


def test_a_finished_folder_is_left_alone(toy: Path, tmp_path: Path) -> None:
    given = [*arguments(toy, tmp_path), f"out={tmp_path / 'out'}"]
    first = command(*given)
    assert first.status == 0, first.err
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = command(*given)
    assert again.status == 0, again.err
    assert f"this is finished: {tmp_path / 'out'}" in again.err
    assert again.out == first.out
    other = command(*given, "mine.negatives=3")
    assert other.status == 2
    assert "error: out: " in other.err
    assert "was made with other settings (negatives: 4 there, 3 here)" in other.err
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_parts_outlive_an_error_at_the_end(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [*arguments(toy, tmp_path), f"out={tmp_path / 'out'}", *TEACHER, "mine.filter.max_score=0.1"]
    stopped = command(*given, "mine.short=error")
    assert stopped.status == 2
    assert "error: mine.short=error: queries with fewer than mine.negatives=4" in stopped.err
    assert not (tmp_path / "out").exists()
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out.unfinished").glob("part-*")}
    assert len(parts) == 3
    other = command(*given, "mine.negatives=3")
    assert other.status == 2
    assert "holds parts made with other settings or libraries (negatives: 4 there, 3 here)" in other.err
    assert parts == {path: path.stat().st_mtime_ns for path in parts}
    monkeypatch.delattr(Miner, "mine")  # nothing is mined again
    done = command(*given, "mine.short=drop")
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["counts"]["fewest_negatives"] == 4
    assert not (tmp_path / "out.unfinished").exists()


def test_the_same_seed_gives_the_same_and_another_one_other_negatives(toy: Path, tmp_path: Path) -> None:
    found = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        assert (
            command(*arguments(toy, tmp_path), f"out={out}", f"seed={seed}", "mine.sample=random").status == 0
        )
        found[name] = contents(out)
    assert found["a"] == found["b"]
    assert found["a"]["train/0.parquet"] != found["c"]["train/0.parquet"]


def refused(outcome: Outcome, folder: Path, part: str) -> None:
    assert outcome.status == 2, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert part in line
    assert not (folder / "out").exists()
    assert not list((folder / "outputs").glob("mine/*"))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (["mine.shares={bm25: 0.5, bi_encoder: 0, random: 0.25}"], "mine.shares: add up to 0.75"),
        (["mine.shares={bm25: 0.5, bi_encoder: 0, splade: 0.5}"], "mine.shares.splade: no such retriever"),
        (["mine.shares={bm25: 1}"], "mine.shares: bi_encoder has none"),
        (["mine.ranks=[5]"], "mine.ranks=[5]"),
        (["mine.ranks=[0,5]"], "mine.ranks[0]=0: must be at least 1"),
        (["mine.negatives=0"], "mine.negatives=0"),
        (["mine.negatives=many"], "mine.negatives"),
        (["mine.sample=some"], "mine.sample=some"),
        (["mine.short=maybe"], "mine.short=maybe"),
        (["mine.output=lists"], "mine.output=lists"),
        (["mine.filter.ratio=0.95"], "mine.filter.ratio: has no effect without a teacher"),
        (["teacher@mine.filter.teacher=nothing"], "teacher/nothing"),
        (["mine.depth=4"], "depth"),
        (["data.path=nowhere"], "data.path"),
        (["data.split=validation"], "validation"),
        (["data=scored_lists", "data.scores=lists.jsonl"], "one source of pairs or a folder with judgments"),
        (
            ["mine.shares=null", "mine.retrievers.bi_encoder.model=nowhere"],
            "error: mine.retrievers.bi_encoder.model=nowhere: ",
        ),
        (
            ["teacher@mine.filter.teacher=cross_encoder", "mine.filter.teacher.model=./nowhere"],
            "error: mine.filter.teacher.model=./nowhere: no such folder",
        ),
        (["mine.shares={bm25: 0.5, random: 0.5}", "mine.retrievers.bm25=null"], "mine.shares.bm25: no such"),
        (["out=/dev/null/x"], "out: cannot write to /dev/null"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    changes: list[str], part: str, toy: Path, tmp_path: Path
) -> None:
    given = [
        a
        for a in arguments(toy, tmp_path)
        if a.partition("=")[0] not in {c.partition("=")[0] for c in changes}
    ]
    refused(command(*given, *changes), tmp_path, part)


def test_bad_files_are_one_line(toy: Path, tmp_path: Path) -> None:
    texts = {f"d{n}": f"text {n}" for n in range(9)}
    unknown = write_beir(tmp_path / "unknown", texts, {"q": "query"}, {"train": [("q", "d99", 1)]})
    refused(command(*arguments(unknown, tmp_path)), tmp_path, "d99")
    empty = write_beir(tmp_path / "empty", texts | {"d1": ""}, {"q": "query"}, {"train": [("q", "d1", 1)]})
    refused(command(*arguments(empty, tmp_path)), tmp_path, "relevant documents without text: 1 (d1)")
    (tmp_path / "empty" / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "caf\xe9"}\n')
    refused(command(*arguments(empty, tmp_path)), tmp_path, "corpus.jsonl line 1: not UTF-8")


def test_out_is_for_tasks_that_write_one(tmp_path: Path) -> None:
    outcome = command("+experiment=colbert_zero_kd", f"out={tmp_path}")
    assert outcome.status == 2
    assert "error: out: has no effect on task=train" in outcome.err


@pytest.mark.slow
def test_killed_again_and_again_the_result_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(400, seed=5)
    folder = write_beir(
        tmp_path / "text",
        {f"d{n}": text for n, text in enumerate(texts)},
        {f"q{n}": " ".join(text.split()[:4]) for n, text in enumerate(texts)},
        {"train": [(f"q{n}", f"d{n}", 1) for n in range(400)]},
    )
    base = [*arguments(folder, tmp_path), *TEACHER, "mine.filter.max_score=0.8", "mine.part=2"]
    whole = command(*base, f"out={tmp_path / 'whole'}")
    assert whole.status == 0, whole.err
    out = tmp_path / "out"

    def parts() -> int:
        return len(list(tmp_path.glob("out.unfinished/part-*")))

    kills = 0
    for _ in range(3):
        process = forked.Python(
            ["-m", "colbert_lab", *base, f"out={out}"], stdout=DEVNULL, stderr=DEVNULL, cwd=ROOT
        )
        begun, before = time.monotonic(), parts()
        while process.poll() is None and parts() < before + 5:
            time.sleep(0.001)
            assert time.monotonic() - begun < 120
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not out.exists()
        assert 0 < parts() < 200
    assert kills == 3
    there, done, mine = parts(), [], Miner.mine

    def noted(self: Miner, part: int, *rest: Any) -> Any:
        done.append(part)
        return mine(self, part, *rest)

    monkeypatch.setattr(Miner, "mine", noted)
    outcome = command(*base, f"out={out}")
    assert outcome.status == 0, outcome.err
    assert done == list(range(there, 200))
    assert contents(out) == contents(tmp_path / "whole")
