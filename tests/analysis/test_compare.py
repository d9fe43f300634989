"""Runs against a reference, from folders with known numbers."""

import json
import re
import shutil
import socket
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from colbert_lab.analysis.compare import Comparison, compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables
from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.measured import Place
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.evaluation.significance import bootstrap_interval, holm, randomisation_p, smallest_detectable
from colbert_lab.records.means import mean_records
from colbert_lab.records.rankings import ranking_path, read_per_query, write_ranking
from colbert_lab.records.records import append_records, read_records, rewrite_records
from colbert_lab.records.run_files import add_protocol
from colbert_lab.tasks.compare import reference_of
from tests.records.run_folders import BASE, MEASURE, QUERIES, Gain, write_run

LR = "phases.distill.optimizer.lr"
NOISE = np.array([0.2, -0.1, 0.1, 0.0, 0.1, 0.0, 0.2, -0.1])  # mean 0.05
TEST = Place("made", "test", "exact", MEASURE)
DEV = Place("made", "dev", "exact", MEASURE)


def row(comparison: Comparison, label: str, place: Place = TEST) -> Compared:
    (found,) = [each for each in comparison.compared[place] if each.row.label == label]
    return found


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Path, Path]:
    """lr=0.1 with one seed; lr=0.2 with seeds 1 and 2, .06 better on test on average, .15 on every dev query."""
    a = write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1, "dev": 0.1}})
    gains: dict[str, Gain] = {"test": 0.1 + NOISE, "dev": 0.2}
    b = write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": gains})
    gains = {"test": 0.12 + NOISE, "dev": 0.3}
    return a, b, write_run(tmp_path, "bb", 2, {LR: "0.2"}, {"distill": gains})


def test_the_mean_of_splits_is_tested_too(tmp_path: Path) -> None:
    gains: dict[str, Gain] = {"test": NOISE, "dev": np.roll(NOISE, 1) + 0.05}
    runs = [
        write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.0, "dev": 0.0}}),
        write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": gains}),
    ]
    weights = {"test": 0.75, "dev": 0.25}
    for run in runs:
        (run / "splits.json").write_text(json.dumps({"mean": {"mean_of": weights}}))
        for phase in ("before", "distill"):
            student = [
                r for r in read_records(run / "results.jsonl") if (r.system, r.phase) == ("student", phase)
            ]
            append_records(run / "results.jsonl", mean_records({"mean": weights}, student))
    found = compare_runs(runs)
    other = row(found, "lr=0.2", Place("mean", "mean", "exact", MEASURE))
    differences = {split: np.asarray(gains[split]) for split in weights}
    expected = sum(weights[split] * values.mean() for split, values in differences.items())
    assert other.gap == pytest.approx(expected)
    assert other.difference is not None
    assert other.difference.mean == pytest.approx(expected)
    signs = np.array(list(product((1, -1), repeat=16)))
    parts = [weights[s] / 8 * signs[:, 8 * n : 8 * n + 8] @ differences[s] for n, s in enumerate(weights)]
    extreme = np.abs(np.sum(parts, axis=0)) >= expected - 1e-12
    assert other.p == pytest.approx(extreme.mean())
    assert other.p_holm == other.p  # the splits' own tests are another family
    variance = sum(w**2 * differences[s].var(ddof=1) / 8 for s, w in weights.items())
    assert other.detectable == pytest.approx(2.8016 * variance**0.5, rel=1e-4)
    own = [row(found, "lr=0.2", place) for place in (TEST, DEV)]
    assert [each.p_holm for each in own] == holm([each.p or 0.0 for each in own])


