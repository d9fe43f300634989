"""Training, measuring and comparing from Python, beside the same commands."""

from __future__ import annotations

import doctest
import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pandas as pd
import pytest

import colbert_lab
from colbert_lab.base.errors import InputError
from colbert_lab.records.records import TIMES
from tests.command import command, the_run
from tests.toy import student_overrides, toy_overrides, write_toy

PAIRS = [{"query": f"red {a}", "document": f"{a} stone river"} for a in ("fish", "bird", "tree", "leaf")]
LISTS = [
    {
        "query": row["query"],
        "documents": [other["document"] for other in PAIRS],
        "scores": [3.0, 2.0, 1.0, 0.5],
    }
    for row in PAIRS
]
JUDGED: dict[str, Mapping[str, Any]] = {
    "queries": {"q1": "which fish", "q2": "old bird"},
    "corpus": {"a": "fish stone river", "b": "bird stone river", "c": "warm light"},
    "relevant_docs": {"q1": {"a"}, "q2": {"b": 2}},
}


def small(tiny_bert: Path, outputs: Path) -> list[str]:
    return [
        *student_overrides(tiny_bert),
        "tracking=off",
        "progress=false",
        f"output_dir={outputs}",
        f"cache_dir={outputs / 'cache'}",
    ]


def steps(phase: str) -> list[str]:
    return [f"phases.{phase}.{each}" for each in ("epochs=null", "steps=2", "batch_size=4")]


