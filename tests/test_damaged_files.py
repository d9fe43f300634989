"""A run's and a study's files, damaged in 400 seeded ways: read, left out with a warning, or refused in one line."""

from __future__ import annotations

import copy
import json
import os
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables, to_latex
from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.ledger import read_ledger
from colbert_lab.analysis.ledger.table import ledger_csv, ledger_json, ledger_table
from colbert_lab.analysis.score_audit import training_table
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import to_markdown
from colbert_lab.publish.card import numbers, protocol
from colbert_lab.publish.history import find_history
from colbert_lab.publish.metadata import Claims, card_data
from colbert_lab.publish.origin import lineage, made_with, unknown
from colbert_lab.publish.recipe import command, data_lines, recipe_table, start_table
from colbert_lab.records.lineage import WHOLE as WHOLE_PHASE
from colbert_lab.records.lineage import find_measurement, find_phase
from colbert_lab.records.read_back import load_records
from colbert_lab.records.records import EXACT, read_records
from colbert_lab.records.run_directory import find_finished, known_run
from colbert_lab.records.run_files import PhaseFacts, add_protocol
from colbert_lab.records.runs import read_runs
from colbert_lab.run.cells import Cell, read_cells, sweep_table, write_cell
from colbert_lab.studies.answer import cells_table, claims_table, phases_table, runs_table
from colbert_lab.studies.evidence import findings, verdict
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.rows import read_rows
from colbert_lab.training.phase_files import PhaseOutcome, finished_phase
from tests.publish.made_run import write_run as write_published
from tests.records.run_folders import MEASURE, write_run
from tests.studies.made_up import made_study

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 10**400, 1e308, float("nan"), float("inf"), "", "x" * 300, "\ud83d", "a\0b", "../../up",
    "/etc", "\x1b[2Jx", [], {}, [[]], {"": {}}, [None], {"a": [1]}, "2024-01-01", "=1+1", "1_0",
)  # fmt: skip
WHOLE = (
    b"",
    b"[]",
    b"null",
    b"NaN",
    b"1",
    b'"x"',
    b"[" * 100_000,
    b'{"a":' * 5_000,
    b"\xff\xfe\x00",
    b"{",
    b"\x00" * 50,
)
ENVIRONMENT = {
    "commit": "abc", "dirty": False, "packages": {"torch": "2"}, "hardware": "2 cores", "threads": 1, "python": "3.11",
}  # fmt: skip


def damaged(rng: random.Random, path: Path) -> bytes:
    """The file with one value replaced or taken away, cut, or with bytes changed."""
    content = path.read_bytes()
    how = rng.random()
    if how < 0.15:
        return rng.choice(WHOLE)
    if how < 0.25:
        return content[: rng.randrange(len(content))]
    if how < 0.4 or path.suffix not in (".json", ".jsonl", ".yaml"):
        changed = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    if path.suffix == ".yaml":
        text: str = yaml.dump(replaced(rng, yaml.safe_load(content)), sort_keys=False, allow_unicode=True)
        return text.encode("utf-8", "surrogatepass")
    lines = content.splitlines() if path.suffix == ".jsonl" else [content]
    at = rng.randrange(len(lines))
    lines[at] = json.dumps(replaced(rng, json.loads(lines[at]))).encode()
    return b"\n".join(lines) + b"\n"


def replaced(rng: random.Random, value: Any) -> Any:
    """A copy in which one value, at any depth, is another or gone."""
    whole = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            places.append((node, key))
            walk(node[key])

    walk(whole)
    if not places:
        return rng.choice(ODD)
    node, key = rng.choice(places)
    if rng.random() < 0.2:
        del node[key]
    else:
        node[key] = rng.choice(ODD)
    return whole


def list_runs(outputs: Path) -> None:
    entries = read_ledger(outputs)
    columns = Columns(entries)
    for each in (
        to_markdown([ledger_table(columns, entries, None, str(outputs))]),
        ledger_csv(columns, entries, None),
        ledger_json(columns, entries, None),
    ):
        each.encode()
    assert len(load_records(outputs)) > 0


