"""Evaluation splits in the hub's layouts, through the committed configs and from small local copies."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.run.inputs import split_requests
from colbert_lab.settings import Command, checked
from colbert_lab.tasks.composing import CONF
from colbert_lab.text.collections.splits import is_dev, load_splits
from tests.hub_copies import (
    Collection,
    write_az_mirage,
    write_beir_hub,
    write_bright,
    write_mteb,
    write_nano,
    write_nano_en,
    write_tables,
)
from tests.tiny import write_beir

N = 8
# Ids that look like numbers and are none, and one with a quotation mark, as DBpedia has them.
IDS = ["002", "2", "1e5", "NA", 'a"b', "d5", "d6", "q1"]
MADE = Collection(
    {key: f"document {n}" for n, key in enumerate(IDS)},
    {f"q{n}": f"query {n}" for n in range(6)},
    {
        "train": [("q3", "d5", 1), ("q4", "d6", 1)],
        "test": [("q0", "002", 1), ("q0", "2", 1), ("q1", "1e5", 1), ("q2", "NA", 1)],
        "dev": [("q5", 'a"b', 1)],
    },
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def load(*overrides: str, **keywords: Any) -> dict[str, Split]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = checked(compose("config", overrides=["+experiment=colbert_zero_kd", *overrides]))
    requests = split_requests(Command.of(cfg).settings.evaluation.splits, full=cfg.evaluation.full)
    tolerate = cfg.evaluation.unknown_documents == "drop"
    return load_splits(
        requests, documents=None, cache_dir=Path("unused"), tolerate_unknown_documents=tolerate, **keywords
    )


def only(*keys: str) -> list[str]:
    """Overrides that take all other sets out of NanoBEIR or BRIGHT."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        names = {
            group: list(compose("config", overrides=[f"evaluation={group}"]).evaluation.splits)
            for group in ("nano_beir", "bright")
        }
    group = "nano_beir" if keys[0].startswith("Nano") else "bright"
    return [f"evaluation.splits.{name}=null" for name in names[group] if name not in keys]


def test_one_collection_is_the_same_split_in_every_layout(tmp_path: Path) -> None:
    folder = write_beir(tmp_path / "plain", dict(MADE.documents), dict(MADE.queries), dict(MADE.qrels))  # type: ignore[arg-type]
    plain = load("evaluation=beir", f"evaluation.path={folder}")["test"]
    write_beir_hub(tmp_path / "toy", MADE)
    write_mteb(tmp_path / "mteb_toy", MADE)
    write_nano(tmp_path / "NanoArguAna", MADE)
    write_nano_en(tmp_path / "NanoBEIR-en", {"NanoArguAna": MADE})
    write_bright(tmp_path / "BRIGHT", {"biology": MADE}, {})
    biology = ["evaluation.every.protocol.query_prompt=null", *only("biology")]
    splits = [
        load("evaluation=beir", f"evaluation.path={tmp_path / 'toy'}")["test"],
        load(
            "evaluation=beir",
            "layout@evaluation.every.layout=mteb",
            f"evaluation.path={tmp_path / 'mteb_toy'}",
        )["test"],
        load("evaluation=nano_beir", f"evaluation.path={tmp_path}", *only("NanoArguAna"))["NanoArguAna"],
        load("evaluation=nano_beir_en", f"evaluation.path={tmp_path / 'NanoBEIR-en'}", *only("NanoArguAna"))[
            "NanoArguAna"
        ],
        load("evaluation=bright", f"evaluation.path={tmp_path / 'BRIGHT'}", *biology)["biology"],
    ]
    assert [split.fingerprint for split in splits] == [plain.fingerprint] * 5
    assert [split.dataset for split in splits] == ["toy", "mteb_toy", "NanoArguAna", "NanoArguAna", "Biology"]
    assert {split.name for split in splits} == {"test"}
    assert list(splits[0].corpus.ids) == IDS
    assert splits[0].qrels == {"q0": {"002": 1, "2": 1}, "q1": {"1e5": 1}, "q2": {"NA": 1}}
    assert all(split.details["queries_without_judgments"] == 3 for split in splits)