def test_seeds_are_averaged_for_each_query_before_pairing(study: tuple[Path, Path, Path]) -> None:
    found = compare_runs(study)
    assert found.reference == "lr=0.1"
    assert [each.row.label for each in found.compared[TEST]] == ["lr=0.1", "lr=0.2"]
    reference, other = found.compared[TEST]
    assert reference.reference
    assert (reference.difference, reference.p, reference.mark) == (None, None, "")
    assert reference.interval == bootstrap_interval(BASE + 0.1)
    assert other.row.values == pytest.approx((0.5, 0.52))
    assert other.row.value == pytest.approx(0.51)
    assert other.row.sd == pytest.approx(0.02 / 2**0.5)
    differences = (BASE + 0.1 + NOISE + BASE + 0.12 + NOISE) / 2 - (BASE + 0.1)
    assert other.gap == pytest.approx(differences.mean())
    assert other.difference is not None
    assert other.difference.low == pytest.approx(bootstrap_interval(differences).low)
    assert other.p == randomisation_p(differences)
    assert other.detectable == pytest.approx(smallest_detectable(differences))
    assert other.why == "seeds 1, 2, and the reference 1"


def test_one_query_is_no_test(tmp_path: Path) -> None:
    """Alone, or as a split of a mean: its spread is not known, and so not what could have been found."""
    mean = Place("mean", "mean", "exact", MEASURE)
    runs = [
        write_run(tmp_path, config, 1, {LR: factor}, {"distill": {"test": gain, "dev": gain}})
        for config, factor, gain in (("aa", "0.1", 0.0), ("bb", "0.2", NOISE))
    ]
    for run in runs:
        (run / "splits.json").write_text(json.dumps({"mean": {"mean_of": {"test": 0.5, "dev": 0.5}}}))
        path = ranking_path(run, "student", "distill", "dev")
        value = read_per_query(path).values[MEASURE][:1]
        write_ranking(path, Ranking(["q0"], [[]], [[]]), PerQuery(("q0",), {MEASURE: value}))
        records = [
            replace(r, n_queries=1, value=float(value[0])) if (r.split, r.phase) == ("dev", "distill") else r
            for r in read_records(run / "results.jsonl")
        ]
        student = [r for r in records if (r.system, r.phase) == ("student", "distill")]
        rewrite_records(
            run / "results.jsonl", [*records, *mean_records({"mean": {"test": 0.5, "dev": 0.5}}, student)]
        )
    found = compare_runs(runs)
    alone = row(found, "lr=0.2", DEV)
    assert alone.gap == pytest.approx(NOISE[0])
    assert (alone.p, alone.p_holm, alone.detectable, alone.mark) == (None, None, None, "")
    both = row(found, "lr=0.2", mean)
    assert both.p is not None
    assert both.detectable is None
    assert row(found, "lr=0.2").detectable is not None
    assert "'nan'" not in str(comparison_tables(found))
    assert ",nan," not in comparison_csv(found)


def test_p_is_corrected_over_the_splits(study: tuple[Path, Path, Path]) -> None:
    """Every one of 8 dev queries is better: p is 2 / 256; times 2 for two splits. The other p stays."""
    found = compare_runs(study)
    test, dev = row(found, "lr=0.2"), row(found, "lr=0.2", DEV)
    assert dev.p == 2 / 256
    assert dev.p_holm == pytest.approx(2 * 2 / 256)
    assert dev.mark == "higher"
    assert test.p is not None
    assert test.p > 2 / 256
    assert test.p_holm == pytest.approx(max(test.p, 4 / 256))
    alone = compare_runs(study, splits=["dev"])
    assert list(alone.compared) == [DEV]
    assert row(alone, "lr=0.2", DEV).p_holm == 2 / 256


def test_a_difference_is_lower_unclear_or_the_same(tmp_path: Path) -> None:
    gains: dict[str, Gain] = {"1": 0.3, "2": 0.1, "3": 0.3 + NOISE - 0.05, "4": 0.3}
    runs = [
        write_run(tmp_path, f"{n}a", 1, {"n": n}, {"distill": {"test": gain}}) for n, gain in gains.items()
    ]
    found = compare_runs(runs)
    assert [each.mark for each in found.compared[TEST]] == ["", "lower", "unclear", "same"]
    assert row(found, "n=4").p == 1.0