def facts(run: Path) -> dict[str, Any]:
    """What a run's folder says, without the times and places of its execution."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    records = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    status = json.loads((run / "status.json").read_text())["run"]
    hashes = {key: status[key] for key in ("config_hash", "factors", "named", "schedule")}
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    config = (run / "config.yaml").read_text().replace(str(run.parents[1]), "OUT")
    return {"records": records, "files": names, "config": config, **hashes}


def test_a_run_is_that_of_the_command(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    given = toy_overrides(tiny_bert, toy, tmp_path / "python")
    before = logging.getLogger().handlers[:], logging.getLogger().level
    result = colbert_lab.train("colbert_zero_kd", overrides=given[1:])
    assert (logging.getLogger().handlers, logging.getLogger().level) == before
    assert command(*toy_overrides(tiny_bert, toy, tmp_path / "shell")).status == 0
    typed = the_run(tmp_path / "shell", "toy")
    assert (result.path.name, result.path.parent) == (typed.name, tmp_path / "python" / "toy")
    assert facts(result.path) == facts(typed)
    again = colbert_lab.train("colbert_zero_kd", overrides=given[1:])
    assert (again.path, again.value) == (result.path, result.value)
    assert result.phases == ("distill",)
    table = result.to_pandas()
    assert len(table) == len(result.records) == len(facts(typed)["records"])
    chosen = table[(table.phase == "distill") & (table.measure == "ndcg@10") & (table.split == "test")]
    assert f"{chosen.value.item():.4f}" in repr(result)
    assert "| after distill |" in result._repr_markdown_()
    measured = colbert_lab.evaluate(
        result,
        overrides=["evaluation=beir", f"evaluation.path={toy}", "name=e", *small(tiny_bert, tmp_path)[4:]],
    )
    found = measured.to_pandas()
    assert found[
        (found.measure == "ndcg@10") & (found.split == "test") & (found.system == "student")
    ].value.item() == (chosen.value.item())
    compared = colbert_lab.compare([result, str(typed)], systems=["student", "before"], measures=["ndcg@10"])
    rows = compared.to_pandas()
    assert isinstance(rows, pd.DataFrame)
    assert (rows.mark == "reference").sum() == rows.groupby(["dataset", "split"]).ngroups
    assert set(rows.phase) == {"distill", "before"}
    assert "compared with toy" in repr(compared)


@pytest.mark.parametrize("kind", ["pairs", "triples", "lists"])
def test_rows_of_python_are_known_by_what_they_hold(tiny_bert: Path, tmp_path: Path, kind: str) -> None:
    rows: Any = LISTS if kind == "lists" else PAIRS
    if kind == "triples":
        rows = [row | {"negative": ["cold dark fire"]} for row in rows]
    name, phase = ("colbert_zero_kd", "distill") if kind == "lists" else ("supervised_kd", "supervised")
    settings = [*small(tiny_bert, tmp_path), f"schedule=[{phase}]", *steps(phase)]
    settings += [f"phases.{phase}.n_way=4"] if kind == "lists" else []
    result = colbert_lab.train(name, data=rows, evaluation=JUDGED, overrides=settings)
    table = result.to_pandas()
    assert set(table.dataset) == {"given"}
    assert int(table.n_queries.max()) == 2
    of_phase = {phase: datasets.Dataset.from_list(rows)}
    again = colbert_lab.train(name, data=of_phase, evaluation=JUDGED, overrides=[*settings, "reuse=true"])
    other = colbert_lab.train(name, data=rows[:-1] + rows[:1], evaluation=JUDGED, overrides=settings)
    assert len(list((tmp_path / "cache" / "given").iterdir())) == 3
    if kind != "lists":  # whose phase has no data of its own, so that the two are said in other ways
        assert again.path == result.path
    assert other.path != result.path


def test_the_first_file_of_a_command_is_that_of_python(tiny_bert: Path, tmp_path: Path) -> None:
    settings = [*small(tiny_bert, tmp_path), "schedule=[supervised]", *steps("supervised")]
    result = colbert_lab.train("supervised_kd", data=PAIRS, evaluation=JUDGED, overrides=settings)
    rows = next((tmp_path / "cache" / "given").glob("*/rows/rows.parquet"))
    judged = next((tmp_path / "cache" / "given").glob("*/given"))
    typed = command(
        "+experiment=supervised_kd",
        "data@phases.supervised.data=pairs",
        f"phases.supervised.data.path={rows}",
        "evaluation=beir",
        f"evaluation.path={judged}",
        "evaluation.split=test",
        *settings,
    )
    assert "this run is finished" in typed.err
    assert str(result.path) in typed.err


TRAIN: dict[str, dict[str, Any]] = {
    r"^experiment must be the name of one, not 7$": {"experiment": 7},
    r"^overrides must be a list of texts, not 'seed=1'$": {"overrides": "seed=1"},
    r"^overrides: number 0 is 1, not a text$": {"overrides": [1]},
    r"^overrides: -m: is an option of the command line": {"overrides": ["-m", "seed=1"]},
    r"^seed=1,2: several values are a sweep": {"overrides": ["seed=1,2"]},
    r"^sede: no such key; did you mean seed\?": {"overrides": ["sede=1"]},
    r"^experiment/colbert_zero_dk: no such config; did you mean colbert_zero_kd\?": {
        "experiment": "colbert_zero_dk"
    },
    r"^phases\.distill\.data must be a datasets\.Dataset or a list of rows, .*, not 7$": {
        "data": {"distill": 7}
    },
    r"^data must be a datasets\.Dataset or a list of rows, .*, not 'rows'$": {"data": "rows"},
    r"^data: there are no rows$": {"data": []},
    r"^data: row 1 is 'x', not a mapping such as": {"data": [PAIRS[0], "x"]},
    r"^data: row 1 has query, and row 0 has query, document; all rows need the same keys$": {
        "data": [PAIRS[0], {"query": "a"}]
    },
    r"^data: rows with scores need 'documents' too; they have query, scores$": {
        "data": [{"query": "a", "scores": [1]}]
    },
    r"^data: there is no phase train; there are distill$": {"data": {"train": PAIRS}},
    r"^evaluation: must be a mapping of queries, corpus, relevant_docs, not 3$": {"evaluation": 3},
    r"^evaluation: must be a mapping of queries, corpus, relevant_docs; this one has queries, qrels$": {
        "evaluation": {"queries": {}, "qrels": {}}
    },
    r"^evaluation: queries must be texts by id, not": {"evaluation": {**JUDGED, "queries": ["a"]}},
    r"^evaluation: relevant_docs: q must be a list of texts, not 'a'$": {
        "evaluation": {**JUDGED, "relevant_docs": {"q": "a"}}
    },
}


@pytest.mark.parametrize("message", TRAIN)
def test_mistakes_are_named(message: str, tmp_path: Path) -> None:
    given = {"experiment": "colbert_zero_kd", "overrides": []} | TRAIN[message]
    if isinstance(given["overrides"], list):
        given["overrides"] = [*given["overrides"], f"output_dir={tmp_path}", f"cache_dir={tmp_path / 'c'}"]
    with pytest.raises(InputError, match=message):
        colbert_lab.train(**given)
    assert not list(tmp_path.rglob("status.json"))


def test_results_and_comparisons_are_of_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; give outputs/NAME/latest"):
        colbert_lab.Result(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r": is no run \(no status.json\)"):
        colbert_lab.Result(tmp_path)
    with pytest.raises(InputError, match=r"^runs must be a list of results or folders, not 'outputs'$"):
        colbert_lab.compare("outputs")
    with pytest.raises(InputError, match=r"^runs: must be results or folders, not 3$"):
        colbert_lab.compare([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^measures must be a list of texts, not 'ndcg@10'$"):
        colbert_lab.compare([tmp_path], measures="ndcg@10")
    with pytest.raises(InputError, match=r"^student must be a folder, a hub id or a result, not 3$"):
        colbert_lab.evaluate(3)  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"^student must be a folder.*; save\(FOLDER\) a model, and give the folder$"
    ):
        colbert_lab.evaluate(SimpleNamespace(save=None))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("home", ["commands"])
def test_the_examples_of_docstrings_say_what_happens(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLBERT_LAB_CACHE", str(tmp_path / "cache"))
    module = importlib.import_module(f"colbert_lab.{home}")
    found = [each for each in doctest.DocTestFinder().find(module) if each.examples]
    assert found
    runner = doctest.DocTestRunner()
    for each in found:
        runner.run(each)
    assert runner.summarize().failed == 0


def test_the_package_is_imported_without_what_it_does_not_need_yet() -> None:
    heavy = "('torch', 'transformers', 'hydra', 'numpy', 'pandas')"
    code = (
        "import sys, colbert_lab; colbert_lab.__version__; assert 'train' in dir(colbert_lab); "
        f"sys.exit(any(name in sys.modules for name in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = colbert_lab.trian  # type: ignore[attr-defined]
