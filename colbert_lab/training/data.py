"""THE data module: micro-batch number k is a pure function of (sources, seed, phase, k, rank).

No state is kept between batches, so a resumed phase starts at the micro-batch where it stopped and reads
exactly what the uninterrupted one would have read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from colbert_lab.base.errors import InputError, NoScoringTokenError
from colbert_lab.base.types import Role, Tokens
from colbert_lab.model.batches import length_sorted_batches
from colbert_lab.model.packing import computed_tokens
from colbert_lab.model.sending import Sent
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.text.fingerprint import fingerprint, text_key
from colbert_lab.text.rows.examples import Example, Examples
from colbert_lab.training.positives import DocumentKeys, KnownPositives, positive_keys
from colbert_lab.training.sampler import Drawn, FromMicroBatch, SourceSampler
from colbert_lab.training.strategy import check_shares


@dataclass(frozen=True)
class Batch:
    """B queries with K documents each, ready for the student.

    Attributes:
        queries: [B, Q].
        documents: the batch's N different documents, in chunks of similar length.
        rows_BK: where each query's documents are in the concatenated chunks; column 0 is the positive (or the
            teacher's best).
        teacher_BK: raw teacher scores, float32; None without a teacher.
        keys_N: a hash of each document's text, int64: equal documents of other processes have equal keys.
        positives: such hashes of each query's known positives, none of which is its negative.
        lengths: tokens of each query, then of each document, without padding.
        n_padded: tokens with padding, what the encoder computes.
        n_packed: what it computes where it packs texts (``student.attention=packed``).
    """

    queries: Tokens
    documents: tuple[Tokens, ...]
    rows_BK: Tensor
    teacher_BK: Tensor | None
    keys_N: Tensor
    positives: DocumentKeys
    lengths: tuple[int, ...]
    n_padded: int
    n_packed: int = 0

    @property
    def n_tokens(self) -> int:
        """Tokens without padding, queries and documents together."""
        return sum(self.lengths)

    @property
    def negative_BK(self) -> Tensor:  # noqa: N802
        """True for those of each query's own documents that are no known positives of it [B, K]."""
        return ~self.positives.among(self.keys_N).gather(1, self.rows_BK)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The same batch on another device; ``non_blocking`` as in ``Tensor.to``."""
        return self._each(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in memory that a GPU copies from by itself; PyTorch's DataLoader asks for it."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        teacher_BK = None if self.teacher_BK is None else change(self.teacher_BK)
        others = {name: change(getattr(self, name)) for name in ("queries", "rows_BK", "keys_N", "positives")}
        return replace(self, documents=tuple(map(change, self.documents)), teacher_BK=teacher_BK, **others)


class MicroBatches(Dataset[Batch]):
    """Endless micro-batches; ``self[k]`` is this process's share of global micro-batch k.

    A micro-batch holds rows of one source, the same on every process. Which documents are drawn for a row does
    not depend on the number of processes.

    Args:
        sources: the training data.
        weights: relative frequency of the sources; None for proportional to size.
        tokenizer: the student's.
        batch_size: queries of a micro-batch, over all processes.
        n_way: documents a query; None takes as many as the source's shortest row has.
        token_budget: most padded tokens of a document chunk.
        seed: the run's seed.
        phase: the phase's name; two phases of a run see different orders.
        known: positives of queries that have several; None where documents are not contrasted.

    Raises:
        InputError: rows shorter than ``n_way``, or a source with fewer rows than a batch.
    """

    def __init__(
        self,
        sources: Sequence[Examples],
        tokenizer: StudentTokenizer,
        *,
        batch_size: int,
        n_way: int | None,
        token_budget: int,
        seed: int,
        phase: str,
        weights: Sequence[float] | None = None,
        known: KnownPositives | None = None,
    ) -> None:
        key = f"phases.{phase}"
        for source in sources:
            if n_way is not None and source.fewest < n_way:
                raise InputError(
                    f"{key}.n_way={n_way}: {source.name} has rows of only {source.fewest} documents; set it to "
                    f"{source.fewest}"
                )
            if len(source) < batch_size:
                raise InputError(
                    f"{key}.batch_size={batch_size}: {source.name} has only {len(source)} rows; lower batch_size "
                    "or leave the source out"
                )
        self.sources = list(sources)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.n_way = n_way
        self.token_budget = token_budget
        self.known = known
        self.phase = phase
        self.rank, self.world = 0, 1
        self.entropy = int(fingerprint([str(seed), phase]), 16)
        self.sampler = SourceSampler([len(s) for s in sources], batch_size, weights, self.entropy)
        self._repeated: int | None = None

    @property
    def per_epoch(self) -> int:
        """Micro-batches in one pass over the data."""
        return self._repeated or self.sampler.per_epoch

    def share(self, rank: int, world: int) -> MicroBatches:
        """The same micro-batches as another process of ``world`` sees them.

        Raises:
            InputError: the processes cannot share them equally.
        """
        check_shares(self.phase, self.batch_size, world)
        shared = copy.copy(self)
        shared.rank, shared.world = rank, world
        return shared

    def of_size(self, batch_size: int) -> MicroBatches:
        """Micro-batches of fewer queries of the same data, for measurements."""
        smaller = copy.copy(self)
        smaller.batch_size = batch_size
        sizes = [len(source) for source in self.sources]
        smaller.sampler = SourceSampler(sizes, batch_size, self.sampler.weights, self.entropy)
        return smaller

    def repeating(self, n: int) -> MicroBatches:
        """The first ``n`` micro-batches again and again, with the same documents each time."""
        few = copy.copy(self)
        few._repeated = n
        return few

    def drawn(self, k: int) -> Drawn:
        """This process's rows of micro-batch k."""
        k = k if self._repeated is None else k % self._repeated
        source, rows = self.sampler.rows(k)
        return Drawn(k, source, rows[self._mine])

    @property
    def _mine(self) -> slice:
        """Places of this process in a micro-batch."""
        share = self.batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def examples(self, k: int | Drawn) -> list[Example]:
        """This process's rows of micro-batch k, with the documents drawn for them."""
        drawn = self.drawn(k) if isinstance(k, int) else k
        source = self.sources[drawn.source]
        n_way = self.n_way or source.fewest
        return [
            source.example(int(row), n_way, np.random.default_rng([self.entropy, 2, drawn.number, n]))
            for n, row in enumerate(drawn.rows, start=self._mine.start)
        ]

    def __getitem__(self, k: int | Drawn) -> Batch:
        examples = self.examples(k)
        names: dict[str, str] = {}  # text to id of the batch's different documents
        for example in examples:
            names.update(zip(example.documents, example.document_ids, strict=True))
        texts = list(names)
        row_of = {text: row for row, text in enumerate(texts)}
        query_ids = self.tokenizer.ids([example.query for example in examples], "query")
        queries = self._pad(query_ids, "query", [example.query_id for example in examples])
        document_ids = self.tokenizer.ids(texts, "document")
        groups = list(length_sorted_batches([len(ids) for ids in document_ids], self.token_budget))
        chunks = tuple(
            self._pad([document_ids[n] for n in group], "document", [names[texts[n]] for n in group])
            for group in groups
        )
        order = np.concatenate(groups)
        place = np.empty(len(texts), dtype=np.int64)
        place[order] = np.arange(len(texts))
        rows_BK = place[[[row_of[text] for text in example.documents] for example in examples]]
        scores = [example.scores for example in examples if example.scores is not None]
        return Batch(
            queries,
            chunks,
            torch.from_numpy(rows_BK),
            torch.from_numpy(np.stack(scores)) if scores else None,
            torch.tensor([text_key(texts[n]) for n in order]),
            positive_keys(examples, self.known),
            lengths=(*map(len, query_ids), *map(len, document_ids)),
            n_padded=sum(part.input_ids_NL.numel() for part in (queries, *chunks)),
            n_packed=sum(map(computed_tokens, (queries, *chunks))),
        )

    def _pad(self, ids: list[list[int]], role: Role, names: list[str]) -> Tokens:
        try:
            return self.tokenizer.pad(ids, role)
        except NoScoringTokenError as error:
            raise NoScoringTokenError(error.role, error.rows, names) from None