def test_the_baseline_may_be_another_run(study: tuple[Path, Path, Path]) -> None:
    a, b, _ = study
    found = compare_runs(study, baseline=b)
    assert found.reference == "lr=0.2"
    assert row(found, "lr=0.1").gap == pytest.approx(-0.06)
    assert compare_runs([b], baseline=a).reference == "lr=0.1"
    again = write_run(
        a.parent.parent, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1, "dev": 0.1}}, repeat="-r2"
    )
    assert compare_runs([b, again], baseline=a).reference == "lr=0.1"
    with pytest.raises(InputError, match=r"compare.baseline: .* holds 2 configurations"):
        compare_runs([a], baseline=a.parent)


def test_other_text_is_refused_and_what_differs_is_named(
    study: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    other = write_run(tmp_path, "cc", 1, {LR: "0.3"}, {"distill": {"test": 0.9, "dev": 0.2}})
    records = [
        replace(r, split_fingerprint="newer") if r.split == "test" else r
        for r in read_records(other / "results.jsonl")
    ]
    rewrite_records(other / "results.jsonl", records)
    with pytest.raises(
        InputError,
        match=r"^runs: test: other text of lr=0.3 and lr=0.1: documents, queries or judgments "
        r"\(split fingerprints newer and text\); compare the others with compare.splits=\[dev\], or .* "
        r"compare.allow_different=true$",
    ):
        compare_runs([study[0], other])
    describe(study[0], "test", fingerprint="text", documents=3500, queries=8)
    describe(other, "test", fingerprint="newer", documents=1500, queries=8)
    with pytest.raises(InputError, match=r"lr=0.1: documents \(1,500 and 3,500\); "):  # older runs
        compare_runs([study[0], other])
    parts = {"documents": "a", "queries": "b", "judgments": "c"}
    describe(study[0], "test", fingerprint="text", documents=9, queries=8, parts=parts)
    describe(
        other,
        "test",
        fingerprint="newer",
        documents=9,
        queries=8,
        parts={**parts, "judgments": "d", "excluded": "e"},
    )
    with pytest.raises(InputError, match=r"lr=0.1: judgments, excluded; "):
        compare_runs([study[0], other])
    assert compare_runs([study[0], other], splits=["dev"]).compared


def test_other_text_is_shown_untested_on_request(study: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = write_run(tmp_path, "cc", 1, {LR: "0.3"}, {"distill": {"test": 0.9}}, fingerprint="newer")
    found = row(compare_runs([study[0], other], allow_different=True), "lr=0.3")
    assert found.row.value == pytest.approx(1.25)
    assert (found.gap, found.difference, found.p, found.p_holm, found.mark) == (None, None, None, None, "")
    assert "not compared" in found.why
    assert "newer and text" in found.why


def describe(run: Path, split: str, **values: object) -> None:
    file = run / "splits.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, split: values}))


PROTOCOL = {"depth": 100, "mode": "exact", "query_length": 32, "query_prompt": "a: ", "document_length": 300}


def with_protocol(tmp_path: Path, config: str, factor: str, protocol: dict[str, object]) -> Path:
    """A run whose student and BM25 were measured in this way."""
    path = write_run(tmp_path, config, 1, {LR: factor}, {"distill": {"test": float(factor)}})
    records = [
        replace(r, protocol_hash=add_protocol(path, protocol if r.system == "student" else of_bm25(protocol)))
        for r in read_records(path / "results.jsonl")
    ]
    rewrite_records(path / "results.jsonl", records)
    return path


def of_bm25(protocol: dict[str, object]) -> dict[str, object]:
    kept = {
        key: value
        for key, value in protocol.items()
        if key in ("depth", "mode", "excluded", "candidates", "own_measure")
    }
    return {**kept, "scorer": "BM25"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": 1000}, r"depth \(1000 and 100\)"),
        (
            {"excluded": {"documents": 3, "fingerprint": "x"}},
            r"excluded.documents \(3 and none\), excluded.fing",
        ),
        ({"candidates": {"documents": 3}}, r"candidates.documents \(3 and none\)"),
        (
            {"split_protocol": {"query_length": 48}, "query_length": 48},
            r"split_protocol.query_length \(48 and none\)",
        ),
    ],
)
def test_other_rules_of_a_split_are_refused(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    one = with_protocol(tmp_path, "aa", "0.1", PROTOCOL)
    other = with_protocol(tmp_path, "bb", "0.2", {**PROTOCOL, **changes})
    with pytest.raises(
        InputError,
        match=rf"^runs: test: other rules of lr=0.2 and lr=0.1: {said}.*; no split is alike, or show",
    ):
        compare_runs([one, other])
    found = row(compare_runs([one, other], allow_different=True), "lr=0.2")
    assert (found.gap, found.p) == (None, None)
    assert found.why.startswith("not compared: other rules than the reference: ")


RBP = {"_target_": "my_rbp.RankBiased", "code": "c0de", "persistence": 0.5}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"persistence": 0.8}, r"persistence \(0.8 and 0.5\)"), ({"code": "other"}, r"code \(")],
)
def test_a_measure_of_other_settings_or_code_is_another_measure(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    one = with_protocol(tmp_path, "aa", "0.1", {**PROTOCOL, "own_measure": RBP})
    other = with_protocol(tmp_path, "bb", "0.2", {**PROTOCOL, "own_measure": {**RBP, **changes}})
    said = f"own_measure.{said}"
    with pytest.raises(InputError, match=rf"^runs: test: other rules of lr=0.2 and lr=0.1: {said}"):
        compare_runs([one, other])
    found = compare_runs([one, other], systems=["bm25"], allow_different=True)
    gaps = {each.row.label: each.gap for each in found.compared[TEST]}
    assert gaps == {"lr=0.1": None, "lr=0.2": None, "bm25": pytest.approx(0.45), "bm25, lr=0.2": None}
    for label in ("lr=0.2", "bm25, lr=0.2"):
        assert row(found, label).p is None
        assert re.match(rf"not compared: other rules than the reference: {said}", row(found, label).why)


def test_what_belongs_to_the_student_is_compared_and_said(tmp_path: Path) -> None:
    one = with_protocol(tmp_path, "aa", "0.1", PROTOCOL)
    other = with_protocol(tmp_path, "bb", "0.2", {**PROTOCOL, "query_length": 64, "query_prompt": ""})
    found = row(compare_runs([one, other], systems=["student", "bm25"]), "lr=0.2")
    assert found.gap == pytest.approx(0.1)
    assert found.p is not None
    assert found.why == (
        "measured with other settings than the reference: query_length (64 and 32), query_prompt ('' and 'a: ')"
    )


def test_other_systems_share_the_rules_of_the_split(tmp_path: Path) -> None:
    one = with_protocol(tmp_path, "aa", "0.1", {**PROTOCOL, "split_protocol": {"query_length": 48}})
    found = compare_runs([one], systems=["student", "bm25"])
    assert row(found, "bm25").gap is not None
    records = [
        replace(r, protocol_hash=add_protocol(one, {"depth": 10})) if r.system == "bm25" else r
        for r in read_records(one / "results.jsonl")
    ]
    rewrite_records(one / "results.jsonl", records)
    with pytest.raises(InputError, match=r"test: other rules of bm25 and study: depth \(10 and 100\)"):
        compare_runs([one], systems=["student", "bm25"])


def test_older_runs_do_not_say_which_protocol(study: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = write_run(tmp_path, "cc", 1, {LR: "0.3"}, {"distill": {"test": 0.2}}, protocol="longer")
    found = row(compare_runs([study[0], other]), "lr=0.3")
    assert found.gap == pytest.approx(0.1)
    assert "another protocol" in found.why
    assert "older runs do not say what differs" in found.why


def test_a_mean_of_splits_is_refused_by_its_splits(tmp_path: Path) -> None:
    paths = [
        with_protocol(tmp_path, config, factor, {**PROTOCOL, "depth": depth})
        for config, factor, depth in (("aa", "0.1", 100), ("bb", "0.2", 50))
    ]
    for path in paths:
        describe(path, "mean", mean_of={"test": 1.0})
        student = [r for r in read_records(path / "results.jsonl") if r.phase == "distill"]
        append_records(path / "results.jsonl", mean_records({"mean": {"test": 1.0}}, student))
    with pytest.raises(
        InputError, match=r"runs: mean: other rules of lr=0.2 and lr=0.1: test.depth \(50 and 100\)"
    ):
        compare_runs(paths, splits=["mean"])


def test_unfinished_runs_are_refused_by_name_and_left_out_of_folders(
    study: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    (study[1] / "status.json").write_text(json.dumps({"status": "failed"}))
    dead = {"status": "running", "pid": 2**22 + 1, "host": socket.gethostname()}
    (study[2] / "status.json").write_text(json.dumps(dead))
    with pytest.raises(InputError, match=r"^runs: .* has no finished run \(bb00000000-s1: failed\)"):
        compare_runs([study[0], study[1]])
    with pytest.raises(InputError, match=r"has no finished run \(bb00000000-s2: killed\)"):
        compare_runs([study[0], study[2]])
    assert compare_runs([tmp_path / "study"]).left_out == (
        "bb00000000-s1 is left out: it is not finished (its status is failed).",
        "bb00000000-s2 is left out: it is not finished (its status is killed).",
    )


def test_search_modes_stay_apart(study: tuple[Path, Path, Path]) -> None:
    for path in study[:2]:
        records = read_records(path / "results.jsonl")
        plaid = [{**r.to_dict(), "mode": "plaid", "storage": "int8"} for r in records if r.phase == "distill"]
        rewrite_records(path / "results.jsonl", [*records, *(type(records[0]).from_dict(d) for d in plaid)])
        for split in ("test", "dev"):
            exact = ranking_path(path, "student", "distill", split)
            shutil.copy(exact, ranking_path(path, "student", "distill", split, "plaid.int8"))
    found = compare_runs(study[:2])
    plaid_test = Place("made", "test", "plaid.int8", MEASURE)
    assert {place.mode for place in found.compared} == {"exact", "plaid.int8"}
    assert row(found, "lr=0.2", plaid_test).p_holm == row(found, "lr=0.2").p_holm


def test_the_baseline_may_be_named_by_its_factor_values(study: tuple[Path, Path, Path]) -> None:
    assert compare_runs(study).reference == "lr=0.1"
    for wanted in ({"lr": "0.2"}, {LR: "0.2"}, {"lr": "2e-1"}):
        assert compare_runs(study, baseline=wanted).reference == "lr=0.2"
    with pytest.raises(
        InputError, match=r"^compare\.baseline \{'lr': '0\.3'\}: none fit; .* lr=0\.1; lr=0\.2$"
    ):
        compare_runs(study, baseline={"lr": "0.3"})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr=0.1", {"lr": "0.1"}),
        ("lr=0.1, dim=64", {"lr": "0.1", "dim": "64"}),
        ("a/b", Path("a/b")),
        ("x=", Path("x=")),
    ],
)
def test_factor_values_are_told_from_folders(given: str, meant: object) -> None:
    assert reference_of(given) == meant


def test_other_systems_are_rows_and_a_shared_baseline_is_one(study: tuple[Path, Path, Path]) -> None:
    found = compare_runs(study, systems=["before", "bm25", "distill"])
    labels = [each.row.label for each in found.compared[TEST]]
    assert labels == ["lr=0.1", "lr=0.2", "lr=0.1, before", "lr=0.2, before", "bm25"]
    bm25 = row(found, "bm25")
    assert bm25.gap == pytest.approx(0.9 - 0.45)
    assert bm25.p is None
    assert bm25.why == "not tested: no values for the same queries"
    assert any("ranking file" in note for note in bm25.row.notes)
    assert row(found, "lr=0.1, before").gap == pytest.approx(-0.1)


def test_the_first_system_is_the_reference(study: tuple[Path, Path, Path]) -> None:
    found = compare_runs(study, systems=["before", "student"])
    assert found.reference == "lr=0.1, before"
    assert row(found, "lr=0.1").difference is not None
    assert row(found, "lr=0.1").gap == pytest.approx(0.1)


def test_queries_are_paired_by_id(study: tuple[Path, Path, Path]) -> None:
    path = ranking_path(study[1], "student", "distill", "dev")
    order = np.array([3, 1, 0, 2, 7, 6, 5, 4])
    queries = tuple(QUERIES[n] for n in order)
    empty = Ranking([*queries], [[] for _ in queries], [[] for _ in queries])
    before = row(compare_runs(study[:2]), "lr=0.2", DEV)
    write_ranking(path, empty, PerQuery(queries, {MEASURE: (BASE + 0.2)[order]}))
    after = row(compare_runs(study[:2]), "lr=0.2", DEV)
    assert after.p == before.p == 2 / 256
    assert after.gap == pytest.approx(0.1)
    renamed = tuple(f"other-{query}" for query in queries)
    write_ranking(path, Ranking([], [], []), PerQuery(renamed, {MEASURE: (BASE + 0.2)[order]}))
    assert row(compare_runs(study[:2]), "lr=0.2", DEV).why == "not tested: no values for the same queries"


def test_a_split_that_the_reference_lacks_is_shown(tmp_path: Path) -> None:
    a = write_run(tmp_path, "aa", 1, {LR: "0.1"}, {"distill": {"test": 0.1}})
    b = write_run(tmp_path, "bb", 1, {LR: "0.2"}, {"distill": {"test": 0.2, "dev": 0.2}})
    found = row(compare_runs([a, b]), "lr=0.2", DEV)
    assert found.why == "not compared: the reference was not measured there"
    assert found.p_holm is None


def test_one_run_alone_is_shown(study: tuple[Path, Path, Path]) -> None:
    found = compare_runs(study[:1])
    assert [len(rows) for rows in found.compared.values()] == [1, 1]
    assert found.reference == "study"


def test_bad_input(study: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^runs: nothing to compare"):
        compare_runs([])
    with pytest.raises(InputError, match=r"^runs: .*nowhere is no run"):
        compare_runs([study[0], tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"^compare.baseline: .*nowhere is no run"):
        compare_runs(study, baseline=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"^compare.measures: no run measured ndgc@10; there are ndcg@10$"):
        compare_runs(study, measures=["ndgc@10"])
    with pytest.raises(InputError, match=r"^compare.splits: no run measured tset; there are test, dev$"):
        compare_runs(study, splits=["tset"])
    with pytest.raises(
        InputError, match=r"^compare.systems: .* colbert; there are student, before, distill, bm25$"
    ):
        compare_runs(study, systems=["colbert"])
    other = write_run(tmp_path, "cc", 1, {LR: "0.3"}, {"distill": {"heldout": 0.2}})
    with pytest.raises(
        InputError, match=r"no split and measure in common; lr=0.1: made/test \(exact\), made/dev"
    ):
        compare_runs([study[0], other])


def test_a_value_that_is_no_number_is_refused(study: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = write_run(tmp_path, "cc", 1, {LR: "0.3"}, {"distill": {"test": float("nan")}}, rankings=False)
    with pytest.raises(InputError, match=r"cc00000000-s1/results.jsonl: ndcg@10 of lr=0.3 on test"):
        compare_runs([study[0], other])
