"""Each loss of ``conf/loss`` trains two steps by the command line; what cannot be trained is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class

from colbert_lab.base.yaml_files import read_yaml
from colbert_lab.training.phase_files import read_metrics
from tests.command import command, the_run
from tests.conftest import ROOT
from tests.toy import toy_overrides, write_toy

PHASE = "phases.distill"
LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
OFF = f"{PHASE}.objective.distillation.weight=0"
ADDED = [name for name in LOSSES if name not in ("distillation", "contrastive")]  # what no phase has yet


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy, with a second list of some queries, whose best document is another one."""
    folder = write_toy(tmp_path_factory.mktemp("toy"))
    lists = [json.loads(line) for line in (folder / "lists.jsonl").read_text().splitlines()]
    queries = {
        row["_id"]: row for row in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())
    }
    for row in lists[:12]:
        again = row["query_id"] + "-again"
        queries[again] = queries[row["query_id"]] | {"_id": again}
        lists.append(row | {"query_id": again, "scores": [*row["scores"][1:], row["scores"][0]]})
    for name, rows in (("queries", queries.values()), ("lists", lists)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def arguments(tiny_bert: Path, toy: Path, tmp_path: Path) -> list[str]:
    """Two steps on all documents of a list, measured nowhere."""
    whole = toy_overrides(tiny_bert, toy, tmp_path / "outputs")
    steps = [f"{PHASE}.steps=2", f"{PHASE}.evaluate_every=null", f"{PHASE}.n_way=6"]
    return [*(each for each in whole if not each.startswith("evaluation")), "evaluation=none", *steps]


def adding(name: str) -> str:
    """The override that adds a loss."""
    return f"+loss@{PHASE}.objective.{name}={name}"


@pytest.mark.parametrize("name", ADDED)
def test_a_loss_trains_two_steps(name: str, arguments: list[str], tmp_path: Path) -> None:
    outcome = command(*arguments, adding(name), OFF)
    assert outcome.status == 0, outcome.err
    rows = read_metrics(the_run(tmp_path / "outputs", "toy") / "distill" / "metrics.csv")
    curve = [float(row["value"]) for row in rows if row["name"] == f"train/{name}"]
    assert len(curve) == 2
    assert all(value > 0 for value in curve)
    assert "train/distillation" not in {row["name"] for row in rows}


def test_all_losses_together_are_certified(arguments: list[str], tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    outcome = command(
        *arguments, "task=certify", *map(adding, ADDED), f"{PHASE}.objective.contrastive.weight=1", f"out={out}",
        "certify.queries=4", "certify.documents=4", "certify.micro_batches=1",
        "certify.checks=[chunking]",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    found = json.loads(out.read_text())
    assert found["passed"]
    assert not [note for note in found["notes"] if "brings no reference" in note]


WRONG = {
    "lambda_loss": {
        "no such weighting": (
            [f"{PHASE}.objective.lambda_loss.weighting=ndcg"], "lambda_loss.weighting=ndcg: must be one of lambdarank",
        ),
    },
    "approx_ndcg": {
        "no such relevance": (
            [f"{PHASE}.objective.approx_ndcg.relevance=ranks"], "approx_ndcg.relevance=ranks: must be one of order",
        ),
    },
    "margin_mse": {
        "one document": ([f"{PHASE}.n_way=1"], f"{PHASE}.n_way=1: {PHASE}.objective.margin_mse compares at least 2"),
    },
    "document_to_query": {
        "one query": (
            [f"{PHASE}.batch_size=1"],
            f"{PHASE}.objective.document_to_query.weight: a batch of one query leaves nothing to contrast",
        ),
        "no temperature": (
            [f"{PHASE}.objective.document_to_query.temperature=0"],
            "document_to_query.temperature=0: must be at least",
        ),
    },
    "multi_positive": {
        "nothing to leave out": (
            [f"{PHASE}.objective.multi_positive.own_negatives=false",
             f"{PHASE}.objective.multi_positive.false_negative_ratio=0.9"],
            "multi_positive.false_negative_ratio: has no effect with own_negatives=false",
        ),
    },
    "xtr": {
        "no token": ([f"{PHASE}.objective.xtr.k=0"], "objective.xtr.k=0: must be at least 1"),
        "one document": (
            [f"{PHASE}.batch_size=1", f"{PHASE}.n_way=1"],
            f"{PHASE}.objective.xtr.weight: a batch of one document leaves nothing to contrast",
        ),
        "one vector": (
            ["student.output=single"], f"{PHASE}.objective.xtr.weight: chooses among the tokens of documents",
        ),
        "no scores": (
            [f"{PHASE}.objective.xtr.own_negatives=false", f"{PHASE}.objective.xtr.false_negative_ratio=0.9"],
            "xtr.false_negative_ratio: has no effect with own_negatives=false",
        ),
    },
    "pairwise_softmax": {
        "one document": ([f"{PHASE}.n_way=1"], f"{PHASE}.objective.pairwise_softmax compares at least 2"),
        "no temperature": (
            [f"{PHASE}.objective.pairwise_softmax.temperature=0"], "pairwise_softmax.temperature=0: must be at least",
        ),
    },
}  # fmt: skip
CASES = [(name, case) for name, cases in WRONG.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), CASES, ids=[" ".join(case) for case in CASES])
def test_a_wrong_setting_is_one_line(name: str, case: str, arguments: list[str], tmp_path: Path) -> None:
    changes, message = WRONG[name][case]
    outcome = command(*arguments, adding(name), OFF, *changes)
    assert outcome.status == 2
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in outcome.err
    assert not list((tmp_path / "outputs").rglob("status.json"))


def needs_scores(name: str) -> bool:
    """Whether a loss reads a teacher."""
    target = read_yaml(ROOT / "conf" / "loss" / f"{name}.yaml")["_target_"]
    term: Any = get_class(target)
    return bool(term.teacher_scores)


@pytest.mark.parametrize("name", [name for name in ADDED if needs_scores(name)])
def test_data_without_a_teacher_is_refused(name: str, tiny_bert: Path, toy: Path, tmp_path: Path) -> None:
    given = [each for each in toy_overrides(tiny_bert, toy, tmp_path / "outputs") if "data" not in each]
    outcome = command(
        *(each for each in given if not each.startswith("evaluation")), "evaluation=none", "data=beir",
        f"data.path={toy}", adding(name), OFF,
    )  # fmt: skip
    assert outcome.status == 2
    assert f"{PHASE}.objective.{name}.weight:" in outcome.err.splitlines()[-1]
    assert "has no teacher scores, which this term needs" in outcome.err.splitlines()[-1]
