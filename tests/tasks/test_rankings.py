"""``task=rankings`` on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from colbert_lab.base.types import Corpus, Ranking, Split
from colbert_lab.evaluation.measures import evaluate
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.records import Record, append_records
from colbert_lab.records.texts import keep_texts, texts_path
from tests.command import command
from tests.records.run_folders import write_run

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"c": 1}}
SPLIT = Split(
    "made", "test", Corpus(["a", "b", "c"], ["x", "y", "z"], "c"), {"q1": "one", "q2": "two"}, QRELS, "text"
)
RANKING = Ranking(["q1", "q2"], [["b", "a"], ["c"]], [[1.0, 1.0], [0.5]])


def run_with(outputs: Path, config: str, qrels: bool = True, ranking: Ranking = RANKING) -> Path:
    """A run whose rankings hold documents, measured on one split, and searched by MUVERA too."""
    run = write_run(outputs, config, 1, {"n": config}, {"distill": {"test": 0.1}})
    for system, phase, variant in (
        ("student", "before", "exact"), ("student", "distill", "exact"), ("student", "distill", "muvera"),
        ("bm25", "baselines", "exact"),
    ):  # fmt: skip
        write_ranking(
            ranking_path(run, system, phase, "test", variant), ranking, evaluate(ranking, QRELS, ["ndcg@10"])
        )
    common = {
        "run_id": run.name,
        "dataset": "made",
        "measure": "ndcg@10",
        "value": 1.0,
        "split_fingerprint": "text",
    }
    rows = [Record(system="student", phase="distill", mode="muvera", storage=None, split="test", **common)]  # type: ignore[arg-type]
    rows += [Record(system="student", phase="distill", split="all", **common)]  # type: ignore[arg-type]
    append_records(run / "results.jsonl", rows)
    if qrels:
        keep_texts(run, "test", SPLIT, ranking)
    return run


def test_every_ranking_is_a_file_whose_name_says_what_it_is(tmp_path: Path) -> None:
    run = run_with(tmp_path, "aa")
    out = tmp_path / "out"
    outcome = command("task=rankings", f"runs=[{run}]", f"out={out}")
    assert outcome.status == 0, outcome.err
    tags = [
        f"{run.name}.{each}"
        for each in ("bm25", "student.before", "student.distill", "student.distill.muvera")
    ]
    assert sorted(file.name for file in out.iterdir()) == sorted(
        ["test.qrels", *(f"test.{tag}.trec" for tag in tags)]
    )
    for tag in tags:
        assert (out / f"test.{tag}.trec").read_text().splitlines() == [
            f"q1 Q0 b 1 1.0 {tag}", f"q1 Q0 a 2 0.99999994 {tag}", f"q2 Q0 c 1 0.5 {tag}",
        ]  # fmt: skip
    assert (out / "test.qrels").read_text().splitlines() == ["q1 0 a 2", "q1 0 b 1", "q1 0 c 0", "q2 0 c 1"]
    assert "test.qrels" in outcome.out
    assert "no ranking of student on all (a mean of splits has none)" in outcome.err
    again = command("task=rankings", f"runs=[{run}]", f"out={out}")
    assert (again.status, again.err) == (
        2,
        f"error: out={out}: exists already; choose another, or delete it\n",
    )


def test_runs_share_the_judgments_of_a_split(tmp_path: Path) -> None:
    """The first run was made by an older version; so the second one's are taken."""
    first, second = run_with(tmp_path, "aa", qrels=False), run_with(tmp_path, "bb")
    outcome = command("task=rankings", f"runs=[{first},{second}]", f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert len(names) == 2 * 4 + 1
    assert "test.qrels" in names


def test_without_grades_no_judgments_are_written_and_that_is_said(tmp_path: Path) -> None:
    run = run_with(tmp_path, "aa")
    path = texts_path(run, "test")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["judged", "grades"]), path)  # as older versions kept it
    outcome = command("task=rankings", f"runs=[{run}]", f"out={tmp_path / 'out'}")
    assert outcome.status == 0, outcome.err
    assert "test.qrels is not written: no run of these keeps grades" in outcome.err
    assert {file.suffix for file in (tmp_path / "out").iterdir()} == {".trec"}
    keep_texts(run, "test", SPLIT, RANKING)  # as the same command does when it measures once more
    assert command("task=rankings", f"runs=[{run}]", f"out={tmp_path / 'again'}").status == 0
    assert (tmp_path / "again" / "test.qrels").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs=[]", "out=OUT"], "runs: no value; for example task=rankings runs=[DIR] out=OUT"),
        (["runs=[RUN]"], "out: no value; for example task=rankings"),
        (["runs=[NONE]", "out=OUT"], "runs: NONE is no run and holds none"),
        (["runs=[RUN]", "out=OUT", "data=beir"], "data: has no effect on task=rankings"),
        (["runs=[RUN,OTHER]", "out=OUT"], "runs: evaluation.splits.test has other documents, queries or judgments in"),
        (["runs=[SPACES]", "out=OUT"], "cannot stand in TREC's files: 2 ('d 1', 'd 2'); give them others"),
        (["runs=[EMPTY]", "out=OUT"], "keep no rankings"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    spaces = Ranking(["q1"], [["d 1", "d 2"]], [[1.0, 0.5]])
    places = {
        "RUN": run_with(tmp_path / "a", "aa"),
        "OTHER": write_run(tmp_path / "a", "bb", 1, {}, {"distill": {"test": 0.0}}, fingerprint="another"),
        "SPACES": run_with(tmp_path / "a", "cc", ranking=spaces),
        "EMPTY": write_run(tmp_path / "a", "dd", 1, {}, {"distill": {"test": 0.0}}, rankings=False),
        "NONE": tmp_path / "none",
        "OUT": tmp_path / "out",
    }
    given = list(arguments)
    for name, place in places.items():
        given = [each.replace(name, str(place)) for each in given]
    (line,) = [
        line for line in command("task=rankings", *given).err.splitlines() if line.startswith("error: ")
    ]
    assert said.replace("NONE", str(tmp_path / "none")) in line
    assert not (tmp_path / "out").exists()


def test_it_needs_no_torch(tmp_path: Path) -> None:
    run = run_with(tmp_path, "aa")
    code = (
        "import sys; from colbert_lab.__main__ import main\n"
        f"sys.argv[1:] = ['task=rankings', 'runs=[{run}]', 'out={tmp_path / 'out'}', 'cache_dir={tmp_path / 'c'}']\n"
        "main(); sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
