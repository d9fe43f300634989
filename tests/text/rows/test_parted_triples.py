"""Triples in parts: the layouts of ReasonIR and BGE-Reasoner, flattened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.sources.triple_sources import PartedTripleFiles
from tests.hub_copies import write_tables

COLUMNS = {"positives": "pos", "negatives": "neg"}
VL = [
    {"query": ["why", "fish swim"], "pos": [["", "fins"], ["", "tails"]], "neg": [["as", "stones sink"]]},
    {"query": ["", "birds"], "pos": [["see", "wings"]], "neg": [["", "river"], ["", "sky"]]},
]
HQ = [
    {"query": ["why", "fish swim"], "pos": [["see", "b1"]], "neg": [["", "stones"]]},
    {"query": ["why", "birds fly"], "pos": [["", "not an id"]], "neg": [["", "stones"]]},
]
BGE = [
    {"prompt": "Find it.", "query": "fish", "pos": ["p1", "p2", "p3"], "neg": ["n1", "n2", "n3"]},
    {"prompt": "", "query": "birds", "pos": ["p4"], "neg": []},
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def reasonir(tmp_path: Path) -> Path:
    write_tables(
        tmp_path / "BRIGHT",
        {
            "documents": {
                "biology": [{"id": "b1", "content": "fish have fins"}],
                "pony": [{"id": "c", "content": "x"}],
            }
        },
    )
    return write_tables(tmp_path / "reasonir-data", {"vl": {"train": VL}, "hq": {"train": HQ}})


@pytest.fixture
def bge(tmp_path: Path) -> Path:
    folder = tmp_path / "bge-reasoner-data" / "data-0904"
    folder.mkdir(parents=True)
    for name, rows in (("biology", BGE[:1]), ("pony", BGE[1:])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder.parent


def loaded(path: Path, **settings: Any) -> tuple[str, list[tuple[str, ...]]]:
    (source,) = PartedTripleFiles(str(path), columns=COLUMNS, **settings).load(Path("unused"))
    generator = np.random.default_rng(0)
    examples = [source.example(row, 2, generator) for row in range(len(source))]
    assert source.fewest == 2
    return source.name, [(example.query, *example.documents) for example in examples]


def test_parts_are_joined(reasonir: Path) -> None:
    name, rows = loaded(reasonir, config="vl")
    assert name == "reasonir-data/vl"
    assert rows == [("why fish swim", "fins", "as stones sink"), ("birds", "see wings", "river")]


def test_ids_become_texts(reasonir: Path) -> None:
    _, rows = loaded(reasonir, config="hq", documents=str(reasonir.parent / "BRIGHT"))
    assert [row[1] for row in rows] == ["see fish have fins", "not an id"]


def test_every_pair_of_a_positive_and_a_negative_is_a_triple(bge: Path) -> None:
    name, rows = loaded(bge, files="data-0904/*.jsonl", positives=2, negatives=2)
    assert name == "bge-reasoner-data"
    assert rows == [
        ("Find it.\nQuery: fish", positive, negative)
        for positive in ("p1", "p2")
        for negative in ("n1", "n2")
    ]


def test_short_documents_are_left_out_and_counted(reasonir: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(reasonir, config="vl")
    assert "give no triple" not in caplog.text
    _, rows = loaded(reasonir, config="vl", shortest=5)
    assert [row[1] for row in rows] == ["see wings"]
    assert "1 of 2 rows give no triple: no query, positive or negative of 5 characters" in caplog.text


def test_other_settings_are_other_data(reasonir: Path) -> None:
    marks = {
        PartedTripleFiles(str(reasonir), config="vl", columns=COLUMNS, positives=n)
        .load(Path("x"))[0]
        .fingerprint
        for n in (1, 2)
    }
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": "nonesuch"}, r"data\.path: .*cannot be loaded"),
        (
            {"config": "vl", "columns": {"positives": "good"}},
            r"data\.columns\.positives=good: .*has query, pos, neg",
        ),
        (
            {"config": "vl", "columns": {"document": "pos"}},
            r"data\.columns\.document: must be one of query, prompt",
        ),
        (
            {"config": "vl", "columns": COLUMNS | {"prompt": "p"}},
            r"data\.columns\.prompt=p: .* has no such column",
        ),
        ({"config": "vl", "shortest": 99}, r"no row gives a triple \(data\.shortest=99\)"),
        ({"config": "hq", "documents": "/nowhere"}, r"data\.documents: /nowhere: no such file or folder"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str, reasonir: Path) -> None:
    with pytest.raises(InputError, match=message):
        PartedTripleFiles(str(reasonir), **{"columns": COLUMNS, **settings}).load(Path("unused"))


def test_something_else_than_texts_is_named_with_its_row(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"]}, {"query": "q", "pos": ["p"], "neg": [None]}]
    (tmp_path / "odd").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "odd" / "a.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"odd row 1: a text or a list of texts is expected, not 'None'"):
        PartedTripleFiles(str(tmp_path / "odd"), columns=COLUMNS).load(Path("unused"))
