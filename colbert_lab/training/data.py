"""THE data module: micro-batch number k is a pure function of (lists, seed, phase, k).

No state is kept between batches, so a resumed phase starts at the micro-batch where it stopped and reads
exactly what the uninterrupted one would have read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from colbert_lab.errors import InputError, some_ids
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.tokens.tokenizer import NoScoringTokenError, StudentTokenizer, length_sorted_batches
from colbert_lab.types import ScoredLists, Tokens


@dataclass(frozen=True)
class ListBatch:
    """B queries with K scored documents each, ready for the student.

    Attributes:
        queries: [B, Q].
        documents: the batch's different documents, in chunks of similar length.
        rows_BK: where each list's documents are in the concatenated chunks; column 0 is the teacher's best.
        teacher_BK: raw teacher scores, float32.
        n_tokens: tokens without padding, queries and documents together.
        n_padded: tokens with padding, what the encoder computes.
    """

    queries: Tokens
    documents: tuple[Tokens, ...]
    rows_BK: Tensor
    teacher_BK: Tensor
    n_tokens: int
    n_padded: int

    def to(self, device: torch.device) -> ListBatch:
        """The same batch on another device."""
        return ListBatch(
            self.queries.to(device),
            tuple(chunk.to(device) for chunk in self.documents),
            self.rows_BK.to(device),
            self.teacher_BK.to(device),
            self.n_tokens,
            self.n_padded,
        )


class ListMicroBatches(Dataset[ListBatch]):
    """Endless micro-batches of scored lists; ``self[k]`` is micro-batch k.

    Every epoch is a new permutation of all lists; a last uneven batch of an epoch is dropped. From each list
    the teacher's best document is kept and the others are drawn without replacement.

    Args:
        lists: the training data.
        tokenizer: the student's.
        batch_size: queries a micro-batch.
        n_way: documents a query.
        token_budget: most padded tokens of a document chunk.
        seed: the run's seed.
        phase: the phase's name; two phases of a run see different orders.

    Raises:
        InputError: lists shorter than ``n_way``, or fewer lists than a batch.
    """

    def __init__(
        self,
        lists: ScoredLists,
        tokenizer: StudentTokenizer,
        *,
        batch_size: int,
        n_way: int,
        token_budget: int,
        seed: int,
        phase: str,
    ) -> None:
        if n_way < 2:
            raise InputError(f"phases.{phase}.n_way={n_way}: a list needs at least 2 documents")
        short = [lists.query_ids[row] for row in range(len(lists)) if len(lists.documents[row]) < n_way]
        if short:
            raise InputError(
                f"phases.{phase}.n_way={n_way}: lists with fewer documents: {some_ids(short)}; lower n_way"
            )
        if not 1 <= batch_size <= len(lists):
            raise InputError(
                f"phases.{phase}.batch_size={batch_size}: must be between 1 and the {len(lists)} lists of {lists.name}"
            )
        self.lists = lists
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.n_way = n_way
        self.token_budget = token_budget
        self.entropy = int(fingerprint([str(seed), phase]), 16)
        self.per_epoch = len(lists) // batch_size
        self._epoch: tuple[int, np.ndarray] | None = None

    def rows(self, k: int) -> np.ndarray:
        """Which lists micro-batch k holds."""
        epoch, position = divmod(k, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            order = np.random.default_rng([self.entropy, 0, epoch]).permutation(len(self.lists))
            self._epoch = epoch, order
        return self._epoch[1][position * self.batch_size : (position + 1) * self.batch_size]

    def candidates(self, k: int) -> tuple[list[int], np.ndarray, np.ndarray]:
        """The lists of micro-batch k and the documents drawn for them.

        Returns:
            List numbers; document rows [B, K] into the corpus; teacher scores [B, K]. Column 0 is the
            teacher's best.
        """
        chosen = [int(row) for row in self.rows(k)]
        generator = np.random.default_rng([self.entropy, 1, k])
        picks = [pick_documents(self.lists.scores[row], self.n_way, generator) for row in chosen]
        documents = np.stack(
            [self.lists.documents[row][pick] for row, pick in zip(chosen, picks, strict=True)]
        )
        scores = np.stack([self.lists.scores[row][pick] for row, pick in zip(chosen, picks, strict=True)])
        return chosen, documents, scores

    def __getitem__(self, k: int) -> ListBatch:
        chosen, documents_BK, scores_BK = self.candidates(k)
        unique, inverse = np.unique(documents_BK, return_inverse=True)
        tokens = self.tokenizer
        query_ids = tokens.ids([self.lists.queries[row] for row in chosen], "query")
        queries = self._pad(query_ids, "query", [self.lists.query_ids[row] for row in chosen])
        document_ids = tokens.ids([self.lists.corpus.texts[int(row)] for row in unique], "document")
        groups = list(length_sorted_batches([len(ids) for ids in document_ids], self.token_budget))
        chunks = tuple(
            self._pad(
                [document_ids[n] for n in group],
                "document",
                [self.lists.corpus.ids[int(unique[n])] for n in group],
            )
            for group in groups
        )
        place = np.empty(len(unique), dtype=np.int64)
        place[np.concatenate(groups)] = np.arange(len(unique))
        real = sum(map(len, query_ids)) + sum(map(len, document_ids))
        padded = queries.input_ids_NL.numel() + sum(chunk.input_ids_NL.numel() for chunk in chunks)
        rows_BK = torch.from_numpy(place[inverse].reshape(documents_BK.shape))
        return ListBatch(queries, chunks, rows_BK, torch.from_numpy(scores_BK), real, padded)

    def _pad(self, ids: list[list[int]], role: str, names: list[str]) -> Tokens:
        try:
            return self.tokenizer.pad(ids, role)  # type: ignore[arg-type]
        except NoScoringTokenError as error:
            raise NoScoringTokenError(error.role, error.rows, names) from None


def pick_documents(scores: np.ndarray, n_way: int, generator: np.random.Generator) -> np.ndarray:
    """Choose a list's documents for one step: the teacher's best first, the others at random.

    Stored lists are often sorted by score, so taking the first n would show near-positives only.
    """
    best = int(np.argmax(scores))
    others = np.delete(np.arange(len(scores)), best)
    return np.concatenate([[best], generator.choice(others, size=n_way - 1, replace=False)])


class FromMicroBatch(Sampler[int]):
    """Micro-batch numbers ``start .. total-1``.

    Its length is ``total``: Lightning counts the micro-batches before ``start`` as done when it resumes.
    """

    def __init__(self, start: int, total: int) -> None:
        self.start = start
        self.total = total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.total))

    def __len__(self) -> int:
        return self.total


class PhaseData(pl.LightningDataModule):
    """THE LightningDataModule: the micro-batches of one phase.

    Args:
        batches: micro-batch k.
        start: first micro-batch (0, or where a resumed phase goes on).
        total: number of micro-batches of the phase.
        num_workers: processes that tokenize ahead of need; 0 does it in the training process.
    """

    def __init__(self, batches: Dataset[ListBatch], *, start: int, total: int, num_workers: int) -> None:
        super().__init__()
        self.batches = batches
        self.start = start
        self.total = total
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[ListBatch]:
        """One micro-batch an item, in order."""
        return DataLoader(
            self.batches,
            sampler=FromMicroBatch(self.start, self.total),
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def transfer_batch_to_device(
        self, batch: ListBatch, device: torch.device, dataloader_idx: int
    ) -> ListBatch:
        """Move a batch."""
        return batch.to(device)
