"""Encode a corpus into a store: in memory when it is sure to fit, otherwise in files, a shard at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from colbert_lab.base.types import Corpus, Split
from colbert_lab.model.encode import encode_by_length
from colbert_lab.model.projection import ProjectionHead, described
from colbert_lab.model.student import Student
from colbert_lab.search.storage import Codec, Float
from colbert_lab.search.store import META, Shard, TokenStore, open_shard, write_shard
from colbert_lab.text.fingerprint import fingerprint

log = logging.getLogger(__name__)
COPIES = 4  # of a shard's float32 embeddings that exist at once while it is encoded, ordered and stored
NOT_READ = (
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "torch_dtype",
    "transformers_version",
)
"""Settings of a backbone that say where it comes from, and decide no embedding; its rates of dropout do neither."""


@dataclass(frozen=True)
class Keeping:
    """Where token embeddings go.

    Attributes:
        memory: bytes of embeddings that may be held at once.
        folder: where files go; one subfolder for each content (student, corpus, lengths, prompts, precision).
        keep: leave the files there for other runs.
        processes: that encode together and share ``memory``; several always write files.
        own: the folder belongs to one run and goes when it is empty.
    """

    memory: int
    folder: Path
    keep: bool
    processes: int = 1
    own: bool = False


class CorpusEncoding:
    """A corpus to embed, in one shard in memory or in several in files.

    A corpus whose embeddings could exceed ``keeping.memory`` (documents x most tokens x dimensions) is encoded in
    shards that are written to files as they are made; shards that an interrupted run, another process or, with
    ``keeping.keep``, another run wrote are not encoded again. A smaller one of a run
    that is large all the same (over a quarter of the memory) is in memory that a file stands behind: a killed run goes
    on with the batches that it has.

    Args:
        student: the model.
        corpus: the documents.
        keeping: memory and files.
        token_budget: most padded tokens of an encoding batch.
        precision: Lightning's name.
        storage: ``float32`` or ``float16``.

    Attributes:
        in_files: whether the shards are files.
        partial: the file behind a large corpus in memory; None where there is none.
        size: documents of a shard.
    """

    def __init__(
        self,
        student: Student,
        corpus: Corpus,
        keeping: Keeping,
        *,
        token_budget: int,
        precision: str,
        storage: str = "float32",
    ) -> None:
        self.student, self.corpus = student, corpus
        self.token_budget, self.precision = token_budget, precision
        self.codec = Float(storage)
        largest = document_bytes(student)
        self.in_files = keeping.keep or keeping.processes > 1 or len(corpus) * largest > keeping.memory
        self.size = len(corpus)
        self.partial: Path | None = None
        if keeping.own and not self.in_files and len(corpus) * largest > keeping.memory // COPIES:
            name = f"partial-{token_budget}.values"  # decides the batches
            self.partial = store_folder(student, corpus, precision, self.codec, keeping) / name
        if self.in_files:
            each = keeping.memory // (COPIES * largest * keeping.processes)
            self.size = max(1, min(each, math.ceil(len(corpus) / keeping.processes)))
            self.folder = store_folder(student, corpus, precision, self.codec, keeping)

    def make(self, rows: range, progress: str | None) -> Shard:
        """Embed some rows of the corpus.

        Raises:
            InputError: a document leaves no scoring token.
        """
        part = slice(rows.start, rows.stop)
        embeddings, order_C = encode_by_length(
            self.student, self.corpus.texts[part], "document", token_budget=self.token_budget,
            precision=self.precision, progress=progress, ids=self.corpus.ids[part],
            dtype=getattr(torch, self.codec.name), file=self.partial,
        )  # fmt: skip
        return Shard(rows.start + order_C, embeddings.lengths_N, self.codec.encode(embeddings.emb_TD))

    def ranges(self) -> list[range]:
        """The rows of each shard."""
        return shard_ranges(len(self.corpus), self.size)

    def path(self, rows: range) -> Path:
        """The folder of one shard's files."""
        return shard_path(self.folder, rows, self.size)

    def missing(self) -> list[range]:
        """The rows of shards whose files are not there."""
        return [rows for rows in self.ranges() if not (self.path(rows) / META).is_file()]

    def write(self, rows: range, progress: str | None) -> None:
        """Embed one shard into its file."""
        write_shard(self.make(rows, progress), self.codec, self.path(rows))

    def run(self, progress: str | None = None) -> TokenStore:
        """Embed what is missing.

        Args:
            progress: title of a progress bar; None shows none.

        Returns:
            The documents, ready to be searched.

        Raises:
            InputError: a document leaves no scoring token.
        """
        if not self.in_files:
            return TokenStore(self.codec, [self.make(range(len(self.corpus)), progress)])
        shards = write_shards(self.folder, len(self.corpus), self.size, self.codec, self.make, progress)
        return TokenStore(self.codec, shards)


