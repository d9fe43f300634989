"""What a student makes of one text: its tokens as readable pieces, and what each of them is there for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from colbert_lab.base.types import Role, Tokens
from colbert_lab.model.tokenizer import StudentTokenizer

if TYPE_CHECKING:
    from transformers import BatchEncoding

Kind = Literal["text", "unknown", "prompt", "marker", "special", "expansion"]
WHITESPACE = {" ": "␣", "\n": "↵", "\t": "⇥"}


@dataclass(frozen=True)
class Token:
    """A token of a text, for people.

    Attributes:
        label: what to call it: the characters it stands for, or the name of a token that stands for none. ``…`` says
            that the word goes on beyond it, ``(1/3)`` that several tokens share a character, ``#2`` that it is the
            second token of this text that would be called so.
        kind: what it is there for; ``unknown`` is a token of the text that the vocabulary lacks.
        scores: whether it takes part in MaxSim; a token of the skiplist does not.
        start: its first character in the text; None for a token that is not of the text.
        end: the character after its last one.
    """

    label: str
    kind: Kind
    scores: bool
    start: int | None = None
    end: int | None = None

    @property
    def about(self) -> str:
        """What to say beside its label; nothing for an ordinary token."""
        return ", ".join([self.kind] * (self.kind != "text") + ["skipped"] * (not self.scores))


@dataclass(frozen=True)
class Piece:
    """A piece of a text.

    Attributes:
        text: its characters.
        tokens: positions of the tokens that stand for them; none for what is between tokens.
        cut: whether the student's length leaves it out.
    """

    text: str
    tokens: tuple[int, ...] = ()
    cut: bool = False


@dataclass(frozen=True)
class ReadText:
    """A text as a student reads it.

    Attributes:
        role: query or document.
        text: as the tokenizer was given it, without prompt.
        tokens: all tokens, in order.
        length: the most tokens that the student gives a text in this role.
        cut: tokens of the text that are left out, as it is longer.
        cut_side: what to say of them, where they are not the last ones.
    """

    role: Role
    text: str
    tokens: tuple[Token, ...]
    length: int
    cut: int
    cut_side: str = ""

    @property
    def scoring(self) -> list[int]:
        """Positions of the tokens that take part in MaxSim."""
        return [position for position, token in enumerate(self.tokens) if token.scores]

    def pieces(self) -> list[Piece]:
        """The whole text in pieces, in order; tokens that share characters have one piece together."""
        ranges = {n: (t.start, t.end) for n, t in enumerate(self.tokens) if t.start is not None}
        spans = [(n, start, end) for n, (start, end) in ranges.items() if end is not None and end > start]
        pieces: list[Piece] = []
        done = 0
        for group in _sharing(spans):
            positions = tuple(n for n, _, _ in group)
            start, end = max(done, group[0][1]), max(end for _, _, end in group)
            whole = self.text[start:end]
            if not whole.isspace():
                start += len(whole) - len(whole.lstrip())
            pieces.append(self._between(done, start))
            pieces.append(Piece(self.text[start:end], positions))
            done = end
        pieces.append(self._between(done, len(self.text)))
        return [piece for piece in pieces if piece.text]

    def _between(self, start: int, end: int) -> Piece:
        text = self.text[start:end]
        return Piece(text, cut=self.cut > 0 and not text.isspace())


def read(tokenizer: StudentTokenizer, text: str, role: Role) -> tuple[ReadText, Tokens]:
    """Tokenize a text as its student does, and say what each token is.

    Args:
        tokenizer: the student's; its prompt, marker, length, expansion and skiplist are applied.
        text: the text, without prompt.
        role: query or document.

    Returns:
        The tokens for people, and for the model [1, L].

    Raises:
        InputError: the text leaves no scoring token.
    """
    (row,) = tokenizer.ids([text], role)
    tokens = tokenizer.pad([row], role)
    rules = tokenizer.rules
    prompt, marker = (getattr(rules, f"{role}_{what}") for what in ("prompt", "marker"))
    inner = tokenizer.tokenizer
    whole = tokenizer.given(prompt + text)
    # The prompt as it stands there, without a last space that was removed because no text came after it.
    prompt = whole[: len(tokenizer.given(f"{prompt}.")) - 1] if prompt else ""
    text = whole[len(prompt) :]
    given = inner(
        whole, add_special_tokens=False, truncation=False, return_offsets_mapping=True, verbose=False
    )
    # Without the marker, what is kept of the text is one run of its tokens; the rest of the row was put around it.
    at = len(row) if marker is None else tokenizer.markers_after
    around = row[:at] + row[at + 1 :]
    run = SequenceMatcher(None, around, given["input_ids"], autojunk=False).find_longest_match()
    scores = tokens.score_mask_NL[0].tolist()
    names: list[str] = inner.convert_ids_to_tokens(tokens.input_ids_NL[0].tolist())
    found: list[Token] = []
    for position, name in enumerate(names):
        place = position - (position > at)
        if position >= len(row):
            found.append(Token(name, "expansion", scores[position]))
        elif position == at:
            found.append(Token(name, "marker", scores[position]))
        elif run.a <= place < run.a + run.size:
            start, end = given["offset_mapping"][place - run.a + run.b]
            if prompt and end <= len(prompt):
                label = prompt[start:end].strip() or name
                found.append(Token(label, "prompt", scores[position]))
            else:
                unknown = row[position] == inner.unk_token_id
                span = max(start - len(prompt), 0), end - len(prompt)
                found.append(Token(name, "unknown" if unknown else "text", scores[position], *span))
        else:
            found.append(Token(name, "special", scores[position]))
    of_text = [n for n, token in enumerate(found) if token.start is not None]
    same_word = {place + (place >= at) for place in _word_goes_on(given, run.b - run.a)}
    labels = _labels(text, found, of_text, same_word)
    found = [replace(token, label=labels.get(n, token.label)) for n, token in enumerate(found)]
    uncut = sum(not prompt or end > len(prompt) for _, end in given["offset_mapping"])
    left_out = uncut - len(of_text)
    numbered, length = tuple(_numbered(found)), tokenizer.length(role)
    return ReadText(role, text, numbered, length, left_out, tokenizer.cut_side), tokens


def _word_goes_on(given: BatchEncoding, shift: int) -> set[int]:
    """Positions, without the marker, of tokens that are of the same word as the one before."""
    words = given.word_ids(0)
    return {n - shift for n in range(1, len(words)) if words[n] is not None and words[n] == words[n - 1]}


def _labels(
    text: str, tokens: Sequence[Token], of_text: Sequence[int], same_word: set[int]
) -> dict[int, str]:
    """The label of each token of the text."""
    spans = [(n, tokens[n].start or 0, tokens[n].end or 0) for n in of_text]
    groups = _sharing(spans)
    bounds = [(min(start for _, start, _ in g), max(end for _, _, end in g)) for g in groups]
    joined = [False] * (len(groups) + 1)
    for number, ((_, before), (after, end)) in enumerate(pairwise(bounds), 1):
        inside = groups[number][0][0] in same_word and before == after < end and before > 0
        joined[number] = inside and _of_word(text[before - 1]) and _of_word(text[after])
    labels = {}
    for number, (group, (start, end)) in enumerate(zip(groups, bounds, strict=True)):
        piece = text[start:end]
        shown = " ".join(piece.split()) if any(map(_has_shape, piece)) else "".join(map(_name, piece))
        shown = ("…" if joined[number] else "") + shown + ("…" if joined[number + 1] else "")
        for place, (n, _, _) in enumerate(group, 1):
            part = f" ({place}/{len(group)})" if len(group) > 1 else ""
            labels[n] = shown + part if piece else tokens[n].label
    return labels


def _sharing(spans: Sequence[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    """Spans (number, start, end) in groups, where one that begins before the one before has ended is of its group."""
    groups: list[list[tuple[int, int, int]]] = []
    reached = 0
    for span in spans:
        if groups and span[1] < reached and span[2] > span[1]:
            groups[-1].append(span)
        else:
            groups.append([span])
        reached = max(reached, span[2])
    return groups


def _of_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _has_shape(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"


def _name(character: str) -> str:
    """What to show for a character that nobody would see."""
    return WHITESPACE.get(character, f"U+{ord(character):04X}")


def _numbered(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with labels that differ."""
    often, seen = Counter(token.label for token in tokens), Counter[str]()
    numbered = []
    for token in tokens:
        seen[token.label] += 1
        number = f" #{seen[token.label]}" if often[token.label] > 1 else ""
        numbered.append(replace(token, label=token.label + number))
    return numbered
