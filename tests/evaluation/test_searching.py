"""Search modes from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colbert_lab.model.formats.own import load_student
from colbert_lab.records.records import read_records
from tests.command import command, the_run
from tests.toy import student_overrides, toy_overrides, write_toy

MODES = "evaluation.mode=[exact,rerank,muvera,muvera_rerank,xtr]"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("toy"))


def evaluate(tiny_bert: Path, toy: Path, outputs: Path, *more: str) -> list[str]:
    return [
        "task=evaluate", *student_overrides(tiny_bert), "evaluation=beir", f"evaluation.path={toy}", "tracking=off",
        "progress=false", f"output_dir={outputs}", f"cache_dir={outputs / 'cache'}", *more,
    ]  # fmt: skip


def test_all_modes_side_by_side_with_what_they_cost(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = evaluate(
        tiny_bert, toy, tmp_path, MODES, "evaluation.storage=[float32,int8]", "evaluation.pool_factor=[1,2]",
        "evaluation.muvera.repetitions=4", "evaluation.muvera.bits=2", "evaluation.muvera.inner_dim=8",
        "evaluation.muvera.rerank=60", "evaluation.rerank.depth=20", "evaluation.xtr.k=20",
    )  # fmt: skip
    outcome = command(*given)
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path, "evaluate")
    records = [r for r in read_records(run / "results.jsonl") if r.system == "student" and r.split == "test"]
    found = {r.variant: r for r in records if r.measure == "ndcg@10"}
    assert len(found) == 2 * (4 * 2 + 1)
    assert found["muvera_rerank"].value == found["exact"].value
    assert found["muvera_rerank.int8.pool2"].value == found["exact.int8.pool2"].value
    assert found["xtr.int8"].index_bytes == found["exact.int8"].index_bytes
    assert len({r.protocol_hash for r in found.values()}) == len(found)
    assert found["exact.int8"].index_bytes is not None
    assert found["exact"].index_bytes is not None
    assert found["exact.int8"].index_bytes < 0.5 * found["exact"].index_bytes
    assert (run / "evaluate" / "rankings" / "test.muvera.pool2.parquet").is_file()
    table = (run / "table.md").read_text()
    assert f"## Ways to search: {toy.name}, test: 12 queries, 60 documents" in table
    for label in ("exact.int8", "rerank", "muvera_rerank.pool2"):
        assert f"| student | {label} |" in table
    assert table.count("| student (") == 2  # exact search alone in the main tables of test and dev
    again = command(*given)
    assert "this run is finished" in again.err
    assert not list((tmp_path / "cache" / "embeddings").glob("*"))


def test_a_run_file_is_reranked(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    queries = json.loads("[" + ",".join((toy / "queries.jsonl").read_text().splitlines()) + "]")
    run_file = tmp_path / "run.txt"
    run_file.write_text(
        "".join(f"{q['_id']} Q0 d{n} 1 {9 - n} by-hand\n" for q in queries[:-1] for n in range(40, 48))
    )
    given = evaluate(
        tiny_bert, toy, tmp_path, "evaluation.mode=rerank", f"evaluation.rerank.run={run_file}",
        "evaluation.rerank.depth=5", "evaluation.keep_embeddings=true",
    )  # fmt: skip
    outcome = command(*given)
    assert outcome.status == 0, outcome.err
    last = queries[-1]["_id"]
    assert f"run={run_file}: has no documents for 1 ({last}) of the" in outcome.err
    import pyarrow.parquet as pq

    path = the_run(tmp_path, "evaluate") / "evaluate" / "rankings" / "test.rerank.parquet"
    found = pq.read_table(path).to_pylist()
    for row in found:
        assert sorted(row["document_ids"]) == [f"d{n}" for n in range(40, 45)] * (row["query_id"] != last)
    assert list((tmp_path / "cache" / "embeddings").glob("*/*/shard.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["evaluation.mode=fast"], "evaluation.mode=fast: must be one of exact, rerank, muvera"),
        (["evaluation.mode=[exact,exact]"], "evaluation.mode: name one or several different values"),
        (["evaluation.storage=int4"], "evaluation.storage=int4: must be one of float32"),
        (["evaluation.mode=muvera", "evaluation.storage=int8"], "evaluation.storage=int8: has no effect"),
        (["evaluation.dim=[4,17]"], "evaluation.dim=[4, 17]: the student has 16 dimensions"),
        (["evaluation.dim=[4,4]"], "evaluation.dim: name one or several different values"),
        (["evaluation.dim=0"], "evaluation.dim=0: must be at least 1"),
        (["evaluation.pool_factor=0"], "evaluation.pool_factor=0: must be at least 1"),
        (
            ["evaluation.pool_factor=two"],
            "evaluation.pool_factor=two: must be one of a whole number, at least 1",
        ),
        (["evaluation.mode=muvera", "evaluation.muvera.rerank=9"], "evaluation.muvera.rerank: has no effect"),
        (["evaluation.mode=muvera", "student.dim=8"], "evaluation.muvera.inner_dim"),
        (["evaluation.pool_protected=3"], "evaluation.pool_protected: has no effect without"),
        (
            ["evaluation.muvera.bits=4"],
            "evaluation.muvera.bits=4: has no effect without evaluation.mode=muvera",
        ),
        (
            ["evaluation.rerank.depth=4"],
            "evaluation.rerank.depth=4: has no effect without evaluation.mode=rerank",
        ),
        (["teacher@evaluation.rerank.first_stage=bm25"], "has no effect without evaluation.mode=rerank"),
        (
            ["evaluation.mode=rerank", "evaluation.rerank.depth=0"],
            "evaluation.rerank.depth=0: must be at least 1",
        ),
        (
            ["evaluation.mode=rerank", "evaluation.rerank.run=/none"],
            "evaluation.rerank.run=/none: no such file",
        ),
        (["evaluation.mode=muvera", "evaluation.muvera.bits=40"], "evaluation.muvera.bits"),
        (["evaluation.mode=plaid", "evaluation.plaid.bits=3"], "evaluation.plaid.bits=3: must be one of 1"),
        (
            ["evaluation.mode=plaid", "student.dim=12"],
            "student.dim=12: fast-plaid packs residuals into bytes",
        ),
        (["evaluation.xtr.k=5"], "evaluation.xtr.k=5: has no effect without evaluation.mode=xtr"),
        (["evaluation.mode=xtr", "evaluation.xtr.k=0"], "evaluation.xtr.k=0: must be at least 1"),
        (
            ["evaluation.mode=xtr", "student.output=single"],
            "evaluation.mode=xtr: retrieves tokens, and a dense",
        ),
        (["evaluation.memory=0.1"], "evaluation.memory=0.1: must be at least 0.25"),
    ],
)
def test_bad_settings(changes: list[str], message: str, tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    outcome = command(*evaluate(tiny_bert, toy, tmp_path, *changes))
    assert outcome.status == 2, outcome.err
    assert message in outcome.err.splitlines()[-1]
    assert not list(tmp_path.rglob("status.json"))


def test_a_run_file_that_does_not_fit(tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = ["evaluation.mode=rerank", f"evaluation.rerank.run={tmp_path / 'run.txt'}"]
    for line, message in (
        ("q1 Q0 d1 1 nan tag", "line 1: the score 'nan' is not a finite number"),
        ("other Q0 d1 1 1.0 tag", "has none of the"),
        ("q40 Q0 elsewhere 1 1.0 tag", f"documents that are not in {toy.name}/test: 1 (elsewhere)"),
    ):
        (tmp_path / "run.txt").write_text(f"{line}\n")
        outcome = command(*evaluate(tiny_bert, toy, tmp_path, *given))
        assert outcome.status == 2, outcome.err
        assert message in outcome.err.splitlines()[-1]
        assert not list(tmp_path.rglob("status.json"))


def test_few_dimensions_need_no_setting_of_a_mode_that_is_not_used(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    outcome = command(*evaluate(tiny_bert, toy, tmp_path, "student.dim=8"))
    assert outcome.status == 0, outcome.err


def test_a_matryoshka_student_is_trained_and_measured_at_its_dimensions(
    tiny_bert: Path, toy: Path, tmp_path: Path
) -> None:
    given = [
        *toy_overrides(tiny_bert, toy, tmp_path),
        "phases.distill.steps=2",
        "phases.distill.evaluate_every=null",
    ]
    dims = ["student.matryoshka=[4,8]", "evaluation.dim=[16,8,6]", "evaluation.measures=[ndcg@10]"]
    outcome = command(*given, *dims)
    assert outcome.status == 0, outcome.err
    assert "no loss sees the student's 16 dimensions as a whole" in outcome.err
    assert "evaluation.dim=6: the student is trained at 4, 8 dimensions" in outcome.err
    run = the_run(tmp_path, "toy")
    found = [r for r in read_records(run / "results.jsonl") if (r.phase, r.split) == ("distill", "test")]
    assert [(r.variant, r.dim) for r in found] == [("exact", None), ("exact.dim8", 8), ("exact.dim6", 6)]
    assert len({r.protocol_hash for r in found}) == 3
    sizes = [r.index_bytes or 0 for r in found]
    assert sizes[0] > sizes[1] > sizes[2]
    assert "| exact.dim8 |" in (run / "table.md").read_text()
    assert "train/loss_dim4" in (run / "distill" / "metrics.csv").read_text()
    assert load_student(run / "distill" / "student").model.matryoshka == (4, 8)
