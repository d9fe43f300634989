"""How much of the text a student's lengths cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colbert_lab.tokens.tokenizer import StudentTokenizer
from colbert_lab.types import Role


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
