"""The nouns that travel between folders, and the one shape legend.

Shape legend, used as suffixes of tensor names (``emb_NLD`` is documents x tokens x dimensions):

    B  queries in a batch          N  texts in a batch (B x documents per query, flattened)
    K  documents per query         Q  query tokens          L  tokens of a text, padded
    D  embedding dimensions        T  tokens of many texts, packed end to end without padding
    C  documents in a corpus
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["query", "document"]
PHASE_FILE = "phase.json"
"""What a finished phase did, in its folder; a phase without it is not finished."""
HELD_OUT = "heldout"
"""The split of training queries that are kept out of training, where a collection has no dev split."""
DEV_NAMES = ("dev", "validation", "valid", HELD_OUT)
"""Splits that may choose something; every other one is a test split."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """The documents of a collection. Compared by identity (compare fingerprints for content).

    Attributes:
        ids: document ids, unique.
        texts: document texts (title and text joined by one space), in the order of ``ids``.
        fingerprint: hash of ids and texts; equal fingerprints mean equal documents in equal order.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    fingerprint: str

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Its size, not its texts."""
        return f"Corpus({len(self):,} documents, {self.fingerprint})"


@dataclass(frozen=True)
class Split:
    """A corpus with judged queries: what an evaluation runs on.

    Attributes:
        dataset: name of the collection, for example ``scifact``.
        name: name of the split, for example ``test``.
        corpus: the documents that are searched.
        queries: query id to text; every query here has judgments.
        qrels: query id to {document id: grade}; grade 0 is judged not relevant.
        fingerprint: hash of corpus, queries and qrels, and of ``excluded`` and ``candidates`` where there are any.
        details: provenance worth keeping with a result (packages and versions, counts, what was cut).
        excluded: query id to documents of the corpus that are taken out of its ranking before the cut-off, as in
            ArguAna (the query itself is a document) and BRIGHT. Never relevant ones.
        candidates: query id to the only documents that are ranked for it (held-out candidate lists); empty where
            every query searches the whole corpus.
        protocol: what the split asks of the system that is measured: ``query_length``, ``document_length``,
            ``query_prompt``, ``document_prompt``; these take the place of the student's own.
    """

    dataset: str
    name: str
    corpus: Corpus
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    fingerprint: str
    details: Mapping[str, Any] = field(default_factory=dict)
    excluded: Mapping[str, Collection[str]] = field(default_factory=dict)
    candidates: Mapping[str, Collection[str]] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Its name and size, not its texts."""
        size = f"{len(self.queries):,} queries over {len(self.corpus):,} documents"
        return f"Split({self.dataset}, {self.name}: {size}, {self.fingerprint})"


@dataclass(frozen=True)
class Ranking:
    """The retrieved documents of each query, best first.

    Attributes:
        query_ids: one id a row.
        document_ids: for each query, ids from best to worst.
        scores: for each query, the scores of those documents.
    """

    query_ids: Sequence[str]
    document_ids: Sequence[Sequence[str]]
    scores: Sequence[Sequence[float]]

    def __repr__(self) -> str:
        """Its size, not its documents."""
        return f"Ranking(of {len(self.query_ids):,} queries)"


@dataclass(frozen=True)
class Variant:
    """One way to search a corpus.

    Attributes:
        mode: search mode: exact, rerank, muvera, muvera_rerank, plaid, xtr, or a name in ``evaluation.own_modes``.
        storage: how the token embeddings that it scores are kept; None where the mode keeps none.
        pool_factor: document tokens a pooled token stands for; 1 for no pooling.
        dim: number of first dimensions that are searched; None for all.
    """

    mode: str = "exact"
    storage: str | None = "float32"
    pool_factor: int = 1
    dim: int | None = None

    @property
    def label(self) -> str:
        """Short and readable: ``exact``, ``exact.int8``, ``muvera.pool2``, ``exact.dim32``."""
        parts = [self.mode]
        if self.storage not in (None, "float32"):
            parts.append(str(self.storage))
        if self.pool_factor > 1:
            parts.append(f"pool{self.pool_factor}")
        if self.dim is not None:
            parts.append(f"dim{self.dim}")
        return ".".join(parts)


@dataclass(frozen=True)
class Tokens:
    """A padded batch of token ids.

    Attributes:
        input_ids_NL: token ids, int64.
        attention_mask_NL: 1 where the encoder attends, int64.
        score_mask_NL: True where the token's embedding takes part in MaxSim.
    """

    input_ids_NL: Tensor
    attention_mask_NL: Tensor
    score_mask_NL: Tensor

    def to(self, device: Any, non_blocking: bool = False) -> Tokens:
        """The same tokens on another device; ``non_blocking`` as in ``Tensor.to``."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Tokens:
        """The same tokens in memory that a GPU copies from by itself; PyTorch's DataLoader asks for it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Tokens:
        return Tokens(change(self.input_ids_NL), change(self.attention_mask_NL), change(self.score_mask_NL))


@dataclass(frozen=True)
class Embeddings:
    """A padded batch of token embeddings.

    Attributes:
        emb_NLD: one vector a token.
        mask_NL: True where the token takes part in MaxSim; the other vectors are to be ignored.
    """

    emb_NLD: Tensor
    mask_NL: Tensor


@dataclass(frozen=True)
class PackedEmbeddings:
    """Token embeddings of many texts without padding.

    Attributes:
        emb_TD: the scoring tokens of all texts, end to end.
        lengths_N: number of scoring tokens of each text, int64.
    """

    emb_TD: Tensor
    lengths_N: Tensor

    def __len__(self) -> int:
        """Number of texts."""
        return int(self.lengths_N.numel())
