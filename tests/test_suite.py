"""The benchmark suite: its table, going on after an interruption, and a worker of colbert_lab's side."""

from __future__ import annotations

import argparse
import json
import math
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests import forked
from tests.tiny import sentences

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
CELLS = [("colbert_lab", "default"), ("pylate", "default"), ("sentence_transformers", "default")]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the suite, which is run as a script from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def module(name: str) -> ModuleType:
        return import_module(name)

    return module


def line(side: str, kind: str = "round", **values: Any) -> dict[str, Any]:
    group = {"workload": "distill", "case": "4 x 32, length 300", "precision": "fp32"}
    mate = "sentence_transformers" if side == "sentence_transformers" else "pylate"
    return {**group, "side": side, "variant": "default", "pair": [mate, "default"], "kind": kind, **values}


def measured() -> list[dict[str, Any]]:
    """Three rounds of colbert_lab and PyLate; sentence-transformers did something else."""
    lines = [line("sentence_transformers", "failed", error="other loss | differs")]
    lines.append(line("pylate", "check", difference=2e-6, checked="loss", versions={"torch": "2"}))
    for n, (ours, theirs) in enumerate([(1.0, 3.0), (2.0, 4.0), (1.0, 8.0)]):
        facts: dict[str, Any] = {"flops": 1e9, "rate": 2e9, "tokenising": 0.25, "peak": (n + 1) * 2**30}
        lines.append(line("colbert_lab", round=n, seconds=ours, **facts))
        lines.append(line("pylate", round=n, seconds=theirs, tokenising=1.0, peak=2**31))
    return lines


def test_the_table_has_medians_ratios_of_rounds_and_floors(load: Any) -> None:
    table = load("suite_table")
    ours, pylate, third = table.summary(measured())
    assert (ours["side"], ours["seconds"], ours["low"], ours["high"], ours["n"]) == (
        "colbert_lab",
        1,
        1,
        2,
        3,
    )
    assert ours["without tokenising"] == 0.75
    assert ours["peak"] == 3 * 2**30
    assert (ours["floor"], ours["share"]) == (0.5, 0.5)
    assert "ratio" not in ours
    # The median of 3, 2 and 8, not the ratio of the medians, 4.
    assert (pylate["ratio"], pylate["ratios"]) == (3.0, [3.0, 2.0, 8.0])
    assert third == {**third, "side": "sentence_transformers", "failed": "other loss | differs"}
    text = table.markdown([ours, pylate, third], ["a machine"])
    assert "a machine" in text
    rows = [row for row in text.splitlines() if row.startswith("| 4 x 32")]
    assert len({row.count("|") for row in rows}) == 1
    assert "| 1 (1 to 2, n=3) | 0.75 | 3.00 |  |  | 0.5 (50%) |" in rows[0]
    assert (
        "| PyLate 1.6.0 | default | 4 (3 to 8, n=3) | 3 | 2.00 | **3.00** | 2e-06 (loss, relative) |  |"
        in rows[1]
    )
    assert "other loss / differs" in rows[2]


def test_a_round_that_one_of_a_pair_lacks_is_measured_again(load: Any, tmp_path: Path) -> None:
    book, cells = load("suite_book"), load("suite_cells")
    pair = [cells.Cell(*cell, {}) for cell in CELLS[:2]]
    group = cells.Group("distill", "4 x 32, length 300", "fp32", pair)
    lines = [found for found in measured() if found["side"] != "sentence_transformers"]
    whole = "".join(json.dumps(found) + "\n" for found in lines[:-1])
    (tmp_path / "measurements.jsonl").write_text(whole + '{"workload": "dis', encoding="utf-8")
    found = book.Book(tmp_path)
    assert found.missing(group, pair, 3) == [2]
    assert found.missing(group, pair, 5) == [2, 3, 4]
    for cell, seconds in zip(pair, (1.0, 5.0), strict=True):
        found.add(group, pair, cell, kind="round", round=2, seconds=seconds)
    again = book.Book(tmp_path)
    assert again.missing(group, pair, 3) == []
    # The first half of the interrupted round does not count any more.
    assert load("suite_table").summary(again.lines)[1]["ratios"] == [3.0, 2.0, 5.0]


def test_what_failed_is_tried_again_and_pairs_do_not_mix(load: Any, tmp_path: Path) -> None:
    book, cells = load("suite_book"), load("suite_cells")
    group = cells.Group("distill", "4 x 32, length 300", "fp32", [cells.Cell(*cell, {}) for cell in CELLS])
    (tmp_path / "measurements.jsonl").write_text(
        "".join(json.dumps(found) + "\n" for found in measured()), encoding="utf-8"
    )
    found = book.Book(tmp_path)
    ours, pylate, third = group.cells
    assert found.missing(group, (ours, pylate), 3) == []
    assert found.missing(group, (ours, third), 3) == [0, 1, 2]
    assert found.rounds(group, ours) == 3
    for n in range(3):
        found.add(group, (ours, third), ours, kind="round", round=n, seconds=4.0)
        found.add(group, (ours, third), third, kind="round", round=n, seconds=2.0)
    first, second, last = load("suite_table").summary(found.lines)
    # colbert_lab's row has the rounds of both pairs, and each ratio is that of its own pair.
    assert (first["n"], first["low"], first["high"]) == (6, 1, 4)
    assert (second["ratio"], last["n"], last["ratio"]) == (3.0, 3, 0.5)


