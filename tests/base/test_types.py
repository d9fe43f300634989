"""What the common types show of themselves."""

from __future__ import annotations

from colbert_lab.base.types import Corpus, Ranking, Split


def test_texts_are_not_shown() -> None:
    corpus = Corpus(["d"] * 12_000, ["long text"] * 12_000, "f00")
    split = Split("scifact", "test", corpus, {"q": "asked"}, {"q": {"d": 1}}, "b44")
    assert repr(corpus) == "Corpus(12,000 documents, f00)"
    assert repr(split) == "Split(scifact, test: 1 queries over 12,000 documents, b44)"
    assert repr(Ranking(["q"], [["d"]], [[1.0]])) == "Ranking(of 1 queries)"
