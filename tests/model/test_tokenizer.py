from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError, NoScoringTokenError
from colbert_lab.model.backbone import load_tokenizer
from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules

RULES: dict[str, Any] = {
    "query_length": 8,
    "document_length": 10,
    "query_marker": "[unused0]",
    "document_marker": "[unused1]",
    "query_prompt": "",
    "document_prompt": "",
    "extend_length": False,
    "expansion": "none",
    "skiplist": "punctuation",
}


def make(tiny_bert: Path, **changes: Any) -> StudentTokenizer:
    return StudentTokenizer(load_tokenizer(str(tiny_bert)), TokenRules(**(RULES | changes)))


def words(tokenizer: StudentTokenizer, row: list[int]) -> list[str]:
    return [str(token) for token in tokenizer.tokenizer.convert_ids_to_tokens(row)]


def test_marker_follows_cls_and_role_decides_it(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert)
    assert words(tokenizer, tokenizer.ids(["red fish"], "query")[0]) == [
        "[CLS]",
        "[unused0]",
        "red",
        "fish",
        "[SEP]",
    ]
    assert words(tokenizer, tokenizer.ids(["red fish"], "document")[0])[1] == "[unused1]"


def test_no_marker(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, query_marker=None, document_marker=None)
    assert words(tokenizer, tokenizer.ids(["red"], "query")[0]) == ["[CLS]", "red", "[SEP]"]


def test_unknown_marker_is_added(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, query_marker="[Q] ", document_marker="[D] ")
    row = tokenizer.ids(["red"], "query")[0]
    assert words(tokenizer, row) == ["[CLS]", "[Q] ", "red", "[SEP]"]
    assert row[1] != tokenizer.tokenizer.unk_token_id


def test_length_counts_everything(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert)
    rows = tokenizer.ids(["red " * 50], "query") + tokenizer.ids(["red " * 50], "document")
    assert [len(row) for row in rows] == [8, 10]
    assert words(tokenizer, rows[0])[-1] == "[SEP]"


def test_prompt_costs_text_unless_the_length_is_extended(tiny_bert: Path) -> None:
    short = make(tiny_bert, query_prompt="search_query: ")
    extended = make(tiny_bert, query_prompt="search_query: ", extend_length=True)
    n_prompt = short.prompt_tokens("query")
    assert n_prompt > 1
    assert short.length("query") == 8
    assert extended.length("query") == 8 + n_prompt
    plain = words(make(tiny_bert), make(tiny_bert).ids(["red green blue stone river fish"], "query")[0])
    with_prompt = words(extended, extended.ids(["red green blue stone river fish"], "query")[0])
    assert with_prompt[2 + n_prompt :] == plain[2:]


def test_unattended_and_attended_expansion(tiny_bert: Path) -> None:
    for expansion, attended in (("unattended", 5), ("attended", 8)):
        tokenizer = make(tiny_bert, expansion=expansion)
        tokens = tokenizer(["red fish"], "query")
        assert tokens.input_ids_NL.shape == (1, 8)
        assert words(tokenizer, tokens.input_ids_NL[0].tolist())[5:] == ["[MASK]"] * 3
        assert int(tokens.attention_mask_NL.sum()) == attended
        assert bool(tokens.score_mask_NL.all())


def test_expansion_does_not_touch_documents(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, expansion="attended")
    assert tokenizer(["red fish"], "document").input_ids_NL.shape == (1, 5)


@pytest.mark.parametrize("expansion", ["attended", "unattended"])
def test_expansion_to_a_minimum_leaves_longer_queries(tiny_bert: Path, expansion: str) -> None:
    """A query below the minimum is filled up to it, one above is padded and not expanded, one above the length cut."""
    tokenizer = make(tiny_bert, expansion=expansion, expansion_min=6)
    texts = ["red", "red green blue stone", "red " * 50]
    tokens = tokenizer(texts, "query")
    assert [words(tokenizer, row)[4:] for row in tokens.input_ids_NL.tolist()] == [
        ["[MASK]", "[MASK]", "[PAD]", "[PAD]"],
        ["blue", "stone", "[SEP]", "[PAD]"],
        ["red", "red", "red", "[SEP]"],
    ]
    assert tokens.score_mask_NL.sum(dim=1).tolist() == [6, 7, 8]
    real = [6, 7, 8] if expansion == "attended" else [4, 7, 8]
    assert tokens.attention_mask_NL.sum(dim=1).tolist() == real
    assert tokenizer(["red"], "query").input_ids_NL.shape == (1, 6)
    assert tokenizer(["red"], "document").input_ids_NL.shape == (1, 4)
    assert (tokenizer.floor("query"), tokenizer.floor("document")) == (6, 0)


def test_a_minimum_of_the_whole_length_is_expansion_without_one(tiny_bert: Path) -> None:
    for changes in ({}, {"query_prompt": "search_query: ", "extend_length": True}):
        whole = make(tiny_bert, expansion="unattended", **changes)
        least = make(tiny_bert, expansion="unattended", expansion_min=8, **changes)
        for one, other in zip(
            vars(whole(["red", "red " * 9], "query")).values(),
            vars(least(["red", "red " * 9], "query")).values(),
            strict=True,
        ):
            assert one.tolist() == other.tolist()
        assert whole.floor("query") == least.floor("query") == whole.length("query")


def test_first_tokens_that_do_not_score(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, unscored=1, query_marker=None, document_marker=None)
    assert tokenizer(["red", "red fish"], "query").score_mask_NL.tolist() == [
        [False, True, True, False],
        [False, True, True, True],
    ]
    assert tokenizer(["red , fish"], "document").score_mask_NL.tolist() == [[False, True, False, True, True]]
    assert "unscored" not in make(tiny_bert).rules.to_dict()
    assert tokenizer.rules.to_dict()["unscored"] == 1


def test_skiplist_masks_document_punctuation_only(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert)
    document = tokenizer(["red, fish."], "document")
    assert document.score_mask_NL[0].tolist() == [True, True, True, False, True, False, True]
    assert document.attention_mask_NL[0].tolist() == [1] * 7
    assert bool(tokenizer(["red, fish."], "query").score_mask_NL.all())


def test_unknown_skiplist_word_does_not_skip_unknown_tokens(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, skiplist=["zebra"])
    assert bool(tokenizer(["unheard words"], "document").score_mask_NL.all())


def test_document_without_scoring_token_is_named(tiny_bert: Path) -> None:
    tokenizer = make(tiny_bert, skiplist=["[CLS]", "[SEP]", "[unused1]", "."])
    with pytest.raises(NoScoringTokenError, match="row 1"):
        tokenizer(["red fish", "..."], "document")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_length": 3}, r"student\.query_length=3 leaves no room.*at least 4"),
        ({"document_prompt": "search_document: a an the of"}, r"student\.document_length=10 leaves no room"),
        ({"expansion": "some"}, r"student\.expansion=some"),
        ({"expansion_min": 6}, r"student\.expansion_min=6: .* null with student\.expansion=none"),
        ({"expansion": "attended", "expansion_min": 9}, r"student\.expansion_min=9: must be 1 to 8"),
        ({"skiplist": "verbs"}, r"student\.skiplist=verbs"),
    ],
)
def test_bad_rules(tiny_bert: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tiny_bert, **changes)


def test_expansion_needs_a_mask_token(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_bert))
    tokenizer.mask_token = None
    with pytest.raises(InputError, match="neither a mask nor an EOS token"):
        StudentTokenizer(tokenizer, TokenRules(**(RULES | {"expansion": "attended"})))
