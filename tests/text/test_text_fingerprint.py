import hashlib

import numpy as np

from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.text.fingerprint import fingerprint, fingerprint_arrays


def test_fingerprint_is_the_documented_hash() -> None:
    assert fingerprint(["ab", "ü"]) == hashlib.sha256(b"2:ab2:\xc3\xbc;").hexdigest()[:16]


def test_content_order_and_boundaries_count() -> None:
    parts: list[tuple[list[str], ...]] = [
        (["ab", "c"],),
        (["a", "bc"],),
        (["c", "ab"],),
        (["ab"], ["c"]),
        (["ab", "c", ""],),
        (["ab", "c"], []),
    ]
    assert len({fingerprint(*part) for part in parts}) == len(parts)


def test_one_string_is_a_sequence_of_one() -> None:
    assert fingerprint("abc") == fingerprint(["abc"]) != fingerprint(["a", "b", "c"])


def test_generators_and_lone_surrogates_are_hashed() -> None:
    assert fingerprint(text for text in ["a", "\ud800"]) == fingerprint(["a", "\ud800"])


def test_arrays_differ_by_type_length_and_content() -> None:
    one = np.array([1, 2, 3], dtype=np.int64)
    others: list[list[np.ndarray]] = [[one.astype(np.float32)], [one[:2], one[2:]], [one[::-1]], [one]]
    assert len({fingerprint_arrays(other) for other in others}) == 4


def test_split_fingerprint_covers_queries_judgments_and_corpus_but_not_their_order() -> None:
    corpus = build_corpus(["a", "b"], ["x", "y"])
    queries, qrels = {"1": "p", "2": "q"}, {"1": {"a": 1}, "2": {"a": 0, "b": 2}}
    base = build_split("d", "test", corpus, queries, qrels, {}).fingerprint
    turned = {"2": {"b": 2, "a": 0}, "1": {"a": 1}}
    assert build_split("d", "test", corpus, {"2": "q", "1": "p"}, turned, {}).fingerprint == base
    other = build_corpus(["b", "a"], ["y", "x"])
    changed = [
        build_split("d", "test", other, queries, qrels, {}),
        build_split("d", "test", corpus, queries | {"1": "P"}, qrels, {}),
        build_split("d", "test", corpus, queries, qrels | {"1": {"a": 2}}, {}),
    ]
    assert base not in {split.fingerprint for split in changed}
