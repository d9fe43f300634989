import pytest

from colbert_lab.text.collection import build_corpus, build_split
from colbert_lab.text.contamination import normalise, overlapping_queries


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
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_overlap_is_found_by_text_and_not_by_id() -> None:
    corpus = build_corpus(["d"], ["text"])
    split = build_split("x", "test", corpus, {"1": "Why is the sky blue?"}, {"1": {"d": 1}}, {})
    training = [("1", "another"), ("7", "why  is the sky BLUE"), ("8", "why is the sea blue")]
    training += [("7", "Why is the sky blue"), ("1", "Who?")]
    other = build_split("x", "dev", corpus, {"7": "who"}, {"7": {"d": 1}}, {})
    found = overlapping_queries(training, {"test": split, "dev": other, "copy": split})
    assert found == {"test": ["7"], "dev": ["1"], "copy": ["7"]}