@pytest.mark.parametrize(
    ("write", "layout", "name"),
    # The datasets library calls the split of a file dev.tsv validation.
    [(write_beir_hub, "beir", "validation"), (write_mteb, "mteb", "dev")],
    ids=["BeIR", "mteb"],
)
def test_a_dev_split_is_found_on_the_hub_too(tmp_path: Path, write: Any, layout: str, name: str) -> None:
    write(tmp_path / "toy", MADE)
    options = ["evaluation=beir", f"layout@evaluation.every.layout={layout}"]
    splits = load(*options, f"evaluation.path={tmp_path / 'toy'}")
    assert {key: split.name for key, split in splits.items()} == {"test": "test", "dev": name}
    assert is_dev(splits["dev"])
    assert splits["dev"].qrels == {"q5": {'a"b': 1}}
    assert splits["dev"].corpus is splits["test"].corpus


def test_without_a_dev_split_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_mteb(tmp_path / "toy", MADE._replace(qrels={"test": MADE.qrels["test"]}))
    with caplog.at_level(logging.INFO):
        splits = load(
            "evaluation=beir", "layout@evaluation.every.layout=mteb", f"evaluation.path={tmp_path / 'toy'}"
        )
    assert list(splits) == ["test"]
    assert "evaluation.splits.dev" in caplog.text
    assert "toy/test: 3 of 6 queries have no judgments in it and are not measured" in caplog.text


def test_beir15_measures_ms_marco_on_dev_and_excludes_the_query_itself(tmp_path: Path) -> None:
    for name in ("arguana", "msmarco", "nfcorpus"):
        write_mteb(tmp_path / name, MADE)
    write_beir(tmp_path / "fiqa", dict(MADE.documents), dict(MADE.queries), dict(MADE.qrels))  # type: ignore[arg-type]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        keys = list(compose("config", overrides=["evaluation=beir15"]).evaluation.splits)
    assert len(keys) == 26
    kept = ("arguana", "msmarco", "nfcorpus", "fiqa")
    out = [f"evaluation.splits.{key}=null" for key in keys if key not in kept]
    splits = load("evaluation=beir15", f"evaluation.path={tmp_path}", *out)
    assert splits["msmarco"].qrels == {"q5": {'a"b': 1}}
    assert splits["msmarco"].name == "test"
    assert splits["msmarco"].details["judgments"] == "dev"
    assert not any(map(is_dev, splits.values()))
    assert splits["arguana"].excluded == {"q1": {"q1"}}
    assert not splits["nfcorpus"].excluded
    assert splits["arguana"].fingerprint != splits["nfcorpus"].fingerprint == splits["fiqa"].fingerprint


def test_bright_excludes_prefixes_and_has_long_documents(tmp_path: Path) -> None:
    domains = {"pony": MADE, "aops": MADE}
    write_bright(tmp_path / "BRIGHT", domains, {"q0": ["d5", "d6"], "q2": ["N/A"]}, long=True)
    path = f"evaluation.path={tmp_path / 'BRIGHT'}"
    splits = load("evaluation=bright", path, *only("pony", "aops"))
    assert {query: set(names) for query, names in splits["pony"].excluded.items()} == {"q0": {"d5", "d6"}}
    end = "post, retrieve relevant passages that help answer the post.\nQuery: "
    assert splits["aops"].protocol == {
        "query_length": 256,
        "document_length": 2048,
        "query_prompt": f"Given a Math {end}",
        "domain": "Math",
    }
    assert splits["pony"].protocol["query_length"] == 32
    assert splits["pony"].protocol["query_prompt"] == f"Given a Pony {end}"
    assert splits["aops"].dataset == "AoPS"
    (long,) = load("evaluation=bright_long", path, *only("pony", "aops")).values()
    assert long.qrels["q0"] == {"002.long": 1, "2.long": 1}
    assert long.corpus.texts[0] == "document 0 document 0"