class Tokenized(Dataset[Batch | Sent | InputError]):
    """Micro-batches from their rows, from a worker as one tensor. It gives bad input back, for training to raise.

    An error that a worker raises becomes another one on its way: a text with the worker's traceback.
    """

    def __init__(self, batches: MicroBatches) -> None:
        self.batches = batches

    def __getitem__(self, drawn: Drawn) -> Batch | Sent | InputError:
        try:
            batch = self.batches[drawn]
            return batch if get_worker_info() is None else Sent.of(batch)
        except InputError as error:
            return InputError(str(error))


class PhaseData(pl.LightningDataModule):
    """THE LightningDataModule: the micro-batches of one phase.

    Args:
        batches: micro-batch k.
        start: first micro-batch (0, or where a resumed phase goes on).
        total: number of micro-batches of the phase.
        num_workers: processes that read and tokenize ahead of need; 0 does it in the training process. A worker holds
            what is pickled of the sources: the place of what is on disk, and the text of what is in memory, unless it
            is forked and shares it.
    """

    def __init__(self, batches: MicroBatches, *, start: int, total: int, num_workers: int) -> None:
        super().__init__()
        self.batches = batches
        self.start = start
        self.total = total
        self.num_workers = num_workers

    def train_dataloader(self) -> DataLoader[Batch | Sent | InputError]:
        """One micro-batch an item, in order; in pinned memory where a GPU takes it."""
        batches, on_gpu = self.batches, False
        if self.trainer is not None:
            batches = batches.share(self.trainer.global_rank, self.trainer.world_size)
            on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            Tokenized(batches),
            sampler=FromMicroBatch(batches.drawn, self.start, self.total),
            batch_size=None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=on_gpu,
        )

    def transfer_batch_to_device(
        self, batch: Batch | Sent | InputError, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch; a GPU goes on with what it computes meanwhile.

        Raises:
            InputError: it cannot be made of these rows.
        """
        if isinstance(batch, InputError):
            raise batch
        if isinstance(batch, Sent):
            return cast(Batch, batch.to(device, non_blocking=device.type != "cpu").opened())
        return batch.to(device, non_blocking=device.type != "cpu")