def compare(outputs: Path) -> None:
    comparison = compare_runs([outputs / "study"], allow_different=True)
    tables = comparison_tables(comparison)
    for each in (to_markdown(tables), to_latex(tables), comparison_csv(comparison)):
        each.encode()


def show_runs(outputs: Path) -> None:
    for run in read_runs([outputs / "study"]).runs:
        run.curves("distill")
        run.cost("distill")
        to_markdown([*run_tables(run.path), training_table(run)]).encode()


def look_for_what_is_there(outputs: Path) -> None:
    find_phase(outputs, "x")
    find_finished(outputs, "study", 1, "asked")
    for reuse in (True, False):
        assert known_run(outputs, "study", "a".ljust(64, "0"), 1, reuse).run_id
    wanted = {"system": "student", "phase": "distill", "split": "test", "variant": EXACT}
    needed = {MEASURE: "protocol"}
    find_measurement(
        outputs, outputs / "study" / "new", wanted, needed, ENVIRONMENT, {"evaluation.depth": 100}
    )
    for folder in (outputs / "study").iterdir():
        finished_phase(folder / "distill")


def publish(outputs: Path) -> None:
    history = find_history(outputs / "made" / "cc-s1" / "distill" / "student")
    if history is None:
        return
    data = card_data(Claims("mit"), "pylate", "x", history, None)
    recipe = [recipe_table(history), start_table(history), *numbers(history)]
    for each in (
        to_markdown(recipe), protocol(history), made_with(history), command(history), str(data_lines(history)),
        *lineage(history), *unknown(history, dict(vars(data))), str(data),
    ):  # fmt: skip
        each.encode()


def sweep(outputs: Path) -> None:
    to_markdown([sweep_table(read_cells(outputs / ".cells"), "here")]).encode()


def tell_study(folder: Path) -> None:
    study = read_study(folder)
    runs = read_rows(study)
    found = findings(study, runs)
    assert verdict(found)
    tables = [claims_table(study, found), cells_table(study, runs), runs_table(study, runs)]
    phases = phases_table(study, runs)
    to_markdown([*tables, *([phases] if phases else [])]).encode()


