"""Where a contrastive phase gets its pairs and triples from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from hydra import compose, initialize_config_dir

from colbert_lab.base.errors import InputError
from colbert_lab.sources.triple_sources import InstalledDocsTriples, Mixture, TripleFiles
from colbert_lab.tasks.composing import CONF
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.text import installed_docs
from colbert_lab.text.documentation import documentation_of
from colbert_lab.text.installed_docs_build import Row
from tests.hub_copies import write_splits
from tests.tiny import sentences, write_beir

RETRIEVER = BM25(0.9, 0.4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.fixture
def beir(tmp_path: Path) -> str:
    documents = {f"d{n}": text for n, text in enumerate(sentences(8))}
    queries = {f"q{n}": documents[f"d{n}"] for n in range(4)}
    qrels = {"train": [(f"q{n}", f"d{n}", 1) for n in range(3)], "dev": [("q3", "d3", 1), ("q3", "d4", 0)]}
    return str(write_beir(tmp_path / "toy", documents, queries, qrels))


@pytest.fixture
def hub(tmp_path: Path) -> str:
    def rows(name: str, n: int) -> list[dict[str, Any]]:
        return [
            {"query": f"{name} {i}", "document": f"document {i}", "negative": ["one", "two"], "dataset": name}
            for i in range(n)
        ]

    return str(write_splits(tmp_path / "hub", {"nq": rows("nq", 3), "fever": rows("fever", 5)}))


def test_a_beir_folder_gives_pairs(beir: str, tmp_path: Path) -> None:
    (train,) = TripleFiles(beir).load(tmp_path)
    assert (train.name, len(train), train.fewest) == ("toy/train", 3, 1)
    (dev,) = TripleFiles(beir, split="dev").load(tmp_path)
    assert [name for name, _ in dev.training_queries()] == ["q3"]
    with pytest.raises(InputError, match=r"^data\.path: \S+test\.tsv: no such file"):
        TripleFiles(beir, split="test").load(tmp_path)


def test_a_beir_folder_gives_triples_with_a_retriever(beir: str, tmp_path: Path) -> None:
    (train,) = TripleFiles(beir, 4, RETRIEVER).load(tmp_path)
    assert (train.name, len(train), train.fewest) == ("toy/train", 3, 5)
    with pytest.raises(InputError, match=r"^data\.retriever: hard negatives need a retriever"):
        TripleFiles(beir, 4).load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.negatives=8: toy has fewer other documents for queries 3"):
        TripleFiles(beir, 8, RETRIEVER).load(tmp_path)


def test_a_dataset_gives_a_source_for_each_split(hub: str, tmp_path: Path) -> None:
    pairs = TripleFiles(hub)
    assert {source.name: len(source) for source in pairs.load(tmp_path)} == {"hub/nq": 3, "hub/fever": 5}
    assert pairs.weights is None
    assert {source.fewest for source in TripleFiles(hub, 10).load(tmp_path)} == {3}
    assert {source.fewest for source in TripleFiles(hub, 1).load(tmp_path)} == {2}


@pytest.mark.parametrize("make", [TripleFiles, partial(TripleFiles, negatives=2, retriever=RETRIEVER)])
def test_settings_that_do_not_fit_are_named(make: Any, beir: str, hub: str, tmp_path: Path) -> None:
    assert make(hub, source_weights=[0.25, 0.75]).weights == [0.25, 0.75]
    assert len(make(hub, source_weights=[0.25, 0.75]).load(tmp_path)) == 2
    with pytest.raises(
        InputError, match=r"^data\.source_weights: 1 weights for 2 sources \(hub/nq, hub/fever\)"
    ):
        make(hub, source_weights=[1]).load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.source_weights: they add up to 1\.5; shares"):
        make(hub, source_weights=[0.75, 0.75]).load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.source_weights: 2 weights for 1 sources \(toy/train\)"):
        make(beir, source_weights=[1, 2]).load(tmp_path)
    idle = {
        "columns": {"query": "question"},
        "revision": "v1",
        "rows": 2,
        "streaming": True,
        "skip_empty": True,
    }
    for key, value in idle.items():
        with pytest.raises(InputError, match=rf"^data\.{key}: has no effect on a BEIR-layout folder"):
            make(beir, **{key: value}).load(tmp_path)


def test_a_mixture_has_the_sources_of_all_in_order(beir: str, hub: str, tmp_path: Path) -> None:
    sources = {"docs": TripleFiles(beir), "nomic": TripleFiles(hub)}
    mixture = Mixture(sources)
    assert [source.name for source in mixture.load(tmp_path)] == ["toy/train", "hub/nq", "hub/fever"]
    assert (mixture.weights, mixture.teacher) == (None, None)
    weighted = Mixture(
        {"docs": TripleFiles(beir), "nq": TripleFiles(hub, split="nq")}, {"nq": 0.25, "docs": 0.75}
    )
    assert weighted.weights == [0.75, 0.25]
    assert [source.name for source in weighted.load(tmp_path)] == ["toy/train", "hub/nq"]


def test_weights_of_a_mixture_that_do_not_fit_are_named(beir: str, hub: str, tmp_path: Path) -> None:
    sources = {"docs": TripleFiles(beir), "nomic": TripleFiles(hub)}
    with pytest.raises(InputError, match=r"^data\.source_weights: nomic is not both a source and a weight"):
        Mixture(sources, {"docs": 1.0}).load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.source_weights: other is not both a source and a weight"):
        Mixture({"docs": TripleFiles(beir)}, {"docs": 1.0, "other": 1.0}).load(tmp_path)
    with pytest.raises(InputError, match=r"^data\.source_weights: nomic has several sources of its own"):
        Mixture(sources, {"docs": 0.5, "nomic": 0.5}).load(tmp_path)
    with pytest.raises(
        InputError, match=r"^data\.sources\.nomic\.source_weights: has no effect in a mixture"
    ):
        Mixture({"nomic": TripleFiles(hub, source_weights=[1, 1])}).load(tmp_path)


def test_a_mixture_is_composed_on_the_command_line(beir: str, hub: str, tmp_path: Path) -> None:
    overrides = [
        "+experiment=colbert_zero_kd",
        "data=mixture",
        "+data@data.sources.docs=triples",
        f"data.sources.docs.path={beir}",
        "data.sources.docs.negatives=2",
        "+data@data.sources.nq=pairs",
        f"data.sources.nq.path={hub}",
        "data.sources.nq.split=nq",
        "data.source_weights={docs: 0.667, nq: 0.333}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=overrides)
    mixture = hydra.utils.instantiate(cfg.data, _convert_="all")
    assert [(source.name, source.fewest) for source in mixture.load(tmp_path)] == [
        ("toy/train", 3),
        ("hub/nq", 1),
    ]
    assert mixture.weights == [0.667, 0.333]


@pytest.fixture
def _small_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten documented functions: every fifth is of the test split."""
    texts = sentences(10, low=8)
    rows = [Row(f"m{n}:f", texts[n], texts[n][:20], "test" if n % 5 == 4 else "train") for n in range(10)]
    monkeypatch.setattr(
        installed_docs, "load_installed_docs", lambda cache_dir: documentation_of("installed_docs", rows, {})
    )


@pytest.mark.usefixtures("_small_installation")
def test_the_installed_documentation_gives_pairs_and_triples_of_training_text(tmp_path: Path) -> None:
    (pairs,) = InstalledDocsTriples(None, None).load(tmp_path)
    assert (len(pairs), pairs.fewest) == (8, 1)
    (triples,) = InstalledDocsTriples(6, 4, 3, RETRIEVER).load(tmp_path)
    assert (len(triples), triples.fewest) == (4, 4)
    names = {name for name, _ in pairs.training_queries()}
    assert {name for name, _ in triples.training_queries()} <= names
    assert not names & {"q:m4:f", "q:m9:f"}
    with pytest.raises(InputError, match=r"^data\.retriever: hard negatives need a retriever"):
        InstalledDocsTriples(None, None, 3).load(tmp_path)
