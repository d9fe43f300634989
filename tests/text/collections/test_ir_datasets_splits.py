"""Data sets of ``ir_datasets`` as splits and as training data, from local files in the package's own classes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.sources.ir_datasets_rows import IrDatasetRows
from colbert_lab.text.collections.beir import load_beir
from colbert_lab.text.collections.ir_datasets_splits import (
    ir_dataset_id,
    load_ir_datasets,
    open_ir_dataset,
    split_name,
)
from colbert_lab.text.collections.splits import SplitRequest, load_splits
from tests.command import command, the_run
from tests.text.collections.ir_toy import NAME, registered
from tests.tiny import WORDS, write_beir
from tests.toy import student_overrides

pytest.importorskip("ir_datasets")
DOCUMENTS = {f"d{n}": " ".join(WORDS[(n + k) % len(WORDS)] for k in range(6)) for n in range(12)}
QUERIES = {f"q{n}": " ".join(DOCUMENTS[f"d{n}"].split()[:3]) for n in range(8)}
TRAIN = [(f"q{n}", f"d{n}", 1) for n in range(4)] + [("q0", "d5", 1), ("q1", "d6", 0)]
TEST = [(f"q{n}", f"d{n}", 1) for n in range(4, 8)] + [("q4", "d0", 0)]
QRELS = {"train": TRAIN, "test": TEST, "dev": TEST[:2]}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[str]:
    with registered(tmp_path / "files", DOCUMENTS, QUERIES, QRELS) as name:
        yield name


def request(path: str | None, role: str | None = None) -> SplitRequest:
    return SplitRequest("ir_datasets", "auto", path, role=role)


def test_a_split_is_that_of_the_same_texts_in_beir_layout(toy: str, tmp_path: Path) -> None:
    folder = write_beir(
        tmp_path / "beir", {k: f"T {v}" for k, v in DOCUMENTS.items()}, QUERIES, {"test": TEST}
    )
    found = load_ir_datasets([f"{toy}/test"])[f"{toy}/test"]
    wanted = load_beir(folder, "test")
    assert (list(found.corpus.ids), list(found.corpus.texts)) == (
        list(wanted.corpus.ids),
        list(wanted.corpus.texts),
    )
    assert (found.name, found.queries, found.qrels) == ("test", wanted.queries, wanted.qrels)
    assert found.fingerprint == wanted.fingerprint


def test_splits_of_one_data_set_share_their_documents(toy: str, tmp_path: Path) -> None:
    asked = {
        "test": request(f"{toy}/test", "test"),
        "dev": request(f"{toy}/dev", "dev"),
        "none": request(None, "dev"),
    }
    found = load_splits(asked, documents=None, cache_dir=tmp_path)
    assert {key: split.name for key, split in found.items()} == {"test": "test", "dev": "dev"}
    assert found["test"].corpus is found["dev"].corpus
    assert list(found["dev"].queries) == ["q4", "q5"]


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    ids = []
    for n, documents in enumerate((DOCUMENTS, DOCUMENTS, {**DOCUMENTS, "d11": "another"})):
        with registered(tmp_path / str(n), documents, QUERIES, QRELS) as name:
            ids.append([ir_dataset_id(f"{name}/{split}") for split in QRELS])
            ids[-1].append(ir_dataset_id(f"{name}/train", docpairs=True))
    assert ids[0] == ids[1]
    assert all(one != other for one, other in zip(ids[0], ids[2], strict=True))
    assert None not in ids[0]
    assert len(set(ids[0])) == 4
    assert ir_dataset_id("no-such-data-set") is None


def test_judgments_are_pairs_and_docpairs_are_triples(toy: str, tmp_path: Path) -> None:
    (pairs,) = IrDatasetRows(f"{toy}/train").load(tmp_path)
    assert [query for query, _ in pairs.training_queries()] == ["q0", "q0", "q1", "q2", "q3"]
    (triples,) = IrDatasetRows(f"{toy}/train", use="docpairs", rows=2).load(tmp_path)
    rows = [(row["query_id"], row["document"], row["negative"]) for row in triples.rows()]  # type: ignore[attr-defined]
    assert rows == [(f"q{n}", f"T {DOCUMENTS[f'd{n}']}", [f"T {DOCUMENTS[f'd{n + 1}']}"]) for n in range(2)]


def test_what_is_missing_is_told(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=rf"{toy}/tset: ir_datasets has no such data set; did you mean .*{toy}/test"
    ):
        open_ir_dataset(f"{toy}/tset")
    with pytest.raises(InputError, match=rf"{toy}: has no queries; it has docs; try {toy}/\w+ or "):
        load_ir_datasets([toy])
    with pytest.raises(InputError, match=r"data.path: .*/test: has no docpairs; it has docs, queries, qrels"):
        IrDatasetRows(f"{toy}/test", use="docpairs").load(tmp_path)
    (tmp_path / "files" / "test.qrels").write_text("q4 0 d4\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"cannot fetch or read its judgments \(RuntimeError: expected 4 columns"
    ):
        load_ir_datasets([f"{toy}/test"])
    with pytest.raises(InputError, match=r"evaluation.splits.test.path: no data set; set evaluation.path=ID"):
        load_splits({"test": request(None, "test")}, documents=None, cache_dir=tmp_path)
    with pytest.raises(InputError, match=r"data.rows: has no effect on qrels"):
        IrDatasetRows(f"{toy}/train", rows=2).load(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(
        InputError, match=r'ir_datasets is not installed; pip install "colbert-lab\[ir-datasets\]"'
    ):
        open_ir_dataset(f"{toy}/test")


@pytest.mark.parametrize(
    ("name", "split"),
    [("beir/scifact/test", "test"), ("msmarco-passage/dev/small", "dev"), ("cranfield", "cranfield")],
)
def test_the_id_names_the_split(name: str, split: str) -> None:
    assert split_name(name) == split


@pytest.mark.slow
def test_a_command_measures_on_one(toy: str, tiny_bert: Path, tmp_path: Path) -> None:
    outcome = command(
        *("task=evaluate", "name=toy", *student_overrides(tiny_bert), "tracking=off", "progress=false"),
        *("evaluation=ir_datasets", f"evaluation.path={NAME}/test", f"evaluation.splits.dev.path={NAME}/dev"),
        *(f"output_dir={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}"),
    )
    assert outcome.status == 0, outcome.err
    assert "texts:" in (the_run(tmp_path / "out", "toy") / "contents.json").read_text(encoding="utf-8")