def test_az_mirage_numbers_its_chunks_and_reads_their_queries(tmp_path: Path) -> None:
    rows = [("q0", "002", 1), ("q0", "2", 0), ("q1", "d5", 1)]
    write_az_mirage(tmp_path / "dataset", MADE._replace(qrels={"test": rows}))
    (split,) = load("evaluation=az_mirage", f"evaluation.path={tmp_path / 'dataset'}").values()
    assert list(split.corpus.ids) == [str(n) for n in range(N)]
    assert split.qrels == {"q0": {"0": 1, "1": 0}, "q1": {"5": 1}}
    assert split.corpus.texts[5] == "document 5"
    assert split.dataset == "AZ-MIRAGE"
    assert split.details["queries_without_judgments"] == 4


def test_documents_without_text_are_left_out_of_nano_sets_and_counted(tmp_path: Path) -> None:
    documents = dict(MADE.documents) | {"2": "", "d6": " "}
    write_nano(tmp_path / "NanoArguAna", MADE._replace(documents=documents))
    (split,) = load("evaluation=nano_beir", f"evaluation.path={tmp_path}", *only("NanoArguAna")).values()
    assert list(split.corpus.ids) == [key for key in IDS if key not in ("2", "d6")]
    assert split.qrels["q0"] == {"002": 1, "2": 1}
    assert split.details["empty_documents"] == 2


def test_unknown_documents_are_an_error_unless_they_are_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*MADE.qrels["test"], ("q0", "gone", 1), ("q3", "lost", 1)]
    write_mteb(tmp_path / "toy", MADE._replace(qrels={"test": rows}))
    options = [
        "evaluation=beir",
        "layout@evaluation.every.layout=mteb",
        f"evaluation.path={tmp_path / 'toy'}",
    ]
    with pytest.raises(
        InputError,
        match=r"^evaluation\.splits\.test: .* judges documents that are not in .*: 2 \(gone, lost\); .*=drop",
    ):
        load(*options)
    with caplog.at_level(logging.WARNING):
        split = load(*options, "evaluation.unknown_documents=drop")["test"]
    assert split.qrels["q0"] == {"002": 1, "2": 1}
    assert "q3" not in split.queries
    assert (split.details["unknown_documents"], split.details["queries_without_document"]) == (2, 1)
    assert "2 (gone, lost)" in caplog.text
    with pytest.raises(
        InputError, match=r"^evaluation\.unknown_documents=ignore: must be one of error, drop"
    ):
        load(*options, "evaluation.unknown_documents=ignore")