def test_without_colbert_lab_there_is_no_ratio_to_it(load: Any) -> None:
    lines = [line("sentence_transformers", round=n, seconds=2.0) for n in range(2)]
    lines += [
        line("pylate", round=n, seconds=4.0) | {"pair": ["sentence_transformers", "default"]}
        for n in range(2)
    ]
    pylate, other = load("suite_table").summary(lines)
    assert (pylate["side"], pylate["n"], other["n"]) == ("pylate", 2, 2)
    assert "ratio" not in pylate
    assert "ratio" not in other


def test_losses_and_embeddings_that_differ_are_told(load: Any, tmp_path: Path) -> None:
    import numpy as np

    different = load("suite_book").how_different
    assert different("loss", {"loss": 1.1}, {"loss": 1.0}, {}, {}) == pytest.approx(0.1)
    assert math.isnan(different("loss", {"loss": 0.0}, {"loss": 0.0}, {}, {}))
    assert different("value", {"value": 0.5}, {"value": 0.75}, {}, {}) == 0.25
    files = {}
    for name, rows in (("ours", 3), ("same", 3), ("shorter", 2)):
        files[name] = {"embeddings": str(tmp_path / f"{name}.npz")}
        np.savez(files[name]["embeddings"], np.full((rows, 4), 0.5 if name == "same" else 0.25))
    assert different("embeddings", {}, {}, files["same"], files["ours"]) == 0.25
    assert different("embeddings", {}, {}, files["shorter"], files["ours"]) == float("inf")


def test_batches_are_the_same_for_all_and_hold_no_document_twice(load: Any) -> None:
    texts = load("suite_texts")
    unique = dict.fromkeys(sentences(120, seed=3, low=4, high=9))
    documents = {f"d{n}": text for n, text in enumerate(unique)}
    collection = texts.Collection(
        "toy", documents, texts.drawn_lists(documents, ["one", "two", "three", "four"])
    )
    batches = texts.list_batches(collection, 3, 2, 5, True)
    assert batches == texts.list_batches(collection, 5, 2, 5, True)[:3]
    for batch in batches:
        found = [text for row in batch for text in row["documents"]]
        assert len(set(found)) == len(found) == 10
        for row in batch:
            assert row["scores"][0] == max(row["scores"])
            assert sum(row["scores"]) == pytest.approx(0, abs=1e-9)
    pairs = texts.pair_batches(collection, 2, 20)
    assert not {row["query"] for row in pairs[0]} & {row["query"] for row in pairs[1]}
    with pytest.raises(SystemExit, match="too few"):
        texts.pair_batches(collection, 1, 500)


def test_a_small_student_is_trained_by_all_sides(load: Any, tiny_bert: Path, tmp_path: Path) -> None:
    cells, texts = load("suite_cells"), load("suite_texts")
    given = argparse.Namespace(
        quick=False, workloads=["small"], sides=cells.SIDES, variants=None, precisions=["fp32"], compile=False
    )
    groups = cells.groups_of(given, 512)
    assert [(group.case, group.spec["loss"]) for group in groups] == [
        ("16 x 16, length 300", "distillation"),
        ("128 pairs, length 180", "contrastive"),
        ("512 pairs, length 180", "cached"),
    ]
    for group in groups:
        assert group.spec["student"] == "small"
        assert {cell.side for cell in group.cells} == set(cells.SIDES)
        assert group.cells[0].variant == "default"
    assert texts.write_weights(tmp_path, str(tiny_bert), ("small",)) == 512
    found = [
        load_file(file) for file in sorted(tmp_path.rglob("model.safetensors")) if file.stat().st_size > 10**5
    ]
    tables = [next(v for k, v in each.items() if "word_embeddings" in k) for each in found]
    assert len(tables) == len(texts.LAYOUTS)
    assert tables[0].shape[1] == 128
    assert all(torch.equal(tables[0], table) for table in tables)


@pytest.mark.slow
def test_the_suite_of_one_side_goes_on_where_it_stopped(tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    texts = list(dict.fromkeys(sentences(60, seed=4, low=6, high=12)))
    rows = [{"_id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    queries = [{"_id": f"q{n}", "text": " ".join(texts[n].split()[:4])} for n in range(8)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries), encoding="utf-8")
    out = tmp_path / "out"

    def suite(repeats: int) -> str:
        command = [str(BENCHMARKS / "suite.py"), "--out", str(out), "--sides", "colbert_lab"]
        command += ["--collection", str(folder), "--backbone", str(tiny_bert), "--quick", "--threads", "1"]
        command += ["--workloads", "distill", "--precisions", "fp32", "--lengths", "300"]
        done = forked.run([*command, "--repeats", str(repeats)], timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "colbert_lab (default): round 1" in suite(1)
    first = (out / "measurements.jsonl").read_text(encoding="utf-8")
    said = suite(2)
    assert "colbert_lab (default): round 2" in said
    assert "colbert_lab (default): round 1" not in said
    whole = (out / "measurements.jsonl").read_text(encoding="utf-8")
    assert whole.startswith(first)
    assert "measured before" in suite(2)
    rounds = [found for found in map(json.loads, whole.splitlines()) if found["kind"] == "round"]
    assert [found["round"] for found in rounds] == [0, 1]
    for found in rounds:
        assert 0 < found["tokenising"] < found["seconds"]
        assert found["peak"] >= found["resident before"] > 0
        assert found["loss"] > 0
        assert found["flops"] > 0
    assert "| colbert_lab | default |" in (out / "table.md").read_text(encoding="utf-8")
    refused = forked.run([str(BENCHMARKS / "suite.py"), "--out", str(out), "--sides", "colbert_lab"])
    assert refused.returncode == 1
    assert "has measurements of other settings" in refused.stderr
