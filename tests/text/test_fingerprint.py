"""Copies of a text in another form."""

import hashlib

import numpy as np
import pytest

from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.fingerprint import (
    drop_twins,
    fingerprint,
    fingerprint_arrays,
    normalised,
    overlapping_queries,
    shingle_hashes,
)


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


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red  fish\n", "red fish"),
        ("ﬁsh", "FISH"),  # a ligature
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("red\u00a0fish", "red fish"),  # a no-break space
        ("ＲＥＤ", "red"),  # full width
    ],
)
def test_forms_of_one_text(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("redfish", "red fish"), ("cafe", "café"), ("red, fish", "red fish")]
)
def test_other_texts(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  What IS\n this ? ", "what is this"),
        ("«Straße».", "strasse"),
        ("(a) and c++", "a) and c++"),
        ("?!", "?!"),
        ("", ""),
    ],
)
def test_the_normal_form(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_overlap_is_found_by_text_and_not_by_id() -> None:
    corpus = build_corpus(["d"], ["text"])
    split = build_split("x", "test", corpus, {"1": "Why is the sky blue?"}, {"1": {"d": 1}}, {})
    training = [("1", "another"), ("7", "why  is the sky BLUE"), ("8", "why is the sea blue")]
    training += [("7", "Why is the sky blue"), ("1", "Who?")]
    other = build_split("x", "dev", corpus, {"7": "who"}, {"7": {"d": 1}}, {})
    found = overlapping_queries(training, {"test": split, "dev": other, "copy": split})
    assert found == {"test": ["7"], "dev": ["1"], "copy": ["7"]}


def test_another_form_of_a_text_is_the_same_query() -> None:
    corpus = build_corpus(["d"], ["text"])
    split = build_split("x", "test", corpus, {"1": "café red fish?"}, {"1": {"d": 1}}, {})
    training = [("a", "cafe\u0301 ＲＥＤ\u00a0ﬁsh"), ("b", "cafe red fish")]
    assert overlapping_queries(training, {"test": split}) == {"test": ["a"]}


WORDS = [f"w{number}" for number in range(60)]
BASE = " ".join(WORDS[:30])


def test_a_run_is_eight_words() -> None:
    assert [len(h) for h in shingle_hashes([BASE, " ".join(WORDS[:8]), "two words", "", "..."])] == [
        23,
        1,
        1,
        0,
        0,
    ]


def test_case_punctuation_and_repetition_do_not_count() -> None:
    same = shingle_hashes(
        ["One, two three four five six seven EIGHT.", "one two three (four) five six seven eight"]
    )
    assert same[0].tolist() == same[1].tolist()
    assert len(shingle_hashes(["a " * 50])[0]) == 1


def test_order_of_words_counts() -> None:
    one, other = shingle_hashes(["a b c d e f g h", "b a c d e f g h"])
    assert not np.intersect1d(one, other).size


def keep(*groups: list[str]) -> list[list[bool]]:
    hashes = shingle_hashes([text for group in groups for text in group])
    starts = np.cumsum([0, *map(len, groups)])
    return drop_twins([hashes[starts[i] : starts[i + 1]] for i in range(len(groups))])


def test_more_than_half_of_the_runs_makes_a_twin() -> None:
    half = " ".join(WORDS[:18] + [f"x{n}" for n in range(11)])  # 11 of 22 runs are shared
    more = " ".join(WORDS[:19] + [f"x{n}" for n in range(10)])  # 12 of 22
    assert keep([BASE], [half, more]) == [[True], [True, False]]


def test_a_short_document_inside_a_long_one_is_a_twin_either_way() -> None:
    short, long = " ".join(WORDS[:12]), " ".join(WORDS)
    assert keep([short], [long]) == [[True], [False]]
    assert keep([long], [short]) == [[True], [False]]


def test_pieces_of_several_documents_make_a_twin() -> None:
    pieces = [
        " ".join([*WORDS[start : start + 14], *(f"p{start}x{n}" for n in range(30))]) for start in (0, 14, 28)
    ]
    assert keep(pieces, [" ".join(WORDS[:42])])[1] == [False]


def test_groups_keep_the_first_and_the_last_group_is_not_compared_with_itself() -> None:
    other = " ".join(WORDS[30:])
    assert keep([BASE, BASE], [other, BASE], [other]) == [[True, False], [True, False], [False]]
    assert keep([BASE], [other, other]) == [[True], [True, True]]
