"""How long texts are in tokens, and what a student's lengths cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np

from colbert_lab.audit.training_text import TrainingText, draw
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Role, Split
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.model.unread import check_student_knows, room_without_prompt, token_counts

BLOCK = 1000  # texts tokenised at once
BINS = 40
NO_LIMIT = 10**6  # Hugging Face's tokenizers say 10**30 where they have none
Counts = Mapping[Role, np.ndarray]
"""By role, the number of tokens of each text that was looked at."""


@dataclass(frozen=True)
class Lengths:
    """Token counts of texts (without special tokens, marker and prompt), and what is cut.

    Attributes:
        name: of the source or split.
        role: query or document.
        texts: how many were looked at.
        mean: tokens of a text, like the four that follow.
        median: see there.
        p90: see there.
        p99: see there.
        longest: see there.
        length: the configured length, everything counted.
        room: tokens of it that are left for text.
        prompt: tokens that the prompt takes.
        limit: most tokens that the backbone's tokenizer is made for, as far as it says so.
        cut: share of texts that lose tokens.
        cut_without_prompt: the same if there were no prompt, at the same length without it.
        lost: share of all text tokens that are cut off.
        edges: of the histogram's bins; the last bin holds everything longer too.
        counts: texts in each bin.
        cut_side: what to say of the cut, where it is not the end that goes.
    """

    name: str
    role: Role
    texts: int
    mean: float
    median: float
    p90: float
    p99: float
    longest: int
    length: int
    room: int
    prompt: int
    limit: int | None
    cut: float
    cut_without_prompt: float
    lost: float
    edges: list[int]
    counts: list[int]
    cut_side: str = ""


def lengths_of(name: str, counts: Counts, tokenizer: StudentTokenizer) -> list[Lengths]:
    """The length table of a source or split, queries first.

    Args:
        name: what tables call it.
        counts: tokens of its texts.
        tokenizer: the student's, with the lengths and prompts of the phase.
    """
    return [_lengths(name, role, counts[role], tokenizer) for role in get_args(Role) if len(counts[role])]


def count_training(text: TrainingText, tokenizer: StudentTokenizer, most: int | None, seed: int) -> Counts:
    """Count the tokens of a source's texts, each as often as it occurs.

    Args:
        text: the source.
        tokenizer: its lengths and prompts do not matter.
        most: rows whose queries are counted, and documents of those rows, drawn at random; None for all.
        seed: of the draw.
    """
    rows = draw(len(text), most, seed, 0)
    widths = text.widths() if rows is None else text.widths()[rows]
    documents = draw(int(widths.sum()), most, seed, 1)
    wanted = np.ones(int(widths.sum()), dtype=bool)
    if documents is not None:
        wanted[:] = False
        wanted[documents] = True
    counter = {role: _Counter(tokenizer, f"{role} texts of {text.name}") for role in get_args(Role)}
    place = 0
    bar = progress_bar(text.rows(rows), total=len(widths), desc=f"lengths of {text.name}", unit="row")
    for row in bar:
        counter["query"].add([row.query])
        counter["document"].add(
            document for k, (_, document) in enumerate(row.documents) if wanted[place + k]
        )
        place += len(row.documents)
    return {role: counter[role].result() for role in counter}


def count_split(split: Split, tokenizer: StudentTokenizer, most: int | None, seed: int) -> Counts:
    """Count the tokens of an evaluation split's queries and documents.

    Args:
        split: the split.
        tokenizer: see :func:`count_training`.
        most: texts of each role, drawn at random; None for all.
        seed: of the draw.
    """
    queries = list(split.queries.values())
    counter = {role: _Counter(tokenizer, f"{role} texts of {split.dataset}") for role in get_args(Role)}
    for number, (role, texts) in enumerate((("query", queries), ("document", split.corpus.texts))):
        chosen = draw(len(texts), most, seed, 2 + number)
        counter[role].add(texts[n] for n in (range(len(texts)) if chosen is None else chosen.tolist()))
    return {role: counter[role].result() for role in counter}


def pooled(counts: Iterable[Counts]) -> Counts:
    """The counts of several sources together."""
    every = list(counts)
    return {role: np.concatenate([each[role] for each in every]) for role in get_args(Role)}


class _Counter:
    """Tokenises in blocks, so that only one block of texts is in memory."""

    def __init__(self, tokenizer: StudentTokenizer, what: str) -> None:
        self.tokenizer = tokenizer
        self.what = what
        self.texts: list[str] = []
        self.done: list[np.ndarray] = []

    def add(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.texts.append(text)
            if len(self.texts) == BLOCK:
                self._flush()

    def result(self) -> np.ndarray:
        self._flush()
        return np.concatenate(self.done)

    def _flush(self) -> None:
        if self.texts:
            check_student_knows(self.tokenizer, self.texts, "student", self.what)
        self.done.append(token_counts(self.tokenizer, self.texts))
        self.texts = []


def _lengths(name: str, role: Role, counts: np.ndarray, tokenizer: StudentTokenizer) -> Lengths:
    room = tokenizer.room(role)
    median, p90, p99 = np.percentile(counts, [50, 90, 99])
    limit = int(tokenizer.tokenizer.model_max_length)
    width = -(-int(max(p99, 1.15 * room)) // BINS)
    edges = width * np.arange(BINS + 1)
    histogram, _ = np.histogram(np.minimum(counts, edges[-1] - 1), edges)
    end = max(int(np.flatnonzero(histogram)[-1]), room // width) + 1
    return Lengths(
        name,
        role,
        len(counts),
        float(counts.mean()),
        float(median),
        float(p90),
        float(p99),
        int(counts.max()),
        tokenizer.length(role),
        room,
        tokenizer.prompt_tokens(role),
        limit if limit < NO_LIMIT else None,
        float((counts > room).mean()),
        float((counts > room_without_prompt(tokenizer, role)).mean()),
        float(np.maximum(counts - room, 0).sum() / max(int(counts.sum()), 1)),
        edges[: end + 1].tolist(),
        histogram[:end].tolist(),
        tokenizer.cut_side,
    )
