"""Corpora encoded and searched by all processes of a run, for the evaluation in the first one."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from colbert_lab.base.types import Variant
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.evaluation.shared_corpus import SharedCorpus
from colbert_lab.model.student import Student
from colbert_lab.search.exact import search, tie_ranks
from colbert_lab.search.shares import Part, write_part
from colbert_lab.search.store import META, TokenStore, open_shard
from colbert_lab.training.strategy import bare_trainer, stops_as_interrupts

log = logging.getLogger(__name__)
Wanted = Mapping[str, Sequence[Variant]]


class _Shared(pl.LightningModule):
    """Work on the shards of corpora, each process its share.

    The first process knows what is measured already and tells the others.

    Args:
        student: the model to evaluate.
        evaluator: the same in all processes.
        wanted: split name to the variants to search with; read in the first process alone.
        progress: whether to show progress bars.
    """

    what = ""

    def __init__(self, student: Student, evaluator: Evaluator, wanted: Wanted, progress: bool) -> None:
        super().__init__()
        self.model = student.model
        self.student = student
        self.evaluator = evaluator
        self.wanted = wanted
        self.progress = progress
        self.documents = self.whole = 0
        self.todo: list[Any] = []
        self.share: list[Any] = []

    def setup(self, stage: str) -> None:
        """Agree on what is to be done and on who does which part."""
        mine = self.evaluator.corpora(self.student, self.wanted)
        self.wanted, self.todo = self.trainer.strategy.broadcast((self.wanted, self.missing(mine)))
        self.corpora = self.evaluator.corpora(self.student, self.wanted)
        self.share = self.todo[self.trainer.global_rank :: self.trainer.world_size]
        self.whole = sum(map(self.size, self.todo))

    def missing(self, corpora: Sequence[SharedCorpus]) -> list[Any]:
        """All parts that are to be done, the same in every process."""
        raise NotImplementedError

    def size(self, part: Any) -> int:
        """Documents of a part."""
        raise NotImplementedError

    def predict_dataloader(self) -> DataLoader[int]:
        """The numbers of this process' parts."""
        return DataLoader(range(len(self.share)), batch_size=None)  # type: ignore[arg-type]

    def title(self, number: int) -> str | None:
        """Of a progress bar."""
        if not (self.progress and self.trainer.is_global_zero):
            return None
        return f"{self.what} {number + 1}/{len(self.share)}, process 1 of {self.trainer.world_size}"


class CorpusEncoder(_Shared):
    """Writes the shards of corpora that are not on disk."""

    what = "encoding"

    def missing(self, corpora: Sequence[SharedCorpus]) -> list[tuple[int, range]]:
        """The number of a corpus and rows of a shard, for each that is not on disk."""
        return [(c, rows) for c, shared in enumerate(corpora) for rows in shared.encoding.missing()]

    def size(self, part: tuple[int, range]) -> int:
        """Documents of a shard."""
        return len(part[1])

    def predict_step(self, batch: int) -> None:
        """Encode and write one shard."""
        corpus, rows = self.share[batch]
        self.corpora[corpus].encoding.write(rows, self.title(batch))
        self.documents += len(rows)


class _Search(NamedTuple):
    """The shards of a process that are to be searched with a split's queries."""

    corpus: int
    split: str
    process: int


class CorpusSearcher(_Shared):
    """Searches the shards of corpora exactly, each process its own, and writes what it finds beside them.

    Other ways to search build an index of the whole corpus; the first process does that alone.
    """

    what = "searching"

    def missing(self, corpora: Sequence[SharedCorpus]) -> list[_Search]:
        """Each split whose queries search exactly, for each process that has shards and has not searched them."""
        return [
            _Search(c, key, process)
            for c, shared in enumerate(corpora)
            for key in shared.wanted
            if shared.is_searched_together(key)
            for process, path in enumerate(shared.parts_of(key))
            if not path.is_file()
        ]

    def size(self, part: _Search) -> int:
        """Documents of a process' shards, counted once for each split."""
        return sum(map(len, self.corpora[part.corpus].shards_of(part.process)))

    def predict_step(self, batch: int) -> None:
        """Search a process' shards."""
        asked = self.share[batch]
        shared = self.corpora[asked.corpus]
        rows = shared.shards_of(asked.process)
        if not all((shared.encoding.path(each) / META).is_file() for each in rows):
            log.warning(
                "%s: shards that another machine wrote are not here; the first process searches alone. Have all "
                "machines see the same cache_dir",
                shared.encoding.folder,
            )
            return
        opened = [open_shard(shared.encoding.path(each)) for each in rows]
        queries, ties_C = shared.queries(asked.split), tie_ranks(list(shared.encoding.corpus.ids))
        begun = time.perf_counter()
        scores_BK, rows_BK = search(
            queries,
            TokenStore(opened[0][1], [shard for shard, _ in opened]),
            ties_C,
            shared.depth_of(asked.split),
            device=self.device,
            progress=self.title(batch),
        )
        path = shared.parts_of(asked.split)[asked.process]
        write_part(path, Part(scores_BK, rows_BK, time.perf_counter() - begun))
        self.documents += sum(map(len, rows))


def search_together(
    trainer: Mapping[str, Any],
    student: Student,
    evaluator: Evaluator,
    wanted: Wanted,
    progress: bool,
) -> None:
    """Have all processes encode and exactly search what an evaluation in the first one will then find in files.

    All processes have to call this at the same points of a run. The student is on the CPU afterwards.

    Args:
        trainer: arguments of Lightning's Trainer (accelerator, devices, num_nodes, strategy).
        student: the model to evaluate.
        evaluator: what it will be evaluated with.
        wanted: split name to the variants to search with; read in the first process alone.
        progress: whether to show progress bars.
    """
    for kind in (CorpusEncoder, CorpusSearcher):
        work = kind(student, evaluator, wanted, progress)
        lightning = bare_trainer(trainer)
        with stops_as_interrupts():
            lightning.predict(work, return_predictions=False)
        lightning.strategy.barrier(work.what)
        if work.todo:
            log.info(
                "%s: %d processes, %s documents, this one %s of them",
                work.what,
                lightning.world_size,
                f"{work.whole:,}",
                f"{work.documents:,}",
            )