def shard_ranges(n_documents: int, size: int) -> list[range]:
    """The rows of each shard."""
    return [range(start, min(start + size, n_documents)) for start in range(0, n_documents, size)]


def shard_path(folder: Path, rows: range, size: int) -> Path:
    """The folder of one shard."""
    return folder / f"{size}-{rows.start // size:06d}"


def write_shards(
    folder: Path,
    n_documents: int,
    size: int,
    codec: Codec,
    make: Callable[[range, str | None], Shard],
    progress: str | None,
) -> list[Shard]:
    """Make the shards that are not in a folder yet, one after the other, and open all.

    Args:
        folder: where they go.
        n_documents: documents of the corpus.
        size: documents of a shard.
        codec: how ``make`` keeps tokens.
        make: a shard from rows of the corpus and the title of its progress bar.
        progress: title of the progress bars; None shows none.
    """
    ranges = shard_ranges(n_documents, size)
    opened: list[Shard] = []
    for number, rows in enumerate(ranges, start=1):
        path = shard_path(folder, rows, size)
        if (path / META).is_file():
            opened.append(open_shard(path)[0])
            continue
        title = progress and (f"{progress} {number}/{len(ranges)}" if len(ranges) > 1 else progress)
        opened.append(write_shard(make(rows, title), codec, path))
    return opened


def document_bytes(student: Student) -> int:
    """Bytes of the float32 embeddings of the longest possible document."""
    tokens = 1 if student.model.pooling else student.tokenizer.length("document")
    return tokens * student.model.dim * 4


def student_fingerprint(student: Student) -> str:
    """Hash of everything that decides an embedding.

    That is the network (its weights, and what they do not tell: activations, heads of attention, constants of norms and
    positions; of a head of the user's own, its code), the vocabulary, and the rules by which text is read.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(student.model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    tokenizer = json.loads(student.tokenizer.tokenizer.backend_tokenizer.to_str())
    del tokenizer["truncation"], tokenizer["padding"]  # of the last call
    head = student.model.head
    for part in (
        json.dumps(tokenizer, sort_keys=True),
        student.tokenizer.rules.to_dict(),
        student.model.pooling,
        head.identity() if isinstance(head, ProjectionHead) else described(head),
        json.dumps(_network(student.model.backbone.config.to_dict()), sort_keys=True),
    ):
        digest.update(f"{part}\n".encode())
    return digest.hexdigest()[:16]


def _network(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NOT_READ and "dropout" not in key}


def store_folder(student: Student, corpus: Corpus, precision: str, codec: Codec, keeping: Keeping) -> Path:
    """The folder of this content: student, texts, precision, storage."""
    return keeping.folder / fingerprint(
        [student_fingerprint(student), corpus.fingerprint, precision, codec.name]
    )


def release(store: TokenStore, keeping: Keeping, partial: Path | None = None) -> None:
    """Remove the files of a store that is not kept; ``partial`` is that of its :class:`CorpusEncoding`."""
    if keeping.keep:
        return
    if partial is not None:
        shutil.rmtree(partial.parent, ignore_errors=True)
    files = [a.filename for s in store.shards for a in s.arrays.values() if isinstance(a, np.memmap)]
    for folder in {Path(str(file)).parent.parent for file in files}:
        shutil.rmtree(folder, ignore_errors=True)
    if keeping.own:
        try:
            keeping.folder.rmdir()
        except OSError:
            return  # not there, or shards of another student


def in_row_order(store: TokenStore, parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor [C, ...] in the corpus' order from one for each shard in the shard's order."""
    whole = torch.empty(len(store), *parts[0].shape[1:], dtype=parts[0].dtype)
    for shard, part in zip(store.shards, parts, strict=True):
        whole[shard.rows_C] = part
    return whole


def document_side(student: Student, split: Split) -> tuple[Any, ...]:
    """What decides the embeddings of a corpus; splits that are equal here share them."""
    rules = student.tokenizer.rules
    return split.corpus.fingerprint, rules.document_length, rules.document_prompt
