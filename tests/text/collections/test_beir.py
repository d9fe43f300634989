import gzip
import hashlib
import json
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text.collections.beir import (
    beir_splits,
    is_held_out,
    load_beir,
    load_beir_corpus,
    load_beir_queries,
    load_beir_splits,
)

SHARED = Path(__file__).parents[3] / "shared" / "data"
CORPUS = [
    {"_id": "d1", "title": "Title", "text": " first text "},
    {"_id": "d2", "title": "", "text": "second"},
    {"_id": 3, "text": "third"},
]
QUERIES = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}, {"_id": "q3", "text": "never judged"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\t3\t1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    (root / "qrels").mkdir(parents=True)
    (root / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CORPUS))
    (root / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUERIES))
    (root / "qrels" / "test.tsv").write_text(QRELS)
    return root


def add(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


def test_a_folder_is_read(folder: Path) -> None:
    split = load_beir(folder, "test")
    assert (split.dataset, split.name) == ("toy", "test")
    assert list(split.corpus.ids) == ["d1", "d2", "3"]
    assert list(split.corpus.texts) == ["Title first text", "second", "third"]
    assert split.queries == {"q1": "one", "q2": "two"}
    assert split.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"3": 1}}
    assert load_beir_corpus(folder).fingerprint == split.corpus.fingerprint
    assert list(load_beir_queries(folder)) == ["q1", "q2", "q3"]


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "null", "inf"])
def test_a_first_row_without_a_grade_is_no_header(folder: Path, missing: str) -> None:
    (folder / "qrels" / "test.tsv").write_text(f"q1\td1\t{missing}\nq2\td2\t1\n")
    with pytest.raises(
        InputError, match=rf"test\.tsv line 1: the score must be a whole number, not '{missing}'"
    ):
        load_beir(folder, "test")


def test_a_headerless_file_keeps_its_first_row(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td2\t1\n")
    assert load_beir(folder, "test").qrels == {"q1": {"d1": 1}, "q2": {"d2": 1}}


def test_splits_share_one_corpus(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td2\t1\n")
    assert beir_splits(folder) == ["dev", "test"]
    splits = load_beir_splits(folder, ["dev", "test"])
    assert splits["dev"].corpus is splits["test"].corpus
    assert [len(splits[name].queries) for name in ("dev", "test")] == [1, 2]


def test_held_out_rule_is_the_documented_hash() -> None:
    ids = [str(number) for number in range(5000)]
    held = [query for query in ids if is_held_out(query)]
    digest = hashlib.sha256(f"held-out:{held[0]}".encode()).hexdigest()
    assert int(digest[:16], 16) / 16**16 < 0.1
    assert 420 < len(held) < 580


def test_heldout_split_takes_the_held_out_training_queries(folder: Path) -> None:
    ids = [f"t{number}" for number in range(60)]
    add(folder / "queries.jsonl", "".join(json.dumps({"_id": i, "text": f"text {i}"}) + "\n" for i in ids))
    (folder / "qrels" / "train.tsv").write_text("a\tb\tscore\n" + "".join(f"{i}\td1\t1\n" for i in ids))
    split = load_beir(folder, "heldout")
    assert split.name == "heldout"
    assert list(split.queries) == [i for i in ids if is_held_out(i)]
    (folder / "qrels" / "train.tsv").write_text("".join(f"{i}\td1\t1\n" for i in ids if not is_held_out(i)))
    with pytest.raises(InputError, match=r"train\.tsv: none of its \d+ queries is held out"):
        load_beir(folder, "heldout")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "qrels/test.tsv",
            "q2\td8\t1\nq2\td9\t1\n",
            r"test\.tsv: judges documents .*corpus\.jsonl: 2 \(d8, d9\)",
        ),
        ("qrels/test.tsv", "q9\td1\t1\n", r"test\.tsv: judges queries .*queries\.jsonl: 1 \(q9\)"),
        ("qrels/test.tsv", "q2 d1 1\n", r"test\.tsv line 5: 1 columns; 3 separated by tabs"),
        (
            "qrels/test.tsv",
            "q2\td1\tgood\n",
            r"test\.tsv line 5: the score must be a whole number, not 'good'",
        ),
        ("qrels/test.tsv", "\td1\t1\n", r"test\.tsv line 5: the line must hold ids .*, not ''"),
        ("qrels/test.tsv", "q1\td1\t1\n", r"line 5: query q1 and document d1 are judged 1 here and 2 before"),
        ("corpus.jsonl", '{"_id": "d2", "text": "x"}', r"corpus\.jsonl: document ids occur twice: 1 \(d2\)"),
        ("corpus.jsonl", '{"_id": "d5"}', r'corpus\.jsonl line 4: "text" must be a string'),
        ("corpus.jsonl", '{"text": "x"}', r'corpus\.jsonl line 4: "_id" must hold ids'),
        ("corpus.jsonl", "{", r"corpus\.jsonl line 4: not valid JSON"),
        ("queries.jsonl", '{"_id": "q1", "text": "x"}', r"queries\.jsonl: query ids occur twice: 1 \(q1\)"),
    ],
)
def test_mistakes_are_named(folder: Path, file: str, text: str, message: str) -> None:
    add(folder / file, text)
    with pytest.raises(InputError, match=message) as caught:
        load_beir(folder, "test")
    assert "\n" not in str(caught.value)


