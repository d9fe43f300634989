"""Whole evaluations of small copies of the benchmarks, from the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from colbert_lab.records.rankings import ranking_path, read_per_query, read_ranking
from colbert_lab.records.records import Record, read_records
from colbert_lab.tasks.composing import CONF
from tests.command import Outcome, command, the_run
from tests.hub_copies import Collection, write_bright, write_nano
from tests.tiny import sentences
from tests.toy import student_overrides


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of its own, and torch's threads as they were."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-cache")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def collection(seed: int, documents: int, queries: int) -> Collection:
    """Queries are cut from the documents that are relevant to them."""
    texts = sentences(documents, seed=seed, low=8, high=18)
    judged = [(f"q{n}", f"d{n}", 1) for n in range(queries)]
    cut = {f"q{n}": " ".join(texts[n].split()[n % 3 :: 2]) for n in range(queries)}
    return Collection({f"d{n}": text for n, text in enumerate(texts)}, cut, {"test": judged})


def evaluated(tiny_bert: Path, outputs: Path, group: str, kept: list[str], *overrides: str) -> Outcome:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        keys = list(
            compose("config", overrides=[f"evaluation={group}", "evaluation.path=x"]).evaluation.splits
        )
    return command(
        "task=evaluate",
        "name=toy",
        *student_overrides(tiny_bert),
        f"evaluation={group}",
        *(f"~evaluation.splits.{key}" for key in keys if key not in kept),
        *overrides,
        "tracking=off",
        "progress=false",
        f"output_dir={outputs}",
        f"cache_dir={outputs / 'cache'}",
    )


def by_split(records: list[Record], system: str, measure: str) -> dict[str, Record]:
    return {r.split: r for r in records if (r.system, r.measure) == (system, measure)}


def test_two_sets_of_nano_beir_and_their_mean(tiny_bert: Path, tmp_path: Path) -> None:
    names = ["NanoArguAna", "NanoSciFact"]
    for seed, name in enumerate(names):
        write_nano(tmp_path / "copies" / name, collection(seed, 20 + 10 * seed, 4 + 2 * seed))
    done = evaluated(tiny_bert, tmp_path, "nano_beir", names, f"evaluation.path={tmp_path / 'copies'}")
    assert done.status == 0, done.err
    run = the_run(tmp_path, "toy")
    records = read_records(run / "results.jsonl")
    measures = {record.measure for record in records}
    assert len(measures) == 15
    for system in ("student", "bm25"):
        for measure in measures:
            found = by_split(records, system, measure)
            assert list(found) == [*names, "NanoBEIR"]
            assert found["NanoBEIR"].value == pytest.approx(sum(found[name].value for name in names) / 2)
            assert found["NanoBEIR"].n_queries == 4 + 6
            assert found["NanoBEIR"].dataset == "NanoBEIR"
    assert "NanoBEIR: mean of 2 splits, 10 queries" in done.out
    table = (run / "table.md").read_text(encoding="utf-8")
    mean = by_split(records, "student", "ndcg@10")["NanoBEIR"]
    assert f"| {mean.value:.4f} [" in table
    assert "its interval resamples queries within each split" in table
    per_query = read_per_query(ranking_path(run, "student", "evaluate", "NanoSciFact"))
    assert per_query.mean("accuracy@1") == pytest.approx(per_query.mean("recall@1"))
    assert "evaluation.depth=100: rankings hold all documents of NanoArguAna, NanoSciFact" in done.err
    described = json.loads((run / "splits.json").read_text(encoding="utf-8"))
    assert described["NanoBEIR"]["mean_of"] == {"NanoArguAna": 0.5, "NanoSciFact": 0.5}


def test_a_mean_without_all_its_splits_is_not_taken(tiny_bert: Path, tmp_path: Path) -> None:
    write_nano(tmp_path / "copies" / "NanoNQ", collection(0, 20, 4))
    path = f"evaluation.path={tmp_path / 'copies'}"
    lacking = "evaluation.splits.NanoFEVER=null"
    done = evaluated(tiny_bert, tmp_path, "nano_beir", ["NanoNQ", "NanoFEVER"], path, lacking)
    assert done.status == 0, done.err
    assert "evaluation.means.NanoBEIR: not taken, as NanoFEVER is not measured" in done.err
    assert {record.split for record in read_records(the_run(tmp_path, "toy") / "results.jsonl")} == {"NanoNQ"}


def test_bright_with_exclusions_and_prompts(tiny_bert: Path, tmp_path: Path) -> None:
    domains = {"aops": collection(0, 20, 4), "pony": collection(1, 20, 4)}
    excluded = {"q0": ["d5", "d6", "d7"], "q1": ["N/A"]}
    write_bright(tmp_path / "BRIGHT", domains, excluded)
    overrides = [
        f"evaluation.path={tmp_path / 'BRIGHT'}",
        "evaluation.means.BRIGHT=[aops,pony]",
        "evaluation.every.protocol.query_length=40",
        "evaluation.depth=100",
    ]
    refused = evaluated(tiny_bert, tmp_path, "bright", list(domains), *overrides)
    assert refused.status == 2
    assert (
        "evaluation.splits.pony.protocol.document_length: 2048 tokens are beyond the 64 positions"
        in refused.err
    )
    done = evaluated(
        tiny_bert,
        tmp_path,
        "bright",
        list(domains),
        *overrides,
        "evaluation.every.protocol.document_length=24",
    )
    assert done.status == 0, done.err
    assert "aops: query prompt 'Given a Math post," in done.err
    run = the_run(tmp_path, "toy")
    for system in ("student", "bm25"):
        ranking, _ = read_ranking(ranking_path(run, system, "evaluate", "aops"))
        lists = dict(zip(ranking.query_ids, ranking.document_ids, strict=True))
        everything = set(domains["aops"].documents)
        # BM25 ranks only what shares a word with the query.
        allowed = everything - {"d5", "d6", "d7"}
        assert set(lists["q0"]) <= allowed
        assert system == "bm25" or (set(lists["q0"]), set(lists["q1"])) == (allowed, everything)
    records = read_records(run / "results.jsonl")
    found = by_split(records, "student", "ndcg@10")
    assert found["BRIGHT"].value == pytest.approx((found["aops"].value + found["pony"].value) / 2)
    assert found["aops"].protocol_hash != found["pony"].protocol_hash
    assert found["aops"].dataset == "AoPS"
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert "Given a {domain} post" in config
    protocol = json.loads((run / "splits.json").read_text(encoding="utf-8"))["pony"]["protocol"]
    assert (protocol["query_length"], protocol["domain"]) == (32, "Pony")


def test_candidate_lists_of_two_sources_and_their_average(tiny_bert: Path, tmp_path: Path) -> None:
    texts = list(dict.fromkeys(sentences(60, seed=5, low=8, high=18)))
    rows = [
        {
            "query": " ".join(texts[n].split()[::2]),
            "positive": texts[n],
            "negatives": [texts[(n + 9 * k) % len(texts)] for k in range(1, 6)],
            "source": "books" if n % 3 else "laws",
        }
        for n in range(12)
    ]
    file = tmp_path / "held_out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = evaluated(tiny_bert, tmp_path, "candidates", ["held_out"], f"evaluation.path={file}")
    assert done.status == 0, done.err
    run = the_run(tmp_path, "toy")
    records = read_records(run / "results.jsonl")
    assert {record.measure for record in records} == {"ndcg@10", "recall@1", "recall@3", "mrr@100"}
    for system in ("student", "bm25"):
        found = by_split(records, system, "mrr@100")
        assert {key: r.n_queries for key, r in found.items()} == {
            "held_out.books": 8,
            "held_out.laws": 4,
            "macro average": 12,
        }
        expected = (found["held_out.books"].value + found["held_out.laws"].value) / 2
        assert found["macro average"].value == pytest.approx(expected)
        ranking, per_query = read_ranking(ranking_path(run, system, "evaluate", "held_out.laws"))
        lengths = {len(names) for names in ranking.document_ids}
        assert lengths == {6} if system == "student" else max(lengths) <= 6
        assert min(per_query.values["mrr@100"]) >= 1 / 6
        assert not math.isnan(found["macro average"].value)
