"""Token embeddings of a corpus: in memory, or in files that are read in blocks."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.model.blocks import token_rows
from colbert_lab.search.storage import Arrays, Codec, Float, codec_of, fit_residual

META = "shard.json"
SAMPLE, SEED = 262_144, 0  # tokens that centroids are fitted on, and how they are drawn


@dataclass(frozen=True, eq=False)
class Shard:
    """A part of a corpus: its documents in order of rising length, so that blocks of them are hardly padded.

    Attributes:
        rows_C: int64, row of each document in the corpus.
        lengths_C: int64, scoring tokens of each document.
        arrays: what the codec keeps of the tokens, end to end; memory-mapped when on disk.
    """

    rows_C: Tensor
    lengths_C: Tensor
    arrays: Arrays

    @cached_property
    def ends(self) -> Tensor:
        """Where the tokens of each document end."""
        return torch.cumsum(self.lengths_C, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens."""
        return sum(array.nbytes for array in self.arrays.values())

    def part(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The arrays of the tokens of documents ``start`` to ``stop`` - 1."""
        first = int(self.ends[start - 1]) if start else 0
        return {name: array[first : int(self.ends[stop - 1])] for name, array in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class TokenStore:
    """All documents of a corpus.

    Attributes:
        codec: how the tokens are kept.
        shards: the documents.
    """

    codec: Codec
    shards: Sequence[Shard]

    def __len__(self) -> int:
        """Number of documents."""
        return sum(len(shard.rows_C) for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Number of scoring tokens."""
        return sum(int(shard.ends[-1]) for shard in self.shards)

    @property
    def nbytes(self) -> int:
        """Bytes of the tokens, of their lengths (4 a document) and of what the codec needs beside them."""
        shared = sum(array.nbytes for array in self.codec.state().values())
        return sum(shard.nbytes for shard in self.shards) + 4 * len(self) + shared

    @property
    def in_files(self) -> bool:
        """Whether the tokens stay on disk."""
        return any(isinstance(array, np.memmap) for s in self.shards for array in s.arrays.values())

    def read(self, shard: Shard, start: int, stop: int) -> Tensor:
        """Float32 embeddings [T, D] of documents ``start`` to ``stop`` - 1 of a shard, end to end."""
        return self.codec.decode(shard.part(start, stop))

    def packed(self, shard: Shard) -> PackedEmbeddings:
        """A shard's documents, in its order."""
        return PackedEmbeddings(self.read(shard, 0, len(shard.rows_C)), shard.lengths_C)

    @cached_property
    def _places(self) -> tuple[Tensor, Tensor]:
        """Shard and position in it of every row of the corpus."""
        places = torch.empty(2, len(self), dtype=torch.int64)
        for number, shard in enumerate(self.shards):
            places[0, shard.rows_C] = number
            places[1, shard.rows_C] = torch.arange(len(shard.rows_C))
        return places[0], places[1]

    def documents(self, rows: Tensor) -> PackedEmbeddings:
        """Some documents by their rows in the corpus, in that order."""
        shard_of, position_of = self._places
        parts = []
        for row in rows.tolist():
            shard, position = self.shards[int(shard_of[row])], int(position_of[row])
            parts.append(shard.part(position, position + 1))
        lengths = torch.tensor([len(next(iter(part.values()))) for part in parts])
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return PackedEmbeddings(self.codec.decode(joined), lengths)

    def sample(self, n: int, seed: int) -> Tensor:
        """Up to ``n`` tokens in random order, float32 [n, D], drawn from all shards alike."""
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.choice(self.n_tokens, min(n, self.n_tokens), replace=False))
        parts, first = [], 0
        for shard in self.shards:
            tokens = int(shard.ends[-1])
            mine = chosen[(chosen >= first) & (chosen < first + tokens)] - first
            parts.append(self.codec.decode({name: np.array(a[mine]) for name, a in shard.arrays.items()}))
            first += tokens
        sampled_TD = torch.cat(parts)
        return sampled_TD[torch.from_numpy(generator.permutation(len(sampled_TD)))]


