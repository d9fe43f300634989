"""A ColBERT teacher: the score of a trained student of ours, MaxSim or the mean that its rules ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.base.types import Corpus, PackedEmbeddings, Role
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.maxsim import found_scores
from colbert_lab.model.student import Student, pick_device
from colbert_lab.model.unread import check_student_knows
from colbert_lab.search.exact import rerank, search, tie_ranks
from colbert_lab.search.store import TokenStore, in_memory
from colbert_lab.settings.allowed import one_of, whole
from colbert_lab.settings.groups import ACCELERATORS, PRECISIONS
from colbert_lab.text.contents import model_id


@dataclass(frozen=True)
class ColBERTTeacher:
    """A student folder; its own prompts, markers and lengths apply.

    Attributes:
        checkpoint: folder of a student, such as ``RUN/PHASE/student``.
        precision: ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens of a batch.
        trust_remote_code: run Python code that comes with its backbone, or that its folder names of its head; off
            unless asked for.
    """

    checkpoint: str
    precision: str = one_of(*PRECISIONS, default="32-true")
    accelerator: str = one_of(*ACCELERATORS, default="auto")
    token_budget: int = whole(1, default=8192)
    trust_remote_code: bool = field(default=False, repr=False)  # no score depends on it
    system: ClassVar[str] = "teacher"

    @property
    def name(self) -> str:
        """What a table calls it: the end of the folder's path."""
        return f"colbert ({'/'.join(Path(self.checkpoint).parts[-3:])})"

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Score N pairs; each different query and document is encoded once.

        Args:
            queries: their queries.
            documents: their documents, in the same order.

        Returns:
            float32 [N] on the CPU.

        Raises:
            InputError: the student cannot be loaded, or a text leaves no scoring token.
        """
        _check(self, documents)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(documents))}
        places: dict[str, list[int]] = {}
        for place, query in enumerate(queries):
            places.setdefault(query, []).append(place)
        wanted = [torch.tensor([row_of[documents[n]] for n in own]) for own in places.values()]
        packed = _encode(self, list(places), "query")
        maxsim, rows = rerank(
            packed,
            in_memory(_encode(self, list(row_of), "document")),
            [own.unique() for own in wanted],
            torch.arange(len(row_of)),
            len(row_of),
            device=pick_device(self.accelerator),
        )
        found = _scores(self, maxsim, packed)
        scores_N = torch.empty(len(queries))
        of_row = torch.empty(len(row_of))
        for own, asked, scores, ranked in zip(places.values(), wanted, found, rows, strict=True):
            of_row[ranked] = scores
            scores_N[torch.tensor(own)] = of_row[asked]
        return scores_N

    def index(self, corpus: Corpus) -> ColBERTIndex:
        """Encode a corpus, in memory.

        Raises:
            InputError: the student cannot be loaded, or a document leaves no scoring token.
        """
        _check(self, corpus.texts)
        packed = _encode(self, corpus.texts, "document", corpus.ids, self.name)
        return ColBERTIndex(self, in_memory(packed), tie_ranks(list(corpus.ids)))


@dataclass(frozen=True, eq=False)
class ColBERTIndex:
    """An encoded corpus.

    Attributes:
        scorer: the settings.
        store: token embeddings of the documents.
        ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
    """

    scorer: ColBERTTeacher
    store: TokenStore
    ties_C: Tensor

    def scores(self, queries: Sequence[str]) -> Tensor:
        """The student's score of all documents: float32 [B, C]."""
        packed = _encode(self.scorer, queries, "query")
        device = pick_device(self.scorer.accelerator)
        maxsim_BC, rows_BC = search(packed, self.store, self.ties_C, len(self.store), device=device)
        ranked_BC = torch.stack(_scores(self.scorer, list(maxsim_BC), packed))
        return torch.empty_like(ranked_BC).scatter_(1, rows_BC, ranked_BC)


def _scores(settings: ColBERTTeacher, maxsim: Sequence[Tensor], queries: PackedEmbeddings) -> list[Tensor]:
    """The student's scores of what was found by MaxSim, for each query."""
    rules = _load(settings, model_id(settings.checkpoint)).tokenizer.rules
    return found_scores(maxsim, queries.lengths_N, rules.score)


def _encode(
    settings: ColBERTTeacher,
    texts: Sequence[str],
    role: Role,
    ids: Sequence[str] | None = None,
    progress: str | None = None,
) -> PackedEmbeddings:
    return encode(
        _load(settings, model_id(settings.checkpoint)),
        texts,
        role,
        token_budget=settings.token_budget,
        precision=settings.precision,
        progress=progress,
        ids=ids,
    )


def _check(settings: ColBERTTeacher, documents: Sequence[str]) -> None:
    """Refuse documents whose words the student (almost) does not know."""
    check_student_knows(
        _load(settings, model_id(settings.checkpoint)).tokenizer, documents, "teacher.checkpoint", "documents"
    )


@lru_cache(maxsize=1)
def _load(settings: ColBERTTeacher, _: str | None) -> Student:
    """The student, loaded once a process and state of its files."""
    trusted = settings.trust_remote_code
    student = load_checkpoint(settings.checkpoint, trust_remote_code=trusted, key="teacher.checkpoint")
    student.model.to(pick_device(settings.accelerator)).eval()
    return student