BAD = {
    "no such config": (
        "evaluation.every.layout.corpus.config=corpora",
        r"layout\.corpus: .*toy \(corpora, corpus\): .*Available: \['corpus', 'queries', 'default'\]",
    ),
    "no such split": (
        "evaluation.splits.test.split=tset",
        r"layout\.qrels: .*toy \(default, tset\): .*no split tset; there are train, test, dev;",
    ),
    "no such column": (
        "evaluation.every.layout.corpus.columns.text=body",
        r"layout\.corpus\.columns\.text=body: .*toy \(corpus, corpus\) has no such column; it has title, _id, text$",
    ),
    "no such file": (
        "+evaluation.every.layout.queries.file=nope.json",
        r"layout\.queries: .*toy \(queries, nope\.json, queries\): ",
    ),
    "out of reach": (
        "evaluation.path=no-such/collection",
        r"layout\.corpus: no-such/collection \(corpus, corpus\): .*; give a hub id that can be reached, or a folder",
    ),
    "no path at all": (
        "evaluation.path=/nowhere/at all",
        r"\.path=/nowhere/at all: no such folder",
    ),
    "no layout": ("evaluation.every.layout=null", r"layout: none; it says where .*toy keeps"),
    "no judgments": ("evaluation.every.layout.qrels=null", r"layout: exactly one place for judgments"),
    "two places of judgments": (
        "+evaluation.every.layout.queries.columns.relevant=text",
        r"layout: exactly one place for judgments",
    ),
    "an unknown type": (
        "evaluation.splits.test.type=trec",
        r"type=trec: must be one of installed_docs, beir, hub",
    ),
    "an unknown role": (
        "+evaluation.splits.test.role=train",
        r"role=train: must be one of test, dev, or null",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_there_is_named_with_what_is(case: str, tmp_path: Path) -> None:
    override, message = BAD[case]
    write_mteb(tmp_path / "toy", MADE)
    with pytest.raises(InputError, match=r"^evaluation\.splits\.test.*" + message) as caught:
        load(
            "evaluation=beir",
            "layout@evaluation.every.layout=mteb",
            f"evaluation.path={tmp_path / 'toy'}",
            "evaluation.splits.test.type=hub",
            "evaluation.splits.dev=null",
            override,
        )
    assert "\n" not in str(caught.value)


def test_ids_must_be_unique_and_judgments_belong_to_them(tmp_path: Path) -> None:
    rows = [{"_id": key, "text": "x", "title": ""} for key in ("d1", "d2", "d1")]
    queries = [{"_id": "q1", "text": "x"}]
    judged = [{"query-id": "q1", "corpus-id": "d1", "score": 1}]

    def write(name: str, corpus: Any, asked: Any, judgments: Any = judged) -> list[str]:
        write_tables(
            tmp_path / name,
            {"corpus": {"corpus": corpus}, "queries": {"queries": asked}, "default": {"test": judgments}},
        )
        return [
            "evaluation=beir",
            "layout@evaluation.every.layout=mteb",
            f"evaluation.path={tmp_path / name}",
        ]

    for name, options, message in (
        (
            "documents",
            write("documents", rows, queries),
            r"\(corpus, corpus\): document ids occur twice: 1 \(d1\)",
        ),
        (
            "queries",
            write("queries", rows[:2], queries * 2),
            r"\(queries, queries\): query ids occur twice: 1 \(q1\)",
        ),
        (
            "grades",
            write("grades", rows[:2], queries, [*judged, judged[0] | {"score": 2}]),
            r"query q1 and document d1 are judged 2 here and 1 before; keep one",
        ),
        (
            "half",
            write("half", rows[:2], queries, [judged[0] | {"score": 0.5}]),
            r"must be a whole number, not 0\.5",
        ),
        (
            "stray",
            write("stray", rows[:2], queries, [*judged, judged[0] | {"query-id": "q9"}]),
            r"judges queries that are not in .*: 1 \(q9\)",
        ),
    ):
        with pytest.raises(InputError, match=r"^evaluation\.splits\.test: .*" + message):
            load(*options)
        assert name


def test_a_relevant_document_may_not_be_excluded(tmp_path: Path) -> None:
    write_bright(tmp_path / "BRIGHT", {"biology": MADE}, {"q0": ["002"]})
    with pytest.raises(
        InputError, match=r"^evaluation\.splits\.biology: .*relevant and excluded.*: 1 \(q0/002\)"
    ):
        load("evaluation=bright", f"evaluation.path={tmp_path / 'BRIGHT'}", *only("biology"))


def test_an_empty_file_is_an_empty_corpus(tmp_path: Path) -> None:
    write_az_mirage(tmp_path / "dataset", MADE)
    (tmp_path / "dataset" / "doc_pool.json").write_text("")
    with pytest.raises(InputError, match=r"doc_pool\.json.*the corpus is empty"):
        load("evaluation=az_mirage", f"evaluation.path={tmp_path / 'dataset'}")
    (tmp_path / "dataset" / "doc_pool.json").write_text(json.dumps([{"doc_chunk": "x"}]))
    with pytest.raises(InputError, match=r"columns\.query=mapped_id: .*it has doc_chunk"):
        load("evaluation=az_mirage", f"evaluation.path={tmp_path / 'dataset'}")