def test_the_same_judgment_twice_is_harmless(folder: Path) -> None:
    add(folder / "qrels" / "test.tsv", "q1\td1\t2\n")
    assert load_beir(folder, "test").qrels["q1"] == {"d1": 2, "d2": 0}


def test_unknown_documents_can_be_tolerated(folder: Path) -> None:
    add(folder / "qrels" / "test.tsv", "q1\td8\t1\nq3\td9\t1\n")
    split = load_beir_splits(folder, ["test"], tolerate_unknown_documents=True)["test"]
    assert split.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"3": 1}}
    assert split.details["unknown_documents"] == 2
    assert split.details["queries_without_document"] == 1


def test_missing_pieces_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"elsewhere: no such folder"):
        load_beir(tmp_path / "elsewhere", "test")
    with pytest.raises(InputError, match=r"qrels/dev\.tsv: no such file; splits in this folder: test"):
        load_beir(folder, "dev")
    with pytest.raises(InputError, match=r"train\.tsv: no such file \(the split heldout is made from it\)"):
        load_beir(folder, "heldout")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InputError, match=r"test\.tsv: no judgments"):
        load_beir(folder, "test")
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(InputError, match=r"corpus\.jsonl: the corpus is empty"):
        load_beir(folder, "test")
    (folder / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"queries\.jsonl: no such file"):
        load_beir_queries(folder)


def test_scifact() -> None:
    if not (SHARED / "scifact").is_dir():
        pytest.skip(f"the collection scifact is not at {SHARED}")
    splits = load_beir_splits(SHARED / "scifact", ["test", "train", "heldout"])
    test = splits["test"]
    assert [len(test.corpus), len(test.queries), sum(map(len, test.qrels.values()))] == [5183, 300, 339]
    assert len(splits["train"].queries) == 809
    assert set(splits["heldout"].queries) < set(splits["train"].queries)


def test_gzipped_files_are_the_same_collection(folder: Path) -> None:
    plain = load_beir(folder, "test").fingerprint
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        with pytest.raises(InputError, match=rf"{name}: \S+\.gz is there too; keep one of the two"):
            load_beir(folder, "test")
        (folder / name).unlink()
    assert beir_splits(folder) == ["test"]
    assert load_beir(folder, "test").fingerprint == plain


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q2\td1\t9223372036854775807", "the score must be between"),
        ("q2\td1\t2147483648", "the score must be between"),
        ("q2\td1\t1_0", "the score must be a whole number, not '1_0'"),
        ("q2\td\0\t1", r"the line must hold ids .*, not 'd\\x00'"),
    ],
)
def test_what_would_end_in_a_crash_of_trec_eval_is_named(folder: Path, row: str, message: str) -> None:
    add(folder / "qrels" / "test.tsv", f"{row}\n")
    with pytest.raises(InputError, match=rf"test\.tsv line 5: {message}"):
        load_beir(folder, "test")


def test_half_a_character_is_named(folder: Path) -> None:
    add(folder / "corpus.jsonl", r'{"_id": "d\ud83d", "text": "x"}')
    with pytest.raises(InputError, match=r"corpus\.jsonl line 4: \\ud83d is half of a character"):
        load_beir(folder, "test")
