"""What of a text a student does not read: words that its tokenizer does not know, and what its lengths cut off.

transformers builds a tokenizer of special tokens alone for a folder whose tokenizer files are missing. WordPiece then
reads every word as the unknown token, byte-level BPE reads no token at all, and neither says so.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role
from colbert_lab.model.tokenizer import StudentTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


log = logging.getLogger(__name__)
REFUSED, WARNED = 0.9, 0.1  # shares of words that are unknown
FEWEST = 20  # words; fewer, such as those of one query, are too few to blame the tokenizer and are warned of
SAMPLE, LONGEST = 500, 1000  # texts that are looked at, and characters of each
WORD = re.compile(r"\w+")


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """Whether a tokenizer has any token of text, before there is a text to read.

    Args:
        tokenizer: as it was loaded.
        where: config key and folder, to name in errors.

    Raises:
        InputError: it has special tokens alone, or it cannot read at all.
    """
    beside = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    if not any(any(map(str.isalnum, token)) for token in tokenizer.get_vocab() if token not in beside):
        raise InputError(
            f"{where}: its tokenizer knows no word, only {len(tokenizer)} special tokens: {TOKENIZER_ADVICE}"
        )
    try:
        tokenizer("a")
    except Exception as error:  # tokenizers raises its own kinds
        raise InputError(
            f"{where}: its tokenizer cannot read a text ({str(error).splitlines()[0]}): {TOKENIZER_ADVICE}"
        ) from error


TOKENIZER_ADVICE = (
    "its files (tokenizer.json; or vocab.txt; or vocab.json with merges.txt; or a SentencePiece model) are missing or "
    "damaged; put those that belong to the weights beside them"
)


def unknown_words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> tuple[int, int]:
    """Count the words of texts that a tokenizer does not know.

    A word is a run of letters and digits. It is unknown where it gives no token, or where at least half of its tokens
    are the unknown token. Every occurrence counts.

    Args:
        tokenizer: with or without an unknown token.
        texts: as the tokenizer is given them; a sample of them is read, and the beginning of each.

    Returns:
        How many words are unknown, and how many there are.
    """
    counts = Counter(word for text in sampled(texts) for word in WORD.findall(text[:LONGEST]))
    if not counts:
        return 0, 0
    rows = tokenizer(list(counts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    missed = sum(
        n for n, row in zip(counts.values(), rows, strict=True) if 2 * row.count(unknown) >= len(row)
    )
    return missed, counts.total()


def sampled(texts: Sequence[str]) -> Sequence[str]:
    """At most :data:`SAMPLE` of the texts, evenly spaced."""
    return [texts[n] for n in range(0, len(texts), -(-len(texts) // SAMPLE) or 1)]


def check_student_knows(tokenizer: StudentTokenizer, texts: Sequence[str], where: str, what: str) -> float:
    """:func:`check_known` for a student, which may lower-case and strip a text before its tokenizer reads it."""
    given = [tokenizer.given(text) for text in sampled(texts)]
    return check_known(tokenizer.tokenizer, given, where, what)


def check_known(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], where: str, what: str) -> float:
    """Refuse texts whose words a tokenizer (almost) does not know, as every number from them would be noise.

    Args:
        tokenizer: see :func:`unknown_words`.
        texts: see there.
        where: config key, to name in errors.
        what: what the texts are, for messages; ``query texts``.

    Returns:
        The share of unknown words.

    Raises:
        InputError: more than :data:`REFUSED` of at least :data:`FEWEST` words are unknown.
    """
    missed, words = unknown_words(tokenizer, texts)
    share = missed / max(words, 1)
    told = f"{where}: the tokenizer of {tokenizer.name_or_path} does not know {share:.1%} of the words of the {what}"
    if share > REFUSED and words >= FEWEST:
        raise InputError(f"{told}: it is of another language or model, or {TOKENIZER_ADVICE}")
    if share > WARNED:
        log.warning("%s", told)
    return share


@dataclass(frozen=True)
class Truncation:
    """Share of texts that lose tokens.

    Attributes:
        texts: how many were looked at.
        cut: share that is cut, as the student reads them.
        cut_without_prompt: share that would be cut if there were no prompt, at the same length without it.
    """

    texts: int
    cut: float
    cut_without_prompt: float


def truncation(tokenizer: StudentTokenizer, texts: Sequence[str], role: Role) -> Truncation:
    """Count the texts that are longer than their role's length.

    Args:
        tokenizer: the student's.
        texts: texts without prompt.
        role: query or document.
    """
    counts = token_counts(tokenizer, texts)
    n = max(len(counts), 1)
    cut = int((counts > tokenizer.room(role)).sum())
    return Truncation(len(counts), cut / n, int((counts > room_without_prompt(tokenizer, role)).sum()) / n)


def token_counts(tokenizer: StudentTokenizer, texts: Sequence[str]) -> np.ndarray:
    """Tokens of each text alone, without special tokens, marker and prompt, and without a cut: int64 [N]."""
    if not texts:
        return np.zeros(0, dtype=np.int64)
    raw = tokenizer.tokenizer(
        list(texts),
        add_special_tokens=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    return np.fromiter(map(len, raw), dtype=np.int64, count=len(raw))


def room_without_prompt(tokenizer: StudentTokenizer, role: Role) -> int:
    """Tokens that would be left for the text if there were no prompt."""
    # With extend_length the prompt's tokens were added to the length, so a text without prompt has the same room.
    room = tokenizer.room(role)
    return room if tokenizer.rules.extend_length else room + tokenizer.prompt_tokens(role)