def make_shard(embeddings: PackedEmbeddings, rows_C: Tensor, codec: Codec) -> Shard:
    """A shard in memory.

    Args:
        embeddings: the documents' scoring tokens.
        rows_C: their rows in the corpus.
        codec: how to keep them.
    """
    order_C = torch.argsort(embeddings.lengths_N, stable=True)
    lengths_C = embeddings.lengths_N[order_C]
    if torch.equal(lengths_C, embeddings.lengths_N):  # in order already, so that no copy is needed
        return Shard(rows_C, lengths_C, codec.encode(embeddings.emb_TD))
    starts_C = (torch.cumsum(embeddings.lengths_N, 0) - embeddings.lengths_N)[order_C]
    emb_TD = embeddings.emb_TD[token_rows(starts_C, lengths_C)]
    return Shard(rows_C[order_C], lengths_C, codec.encode(emb_TD))


def in_memory(embeddings: PackedEmbeddings, first: int = 0) -> TokenStore:
    """Documents in the order of their rows, as float32 in memory; ``first`` is the row of the first one."""
    codec = Float("float32")
    return TokenStore(codec, [make_shard(embeddings, torch.arange(first, first + len(embeddings)), codec)])


def convert(
    store: TokenStore,
    codec: Codec,
    folder: Path | None = None,
    change: Callable[[PackedEmbeddings], PackedEmbeddings] | None = None,
) -> TokenStore:
    """The same documents kept in another way; one shard of the source is held at a time.

    Args:
        store: the source.
        codec: how to keep the tokens.
        folder: where the shards go; None keeps them in memory.
        change: what is done to a shard's documents first, such as pooling.
    """
    shards = []
    for number, shard in enumerate(store.shards):
        packed = store.packed(shard)
        made = make_shard(change(packed) if change else packed, shard.rows_C, codec)
        shards.append(made if folder is None else write_shard(made, codec, folder / f"{number:06d}"))
    return TokenStore(codec, shards)


def codec_for(storage: str, store: TokenStore) -> Codec:
    """The codec of a storage, fitted on a sample of a corpus' tokens where it has something to fit.

    Raises:
        InputError: no such storage, or too few tokens for centroids.
    """
    if not storage.startswith("residual"):
        return codec_of(storage, {})
    return fit_residual(
        store.sample(SAMPLE, SEED), store.n_tokens, int(storage.removeprefix("residual")), SEED
    )


def write_shard(shard: Shard, codec: Codec, folder: Path) -> Shard:
    """Write a shard to a folder, whole or not at all, and open it from there."""
    arrays = {
        "rows": shard.rows_C.numpy(),
        "lengths": shard.lengths_C.numpy(),
        **{f"token_{name}": array for name, array in shard.arrays.items()},
        **{f"codec_{name}": array for name, array in codec.state().items()},
    }
    with atomic_folder(folder, whole_with=META) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / META).write_text(json.dumps({"codec": codec.name}), encoding="utf-8")
    return open_shard(folder)[0]


def open_shard(folder: Path) -> tuple[Shard, Codec]:
    """A shard of :func:`write_shard`; its tokens stay on disk until they are read.

    Raises:
        InputError: a file of it is missing or damaged.
    """
    name = read_json(folder / META, dict[str, str], "delete its folder, and it is encoded anew").get(
        "codec", ""
    )

    def load(pattern: str, mmap: bool) -> dict[str, np.ndarray]:
        return {
            path.stem.partition("_")[2]: np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
            for path in sorted(folder.glob(f"{pattern}_*.npy"))
        }

    try:
        rows, lengths = (np.load(folder / f"{part}.npy", allow_pickle=False) for part in ("rows", "lengths"))
        shard = Shard(torch.from_numpy(rows), torch.from_numpy(lengths), load("token", True))
        return shard, codec_of(name, load("codec", False))
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise InputError(
                f"{folder}: too many open files; allow more (ulimit -n), or raise evaluation.memory for fewer shards"
            ) from error
        raise InputError(f"{folder}: is damaged ({error}); delete it, and it is encoded anew") from error
