"""Trackers beside W&B: what a run leaves in CSV files, TensorBoard, MLflow and a logger of one's own."""

from __future__ import annotations

import csv
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table
from colbert_lab.records.records import Record, read_records
from colbert_lab.run.loggers import Following, check_loggers, open_loggers
from colbert_lab.tasks.composing import CONF
from colbert_lab.tracking.tracker import LoggedPhase, measure_key, read_points
from tests.command import Outcome, command, the_run
from tests.toy import toy_overrides, write_toy

TABLE = Table("toy (test)", ("system", "nDCG@10"), (("before", "0.5000"), ("distill", "0.7500")), (), ())
RECORD = Record(
    run_id="r", system="student", phase="distill", dataset="toy", split="test", measure="ndcg@10", value=0.75
)


class Own(CSVLogger):
    """A logger of a user's own, which takes nothing."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        raise ConnectionError("nobody listens")


def shipped(name: str) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "logger" / f"{name}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def opened(name: str, outputs: Path) -> LoggedPhase:
    config = {"name": "toy", "output_dir": str(outputs), "seed": 1, "student": {"dim": 16}}
    (logged,) = open_loggers({name: shipped(name)}, config, outputs / "toy" / "run", "run", "distill")
    return logged


def write_points(file: Path, values: Mapping[int, float]) -> Path:
    lines = [f"{step},{1000 + step}.0,dev/ndcg@10,{value}" for step, value in values.items()]
    file.write_text("\n".join(["step,time,name,value", *lines, ""]), encoding="utf-8")
    return file


def rows_of(file: Path) -> list[dict[str, float]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


@pytest.fixture(scope="module")
def run(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """One run with the CSV logger and one of a user's own."""
    toy, outputs = write_toy(tmp_path_factory.mktemp("toy")), tmp_path_factory.mktemp("outputs")
    own = f"{{_target_: {__name__}.Own, save_dir: '{{run}}/own'}}"
    outcome = command(
        *(each for each in toy_overrides(tiny_bert, toy, outputs) if each != "tracking=off"),
        *("tracking=csv", f"+tracking.loggers.own={own}"),
    )
    assert outcome.status == 0, outcome.err
    return the_run(outputs, "toy"), outcome


@pytest.mark.slow
def test_a_run_leaves_its_curves_and_numbers_in_csv_files(run: tuple[Path, Outcome]) -> None:
    folder, _ = run
    rows = rows_of(folder / "csv" / "distill" / "metrics.csv")
    logged: dict[int, dict[str, float]] = {}
    for row in rows:
        logged.setdefault(int(row.pop("step")), {}).update(row)
    points = list(read_points(folder / "distill" / "metrics.csv"))
    assert points
    assert any(
        step == 0 and any(name.startswith("dev_small/") for name in values) for step, _, values in points
    )
    for step, _, values in points:
        assert {name: logged[step][name] for name in values} == values
    last = logged[max(logged)]
    records = read_records(folder / "results.jsonl")
    assert {measure_key(record) for record in records} <= set(last)
    for record in records:
        assert last[measure_key(record)] == record.value
    assert last["phase/seconds"] > 0
    config = OmegaConf.load(folder / "csv" / "distill" / "hparams.yaml")
    assert config == OmegaConf.load(folder / "config.yaml")
    assert not (folder / "wandb").exists()


@pytest.mark.slow
def test_a_logger_that_takes_nothing_does_not_end_the_run(run: tuple[Path, Outcome]) -> None:
    told = [line for line in run[1].err.splitlines() if "tracking.loggers.own does not have" in line]
    assert sum("the curve of distill from here on (ConnectionError: nobody listens)" in t for t in told) == 1


def test_a_phase_that_goes_on_has_every_point_once(tmp_path: Path) -> None:
    metrics = write_points(tmp_path / "metrics.csv", {0: 0.1, 2: 0.2, 4: 0.3})
    first = opened("csv", tmp_path)
    first.curves(metrics)
    again = opened("csv", tmp_path)
    again.curves(metrics, 2)
    Following(again).log_metrics({"dev/ndcg@10": 0.4}, 4)
    again.facts(
        {"seconds": 2.0, "name": "x", "selection": None, "audits": {"near_ties": 0.5, "ok": True}}, None
    )
    again.finish()
    assert rows_of(tmp_path / "toy" / "run" / "csv" / "distill" / "metrics.csv") == [  # one a call
        {"step": 0, "dev/ndcg@10": 0.1},
        {"step": 2, "dev/ndcg@10": 0.2},
        {"step": 4, "dev/ndcg@10": 0.4},
        {"step": 4, "phase/seconds": 2.0, "phase/audits/near_ties": 0.5},
    ]


def test_tensorboard_has_curves_numbers_config_and_tables(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    metrics = write_points(tmp_path / "metrics.csv", {0: 0.25, 2: 0.5})
    first = opened("tensorboard", tmp_path)
    first.curves(metrics)
    first.finish(failed=True)
    logged = opened("tensorboard", tmp_path)
    logged.curves(metrics)
    logged.results([RECORD], [TABLE])
    logged.finish()
    read = events.EventAccumulator(str(tmp_path / "toy" / "run" / "tensorboard" / "distill"))
    read.Reload()
    assert [(each.step, each.value) for each in read.Scalars("dev/ndcg_10")] == [(0, 0.25), (2, 0.5)]
    assert [(each.step, each.value) for each in read.Scalars("distill/test/ndcg_10")] == [(2, 0.75)]
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert "dim: 16" in texts["config/text_summary"]
    assert "| distill | 0.7500 |" in texts["tables/toy__test_/text_summary"]
    assert "0.75" in texts["tables/records/text_summary"]


@pytest.mark.slow
def test_mlflow_has_one_run_a_phase(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    from mlflow.tracking import MlflowClient

    metrics = write_points(tmp_path / "metrics.csv", {0: 0.25, 2: 0.5})
    opened("mlflow", tmp_path).curves(metrics)
    logged = opened("mlflow", tmp_path)
    logged.curves(metrics)
    logged.results([RECORD], [TABLE])
    logged.finish()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("distill run", "FINISHED")
    assert found.data.params["student/dim"] == "16"
    curve = client.get_metric_history(found.info.run_id, "dev/ndcg_at_10")
    assert sorted((each.step, each.value) for each in curve) == [(0, 0.25), (2, 0.5)]
    assert found.data.metrics["distill/test/ndcg_at_10"] == 0.75
    (table,) = tmp_path.rglob("toy_test_.md")
    assert "| distill | 0.7500 |" in table.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_told_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(
        InputError, match=rf'loggers.mine: .*{name} is not .*; pip install "colbert-lab\[{name}\]"'
    ):
        check_loggers({"mine": shipped(name)})


@pytest.mark.parametrize(
    ("loggers", "said"),
    [
        ({"own": {"_target_": "torch.nn.Linear"}}, "own._target_=torch.nn.Linear: is no logger of Lightning"),
        ({"own": {"save_dir": "x"}}, "tracking.loggers.own: names no class"),
        ({"Own": shipped("csv")}, "tracking.loggers.Own: must have a name of small letters"),
    ],
)
def test_what_is_no_logger_is_refused(loggers: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_loggers(loggers)


def test_a_logger_that_cannot_be_opened_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    chosen = {**shipped("csv"), "save_dir": str(tmp_path / "file")}
    with caplog.at_level(logging.WARNING):
        open_loggers({"csv": chosen}, {"name": "toy", "output_dir": "o"}, tmp_path, "run", "distill")
    assert "tracking.loggers.csv does not have" in caplog.text