def test_a_damaged_run_does_not_stop_the_training_of_others(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it stands first; each damaged file is named once, however often it is come by."""
    first, second = sorted((tree / "study").iterdir())
    file = first / "distill" / "phase.json"
    whole = file.read_text()
    for content in ("[]", '{"phase_hash": "x", "seconds": NaN}', "", "[" * 100_000, '{"phase_hash": "x"}'):
        file.write_text(content)
        caplog.clear()
        for _ in range(2):
            assert find_phase(tree, "x") == second / "distill"
        (warning,) = caplog.messages
        assert warning.startswith(str(file))
        if content != '{"phase_hash": "x"}':
            with pytest.raises(
                InputError, match=r"phase\.json.*; delete .*distill, and the same command trains"
            ):
                finished_phase(first / "distill")
    file.write_text(whole)


def test_what_a_phase_must_say_is_what_its_outcome_needs() -> None:
    needed = {each.name for each in fields(PhaseOutcome) if each.default is MISSING}
    assert set(WHOLE_PHASE) == needed
    assert {each.name for each in fields(PhaseOutcome)} == set(PhaseFacts.__annotations__)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "study" / "aa-s1"
    run.mkdir(parents=True)
    for name in ("status.json", "results.jsonl", "config.yaml"):
        os.mkfifo(run / name)
    (entry,) = read_ledger(tmp_path)
    assert entry.status == "unknown"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("tree") / "outputs")


def make_tree(outputs: Path) -> Path:
    """Outputs with two runs to compare, one to publish and the cells of a sweep."""
    for config, gain in (("a", 0.1), ("b", 0.2)):
        run = write_run(outputs, config, 1, {"lr": str(gain)}, {"distill": {"test": gain, "dev": gain}})
        hashed = add_protocol(run, {"depth": 100, "student": {"query_length": 32}})
        changed = [{**r.to_dict(), "protocol_hash": hashed} for r in read_records(run / "results.jsonl")]
        (run / "results.jsonl").write_text("".join(json.dumps(each) + "\n" for each in changed))
        about = {"task": "train", "config_hash": config, "seed": 1, "factors": {"lr": str(gain)}, "asked": "asked",
                 "schedule": ["distill"], "headline": "dev/ndcg@10", "processes": 1, "tags": ["t"]}  # fmt: skip
        status = {
            "status": "finished",
            "started": 1.0,
            "ended": 2.0,
            "error": None,
            "pid": 1,
            "host": "h",
            "run": about,
        }
        (run / "status.json").write_text(json.dumps(status))
        splits = {
            key: {"dataset": "made", "split": key, "fingerprint": "text", "parts": {"documents": "x"},
                  "documents": 8, "queries": 8, "details": {}, "protocol": {"query_length": 32}}
            for key in ("test", "dev")
        }  # fmt: skip
        (run / "splits.json").write_text(json.dumps(splits))
        (run / "environment.json").write_text(json.dumps(ENVIRONMENT))
        (run / "config.yaml").write_text(
            yaml.safe_dump({"name": "study", "seed": 1, "evaluation": {"depth": 100}})
        )
        phase = {
            "phase_hash": "x", "steps": 10, "seconds": 20.0, "queries": 40, "tokens": 1000, "padded_tokens": 1200,
            "teacher_entropy": 0.5, "prompt_mismatch": None, "reused_from": None, "devices": 1, "flops": 1e12,
            "truncation": {"query": {"texts": 4, "cut": 0.5, "cut_without_prompt": 0.25}}, "matmul_rate": 1e12,
        }  # fmt: skip
        (run / "distill" / "phase.json").write_text(json.dumps(phase))
        (run / "distill" / "student").mkdir()
    write_published(outputs / "made" / "cc-s1", data={"distill": {"path": "BeIR/scifact"}})
    write_cell(outputs / ".cells", Cell(0, {"lr": "1"}, "finished", "dev/ndcg@10", 0.5, 10.0, "x"))
    return outputs


def files_and_readers(outputs: Path, study: Path) -> Iterator[tuple[Path, Callable[[Path], None], Path]]:
    run, published = outputs / "study" / f"{'a'.ljust(10, '0')}-s1", outputs / "made" / "cc-s1"
    names = ("status.json", "results.jsonl", "splits.json", "protocols.json", "environment.json", "config.yaml",
             "distill/phase.json", "distill/metrics.csv", "distill/rankings/test.parquet")  # fmt: skip
    for name in names:
        for reader in (list_runs, compare, show_runs, look_for_what_is_there):
            yield run / name, reader, outputs
    for name in (
        "config.yaml",
        "results.jsonl",
        "splits.json",
        "environment.json",
        "distill/phase.json",
        "status.json",
    ):
        yield published / name, publish, outputs
    yield outputs / ".cells" / "00000.json", sweep, outputs
    for name in ("study.yaml", "study.yaml", "results.jsonl", "runs.jsonl", "per_query.jsonl"):
        yield study / name, tell_study, study


def read_damaged_files(
    outputs: Path, study: Path, inputs: int, rng: random.Random, limit: Callable[[], Any] = nullcontext
) -> list[str]:
    """Damage files of runs and of a study, one at a time, and read them.

    Args:
        outputs: what :func:`make_tree` made.
        study: the study's folder.
        inputs: how often.
        rng: what decides the damage.
        limit: makes a context in which one input is read.

    Returns:
        What went wrong.
    """
    cases = list(files_and_readers(outputs, study))
    for file, reader, where in cases:
        assert file.is_file(), file
        reader(where)  # whole files are read
    problems = []
    for number in range(inputs):
        file, reader, where = cases[number % len(cases)]
        whole = file.read_bytes()
        content = damaged(rng, file)
        file.write_bytes(content)
        try:
            with suppress(InputError), limit():
                reader(where)
        except Exception:
            place = f"{reader.__name__} {file.name}"
            problems.append(f"{place}: {traceback.format_exc(limit=-4)}: {content[:300]!r}")
        finally:
            file.write_bytes(whole)
    return problems


def test_400_damaged_files(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    study = made_study(tmp_path_factory.mktemp("study") / "made", (1,)).folder
    problems = read_damaged_files(tree, study, 400, random.Random(20))
    assert not problems, "\n".join(problems)
