"""Use a trained student from Python: encode, rerank, index and search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder, is_name
from colbert_lab.base.errors import InputError, given_texts, named_texts, some_ids, whole_number
from colbert_lab.base.outside import read_json
from colbert_lab.base.types import PackedEmbeddings, Role
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.matryoshka import check_dims, packed_prefix
from colbert_lab.model.maxsim import found_scores
from colbert_lab.model.student import Student
from colbert_lab.model.unread import check_student_knows
from colbert_lab.search.corpus import student_fingerprint
from colbert_lab.search.exact import rerank, search, tie_ranks
from colbert_lab.search.storage import codec_of
from colbert_lab.search.store import TokenStore, codec_for, convert, in_memory, open_shard, write_shard
from colbert_lab.training.precision import pick_precision

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


class Model:
    """A student with its own prompts, markers and lengths, which it applies by role.

    Args:
        student: model and tokenizer.
        precision: ``32-true``, or ``bf16-mixed`` / ``16-mixed`` for autocast.
        token_budget: most padded tokens of a batch.
        dim: first dimensions of an embedding to keep, scaled to unit length; None for all.
    """

    def __init__(
        self, student: Student, precision: str = "32-true", token_budget: int = 4096, dim: int | None = None
    ) -> None:
        if isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1:
            raise InputError(f"token_budget={token_budget!r}: must be a whole number from 1")
        self.dim = student.model.dim if dim is None else check_dims([dim], student.model.dim, "dim")[0]
        self.student = student
        self.precision = precision
        self.token_budget = token_budget

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides an embedding, with the dimensions that are kept of it."""
        cut = "" if self.dim == self.student.model.dim else f".dim{self.dim}"
        return student_fingerprint(self.student) + cut

    def encode(self, texts: Sequence[str], role: Role, *, progress: bool = False) -> list[Tensor]:
        """Embed texts.

        Args:
            texts: without prompt; the student puts its own before them.
            role: ``query`` or ``document``.
            progress: whether to show a progress bar.

        Returns:
            For each text, the float32 unit-length embeddings [tokens, dim] of the tokens that score.

        Raises:
            InputError: another role, no texts, or a text leaves no scoring token.
        """
        packed = self.packed(texts, role, progress)
        return list(packed.emb_TD.split(packed.lengths_N.tolist()))

    def rerank(
        self, query: str, documents: Mapping[str, str] | Sequence[str], k: int | None = None
    ) -> list[Hit]:
        """Order documents by their score with a query.

        Args:
            query: the query.
            documents: texts by id; ids of a plain list are positions.
            k: how many to return; None returns all.

        Returns:
            Best first; ties by document id, largest first.

        Raises:
            InputError: no documents, something that is no text, or a ``k`` below 1.
        """
        named = named_texts(documents)
        ids = list(named)
        most = len(ids) if k is None else whole_number(k)
        (query,) = given_texts([query], "query")
        store = in_memory(self.packed(list(named.values()), "document"))
        packed = self.packed([query], "query")
        maxsim, rows = rerank(packed, store, [torch.arange(len(ids))], tie_ranks(ids), most)
        (scores,) = self.scores(maxsim, packed)
        return [Hit(ids[row], score) for row, score in zip(rows[0].tolist(), scores.tolist(), strict=True)]

    def index(
        self,
        documents: Mapping[str, str] | Sequence[str],
        *,
        storage: str = "float32",
        progress: bool = False,
    ) -> Index:
        """An index of documents, for exact MaxSim search.

        Args:
            documents: texts by id; ids of a plain list are positions.
            storage: how token embeddings are kept: float32, float16, int8, residual4, residual2, residual1.
            progress: whether to show progress bars.
        """
        index = Index(self, storage)
        index.add(documents, progress=progress)
        return index

    def load_index(self, path: str | Path) -> Index:
        """Open an index of :meth:`Index.save`; its embeddings stay on disk until they are searched.

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
        if student != self.fingerprint:
            raise InputError(
                f"{folder}: this index was made by another student or dim; load that one, or index anew"
            )
        index = Index(self, storage)
        index.ids = ids
        opened = [open_shard(folder / name) for name in shards]
        index.store = TokenStore(opened[0][1], [shard for shard, _ in opened])
        return index

    def scores(self, maxsim: Sequence[Tensor], queries: PackedEmbeddings) -> list[Tensor]:
        """The student's scores of what was found by MaxSim, for each query; see ``student.score``."""
        return found_scores(maxsim, queries.lengths_N, self.student.tokenizer.rules.score)

    def packed(self, texts: Sequence[str], role: Role, progress: bool = False) -> PackedEmbeddings:
        """Like :meth:`encode`, all texts end to end."""
        if role not in ("query", "document"):
            raise InputError(f"role={role}: must be query or document")
        texts = given_texts(texts, "texts")
        check_student_knows(self.student.tokenizer, texts, "texts", f"{role} texts")
        title = f"{role} texts" if progress else None
        budget, precision = self.token_budget, self.precision
        found = encode(self.student, texts, role, token_budget=budget, precision=precision, progress=title)
        return packed_prefix(found, self.dim)


class Index:
    """Documents that a student has encoded; made by :meth:`Model.index` or :meth:`Model.load_index`.

    Attributes:
        ids: document ids, in the order in which they were added.
        store: their token embeddings; None before the first are added.
    """

    def __init__(self, model: Model, storage: str = "float32") -> None:
        if not storage.startswith("residual"):
            codec_of(storage, {})
        self.model = model
        self.storage = storage
        self.ids: list[str] = []
        self.store: TokenStore | None = None

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.ids)

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


def load(
    path: str | Path,
    *,
    device: str | None = None,
    precision: str = "auto",
    trust_remote_code: bool = False,
    dim: int | None = None,
) -> Model:
    """Load a saved student.

    Args:
        path: a student's folder, for example ``outputs/colbert_zero_kd/latest/distill/student``; or a folder or hub id
            of a model in the layout of PyLate, sentence-transformers, Stanford's ColBERT or ColBERT-AZ.
        device: such as ``cpu`` or ``cuda``; None takes CUDA where there is one.
        precision: ``auto`` (bf16-mixed where the device is faster in it), ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        trust_remote_code: run Python code that comes with a backbone, or that the folder names of its head; off unless
            asked for.
        dim: first dimensions of an embedding to keep, see ``student.matryoshka``; None for all.

    Raises:
        InputError: there is no student here, or no such device, precision or dimensions.
    """
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        where = torch.empty(0, device=chosen).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise InputError(f"device={device}: torch has no such device here ({_first_line(error)})") from error
    picked = pick_precision(precision, "gpu" if where.type == "cuda" else "cpu")
    student = load_checkpoint(str(path), trust_remote_code=trust_remote_code, key="path")
    student.model.to(where).eval()
    return Model(student, picked, dim=dim)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
