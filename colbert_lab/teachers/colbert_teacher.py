"""A ColBERT teacher: MaxSim under a trained student of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from colbert_lab.retrieval.exact import search, tie_ranks
from colbert_lab.retrieval.rerank import rerank
from colbert_lab.retrieval.store import TokenStore, in_memory
from colbert_lab.student.encode import encode
from colbert_lab.student.formats.known import load_checkpoint
from colbert_lab.student.student import Student, pick_device
from colbert_lab.types import Corpus, PackedEmbeddings, Role


@dataclass(frozen=True)
class ColBERTTeacher:
    """A student folder; its own prompts, markers and lengths apply.

    Attributes:
        checkpoint: folder of a student, such as ``RUN/PHASE/student``.
        precision: ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens of a batch.
    """

    checkpoint: str
    precision: str = "32-true"
    accelerator: str = "auto"
    token_budget: int = 8192
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
        row_of = {text: row for row, text in enumerate(dict.fromkeys(documents))}
        places: dict[str, list[int]] = {}
        for place, query in enumerate(queries):
            places.setdefault(query, []).append(place)
        wanted = [torch.tensor([row_of[documents[n]] for n in own]) for own in places.values()]
        found, rows = rerank(
            _encode(self, list(places), "query"),
            in_memory(_encode(self, list(row_of), "document")),
            [own.unique() for own in wanted],
            torch.arange(len(row_of)),
            len(row_of),
            device=pick_device(self.accelerator),
        )
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
        packed = _encode(self, corpus.texts, "document", corpus.ids, self.name)
        return ColBERTIndex(self, in_memory(packed), tie_ranks(list(corpus.ids)))


@dataclass(frozen=True, eq=False)
class ColBERTIndex:
    """An encoded corpus.

    Attributes:
        scorer: the settings.
        store: token embeddings of the documents.
        ties_C: see :func:`colbert_lab.retrieval.exact.tie_ranks`.
    """

    scorer: ColBERTTeacher
    store: TokenStore
    ties_C: Tensor

    def scores(self, queries: Sequence[str]) -> Tensor:
        """MaxSim with all documents: float32 [B, C]."""
        packed = _encode(self.scorer, queries, "query")
        device = pick_device(self.scorer.accelerator)
        ranked_BC, rows_BC = search(packed, self.store, self.ties_C, len(self.store), device=device)
        return torch.empty_like(ranked_BC).scatter_(1, rows_BC, ranked_BC)


def _encode(
    settings: ColBERTTeacher,
    texts: Sequence[str],
    role: Role,
    ids: Sequence[str] | None = None,
    progress: str | None = None,
) -> PackedEmbeddings:
    return encode(
        _load(settings),
        texts,
        role,
        token_budget=settings.token_budget,
        precision=settings.precision,
        progress=progress,
        ids=ids,
    )


@lru_cache(maxsize=1)
def _load(settings: ColBERTTeacher) -> Student:
    """The student, loaded once a process."""
    student = load_checkpoint(settings.checkpoint, key="teacher.checkpoint")
    student.model.to(pick_device(settings.accelerator)).eval()
    return student
