"""How much of the text a student's lengths cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    raw = tokenizer.tokenizer(list(texts), add_special_tokens=False, truncation=False)["input_ids"]
    room = tokenizer.room(role)
    prompt = tokenizer.prompt_tokens(role)
    # With extend_length the prompt's tokens were added to the length, so a text without prompt has the same room.
    free = room if tokenizer.rules.extend_length else room + prompt
    longer = [len(ids) > room for ids in raw]
    longer_without = [len(ids) > free for ids in raw]
    n = max(len(raw), 1)
    return Truncation(len(raw), sum(longer) / n, sum(longer_without) / n)
