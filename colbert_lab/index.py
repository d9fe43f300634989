"""An index of documents for exact search from Python."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict

import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder, is_name
from colbert_lab.base.errors import InputError, given_texts, named_texts, some_ids, told, whole_number
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import PackedEmbeddings, Role
from colbert_lab.model.student import Student
from colbert_lab.search.exact import search, tie_ranks
from colbert_lab.search.storage import codec_of
from colbert_lab.search.store import TokenStore, codec_for, convert, in_memory, open_shard, write_shard

INDEX_FILE = "index.json"
LARGEST_INDEX = 2**33  # bytes: the ids of all documents


class IndexFacts(TypedDict):
    """What it says of an index."""

    student: str
    storage: str
    ids: list  # type: ignore[type-arg]  # of texts; millions, which are looked at all at once
    shards: list[str]


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        document_id: its id.
        score: the student's, MaxSim or, where its rules say ``mean_maxsim``, MaxSim divided by the query's tokens.
    """

    document_id: str
    score: float


class Encoder(Protocol):
    """What an index asks of a model; :class:`colbert_lab.api.Model` is one."""

    student: Student
    dim: int

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides an embedding."""
        ...

    def packed(self, texts: Sequence[str], role: Role, progress: bool = False) -> PackedEmbeddings:
        """Embeddings of texts, end to end."""
        ...

    def scores(self, maxsim: Sequence[Tensor], queries: PackedEmbeddings) -> list[Tensor]:
        """The student's scores of what was found by MaxSim, for each query."""
        ...


class Index:
    """Documents that a student has encoded; made by ``Model.index`` or ``Model.load_index``.

    Attributes:
        ids: document ids, in the order in which they were added.
        store: their token embeddings; None before the first are added.
    """

    def __init__(self, model: Encoder, storage: str = "float32") -> None:
        if not isinstance(storage, str):
            raise InputError(f"storage must be the name of one, such as float16, not {told(storage)}")
        if not storage.startswith("residual"):
            codec_of(storage, {})
        self.model = model
        self.storage = storage
        self.ids: list[str] = []
        self.store: TokenStore | None = None

    def __repr__(self) -> str:
        tokens = 0 if self.store is None else self.store.n_tokens
        return f"Index({len(self):,} documents, {tokens:,} tokens of {self.model.dim} dimensions, {self.storage})"

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.ids)

    @classmethod
    def open(cls, model: Encoder, path: str | Path) -> Index:
        """Open an index of :meth:`save`; its embeddings stay on disk until they are searched.

        Args:
            model: the one that made it.
            path: its folder.

        Raises:
            InputError: there is none, or another student made it.
        """
        folder = Path(path).expanduser()
        try:
            facts = read_json(folder / INDEX_FILE, IndexFacts, largest=LARGEST_INDEX)
        except InputError as error:
            raise InputError(f"{folder}: no index here ({error})") from error
        student, storage, ids, shards = (facts["student"], facts["storage"], facts["ids"], facts["shards"])
        if not shards or not all(map(is_name, shards)) or not all(type(each) is str for each in ids):
            raise InputError(f"{folder / INDEX_FILE}: is damaged; make the index anew")
        if student != model.fingerprint:
            raise InputError(
                f"{folder}: this index was made by another student or dim; load that one, or index anew"
            )
        index = cls(model, storage)
        index.ids = ids
        opened = [open_shard(folder / name) for name in shards]
        index.store = TokenStore(opened[0][1], [shard for shard, _ in opened])
        return index

    def add(self, documents: Mapping[str, str] | Sequence[str], *, progress: bool = False) -> None:
        """Encode documents and add them. Centroids of residual storage are fitted on the first ones.

        Raises:
            InputError: no documents, an id that is there already, or a text without a scoring token.
        """
        named = named_texts(documents, first=len(self.ids))
        known = sorted(set(named) & set(self.ids))
        if known:
            raise InputError(f"document ids are in the index already: {some_ids(known)}")
        plain = in_memory(self.model.packed(list(named.values()), "document", progress), len(self.ids))
        codec = self.store.codec if self.store is not None else codec_for(self.storage, plain)
        added = convert(plain, codec)
        self.store = TokenStore(codec, [*(self.store.shards if self.store else ()), *added.shards])
        self.ids += named

    def search(self, queries: str | Sequence[str], k: int = 10) -> list[list[Hit]]:
        """Exact MaxSim search.

        Args:
            queries: one or several queries.
            k: documents to return a query.

        Returns:
            For each query its documents, best first; ties by document id, largest first.

        Raises:
            InputError: the index is empty, something is no text, or ``k`` is below 1.
        """
        if self.store is None:
            raise InputError("this index is empty; add documents first")
        k, texts = whole_number(k), given_texts([queries] if isinstance(queries, str) else queries, "queries")
        device = next(self.model.student.model.parameters()).device
        packed = self.model.packed(texts, "query")
        maxsim, rows = search(packed, self.store, tie_ranks(self.ids), k, device=device)
        return [
            [Hit(self.ids[row], score) for row, score in zip(found, values.tolist(), strict=True)]
            for found, values in zip(rows.tolist(), self.model.scores(list(maxsim), packed), strict=True)
        ]

    def save(self, path: str | Path) -> None:
        """Write the index to a folder, whole or not at all.

        Raises:
            InputError: the index is empty.
        """
        if self.store is None:
            raise InputError("this index is empty; add documents first")
        with atomic_folder(Path(path).expanduser()) as folder:
            names = [f"shard-{number:06d}" for number in range(len(self.store.shards))]
            for name, shard in zip(names, self.store.shards, strict=True):
                write_shard(shard, self.store.codec, folder / name)
            facts = {
                "student": self.model.fingerprint,
                "storage": self.storage,
                "shards": names,
                "ids": self.ids,
            }
            (folder / INDEX_FILE).write_text(json.dumps(facts), encoding="utf-8")


def embeddings_of(what: str, given: Tensor | Sequence[Tensor], dim: int) -> PackedEmbeddings:
    """Embeddings of one or several texts, end to end.

    Args:
        what: names them in errors.
        given: float [tokens, dim], of one text or of each of several.
        dim: dimensions that they must have.

    Raises:
        InputError: they are something else.
    """
    parts = [given] if isinstance(given, Tensor) else list(given)
    for number, each in enumerate(parts):
        if not isinstance(each, Tensor) or each.ndim != 2 or each.shape[1] != dim:
            shape = list(each.shape) if isinstance(each, Tensor) else told(each)
            raise InputError(
                f"{what}: number {number} must be what encode returns of a text, [tokens, {dim}], not {shape}"
            )
    if not parts:
        raise InputError(f"there are no {what}")
    lengths_N = torch.tensor([len(each) for each in parts])
    return PackedEmbeddings(torch.cat([each.float().cpu() for each in parts]), lengths_N)
