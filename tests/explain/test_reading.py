from __future__ import annotations

import pytest

from colbert_lab.explain.reading import ReadText, read
from tests.explain.support import KINDS, tokenizer_of

TURKIC = "İstanbul şəhəri, ığdır Öküz çağı ĞÜŞ"


def labels(found: ReadText) -> list[str]:
    return [token.label for token in found.tokens]


def of_text(found: ReadText) -> list[str]:
    return [found.text[t.start : t.end].strip() for t in found.tokens if t.start is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["a red fish swims", TURKIC, "fish 😀 👩‍🔬 é swims", "  two\n\nlines\t ", "中文 text", "x" * 9]
)
def test_tokens_are_the_text_again(kind: str, text: str) -> None:
    tokenizer = tokenizer_of(kind)
    found, tokens = read(tokenizer, text, "document")
    assert len(found.tokens) == tokens.input_ids_NL.shape[1]
    pieces = found.pieces()
    assert "".join(piece.text for piece in pieces) == text
    assert not "".join(piece.text for piece in pieces if not piece.tokens).strip()  # nothing is left over
    assert [n for piece in pieces for n in piece.tokens] == [
        n for n, token in enumerate(found.tokens) if token.start != token.end
    ]
    assert not any(mark in label for label in labels(found) for mark in ("Ġ", "##", "▁", "Ċ", "Ã", "<0x"))
    assert len(set(labels(found))) == len(found.tokens)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_in_pieces_says_so(kind: str) -> None:
    found, _ = read(tokenizer_of(kind), "fishriver red, fish.", "document")
    shown = [label for label in labels(found) if label[0] != "["]
    whole = "".join(label.partition(" #")[0] for label in shown)
    assert shown[0].partition(" #")[0].endswith("…")
    assert shown[1].startswith("…")
    assert whole.replace("…", "").startswith("fishriver")
    assert shown[-1] == "."  # punctuation goes on from no word
    assert shown[-2] in ("fish #2", "fish", "…h")
    assert not shown[-2].endswith("…")


@pytest.mark.parametrize("kind", ["byte_bpe", "sentencepiece"])
def test_tokens_of_one_character_are_told_apart(kind: str) -> None:
    found, _ = read(tokenizer_of(kind), "red 😀", "document")
    parts = [label for label in labels(found) if "😀" in label]
    assert parts == [f"😀 ({n}/{len(parts)})" for n in range(1, len(parts) + 1)]
    assert len(parts) > 1
    (piece,) = [piece for piece in found.pieces() if piece.text == "😀"]
    assert len(piece.tokens) == len(parts)


def test_a_character_without_shape_has_a_name() -> None:
    found, _ = read(tokenizer_of("byte_bpe"), "red\u200d  \n", "document")
    assert [label for label in labels(found) if "U+200D" in label] == [f"U+200D ({n}/3)" for n in (1, 2, 3)]
    assert [label[0] for label in labels(found)[-4:]] == ["␣", "␣", "↵", "["]


def test_what_the_vocabulary_lacks_is_unknown_and_shown_as_written() -> None:
    found, _ = read(tokenizer_of("wordpiece"), "red 😀", "document")
    assert [(t.label, t.about) for t in found.tokens] == [
        ("[CLS]", "special"),
        ("red", ""),
        ("😀", "unknown"),
        ("[SEP]", "special"),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_marker_expansion_and_skipped_tokens_are_named(kind: str) -> None:
    tokenizer = tokenizer_of(
        kind, query_marker="[Q]", query_prompt="red: ", document_prompt="the: ", expansion="attended"
    )
    query, tokens = read(tokenizer, "fish", "query")
    kinds = [token.kind for token in query.tokens]
    assert kinds[:2] == ["special", "marker"]
    assert kinds.count("prompt") in (3, tokenizer.prompt_tokens("query"))  # its last space may go to the text
    assert kinds[-1] == "expansion"
    assert len(kinds) == 16 == tokens.input_ids_NL.shape[1]
    assert query.tokens[-1].label.startswith("[MASK] #")
    assert of_text(query)[0].startswith("f")
    assert all(token.scores for token in query.tokens)
    document, _ = read(tokenizer, "fish, red", "document")
    assert [(t.label, t.about) for t in document.tokens if not t.scores] == [
        (":", "prompt, skipped"),
        (",", "skipped"),
    ]
    assert document.scoring == [n for n, t in enumerate(document.tokens) if t.scores]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", "the "])
def test_what_is_cut_is_counted_and_kept_apart(kind: str, prompt: str) -> None:
    text = "the red fish swims in the river the red fish swims in the river"
    long = tokenizer_of(kind, document_prompt=prompt, document_length=64)
    short = tokenizer_of(kind, document_prompt=prompt, document_length=9)
    whole, part = read(long, text, "document")[0], read(short, text, "document")[0]
    assert whole.cut == 0
    assert part.cut == len(of_text(whole)) - len(of_text(part)) > 0
    assert part.length == len(part.tokens) == 9
    *_, last = part.pieces()
    assert last.cut
    assert text.endswith(last.text)
    assert not any(piece.cut for piece in whole.pieces())


def test_tokens_that_are_called_the_same_are_numbered() -> None:
    found, _ = read(tokenizer_of("wordpiece"), "fish red fish", "document")
    assert labels(found) == ["[CLS]", "fish #1", "red", "fish #2", "[SEP]"]


@pytest.mark.parametrize("kind", KINDS)
def test_stripped_and_lower_cased_text_is_shown_as_it_is_read(kind: str) -> None:
    tokenizer = tokenizer_of(kind).with_rules(strip=True, lowercase=True, document_prompt="  Search: ")
    found, _ = read(tokenizer, " A Red FISH  ", "document")
    assert found.text.strip() == "a red fish"
    assert [token.kind for token in found.tokens if token.kind == "prompt"]
    assert "".join(of_text(found)).replace(" ", "") == "aredfish"
    assert "".join(piece.text for piece in found.pieces()) == found.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_marker_among_the_tokens_of_the_text(kind: str) -> None:
    """PyLate puts it after the first token, which can be one of the text."""
    rules = {"document_marker": "[D]"}
    plain, _ = read(tokenizer_of(kind, **rules), "red fish swims", "document")
    found, _ = read(tokenizer_of(kind, **rules, marker_after=2), "red fish swims", "document")
    assert [token.kind for token in plain.tokens[:3]] == ["special", "marker", "text"]
    assert [token.kind for token in found.tokens[:3]] == ["special", "text", "marker"]
    assert of_text(found) == of_text(plain)
    assert sorted(labels(found)) == sorted(labels(plain))
