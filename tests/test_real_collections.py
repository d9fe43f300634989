"""Real collections and real teacher scores, where they are at hand beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_lab.records.records import read_records
from tests.command import Outcome, command, the_run
from tests.conftest import SHARED_DATA
from tests.toy import student_overrides

POOL, SCIFACT = SHARED_DATA / "msmarco-dl-pool", SHARED_DATA / "scifact"
NORMALISATION = "phases.distill.objective.distillation.teacher.normalisation"

pytestmark = pytest.mark.skipif(not POOL.is_dir(), reason=f"no collections in {SHARED_DATA}")


def distil(scores: str, normalisation: str, tiny_bert: Path, tmp_path: Path) -> Outcome:
    return command(
        "+experiment=colbert_zero_kd",
        *student_overrides(tiny_bert),
        "data=scored_lists",
        f"data.path={POOL}",
        f"data.scores=kd/{scores}",
        "evaluation=none",
        f"{NORMALISATION}={normalisation}",
        "phases.distill.objective.distillation.teacher.temperature=1",
        "phases.distill.epochs=null",
        "phases.distill.steps=2",
        "phases.distill.batch_size=4",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path}",
        f"cache_dir={tmp_path}",
    )


@pytest.mark.parametrize(
    ("scores", "problem"),
    [("dl20.REP_LLAMA.jsonl", "almost uniform"), ("dl20.SPLADE_P_P_ENSEMBLE_DISTIL.jsonl", "almost one-hot")],
)
def test_raw_scores_of_any_scale_are_seen_and_handled(
    scores: str, problem: str, tiny_bert: Path, tmp_path: Path
) -> None:
    stopped = distil(scores, "none", tiny_bert, tmp_path)
    assert stopped.status == 2
    assert problem in stopped.err.splitlines()[-1]
    trained = distil(scores, "zscore", tiny_bert, tmp_path)
    assert trained.status == 0, trained.err
    assert (the_run(tmp_path, "colbert_zero_kd") / "distill" / "student").is_dir()


def test_bm25_on_scifact_is_the_published_one(tiny_bert: Path, tmp_path: Path) -> None:
    outcome = command(
        "task=evaluate",
        *student_overrides(tiny_bert),
        "evaluation=beir",
        f"evaluation.path={SCIFACT}",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path}",
        f"cache_dir={tmp_path}",
    )
    assert outcome.status == 0, outcome.err
    (value,) = [
        record.value
        for record in read_records(the_run(tmp_path, "evaluate") / "results.jsonl")
        if (record.system, record.split, record.measure) == ("bm25", "test", "ndcg@10")
    ]
    assert value == pytest.approx(0.676, abs=0.01)
