"""Search modes: what a class of a user's own has to be (``evaluation.own_modes``), and what a config asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings, Variant
from colbert_lab.search.fde import FixedDimensionalEncoding
from colbert_lab.search.store import TokenStore
from colbert_lab.settings.evaluation import MODES, MuveraSettings, PlaidSettings, XtrSettings
from colbert_lab.text.contents import identity


class Found(NamedTuple):
    """What a search found, best first.

    Attributes:
        scores: for each query, float32.
        rows: for each query, the documents' rows in the corpus, int64.
    """

    scores: Sequence[Tensor]
    rows: Sequence[Tensor]


@dataclass(frozen=True)
class Searchable:
    """A corpus that is to be searched.

    Attributes:
        store: the documents' token embeddings, pooled and kept as the config asks.
        ties_C: what decides between equal scores, see :func:`colbert_lab.search.exact.tie_ranks`.
        dim: of a token.
        folder: a folder for an index that lives in files; it is there and empty.
        device: where to compute.
        progress: title of progress bars; None shows none.
    """

    store: TokenStore
    ties_C: Tensor
    dim: int
    folder: Path
    device: torch.device
    progress: str | None


class Index(Protocol):
    """What a mode searches."""

    @property
    def nbytes(self) -> int:
        """Its size, without that of :attr:`Searchable.store`."""

    def search(self, queries: PackedEmbeddings, k: int) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The best documents of every query, at most k, best first: see :class:`Found`."""


@dataclass(frozen=True, kw_only=True)
class SearchMode:
    """A way to search. A subclass is a frozen dataclass whose fields are its settings, in ``evaluation.own_modes``.

    ``task=plan`` takes the time of a search to grow with the corpus.

    Attributes:
        stored: whether it scores the stored token embeddings, so that ``evaluation.storage`` is for it too and their
            size counts; other modes get them as float32 and keep what they need of them.
    """

    stored: ClassVar[bool] = False

    def index(self, corpus: Searchable) -> Index:
        """What is searched, made from the token embeddings of a corpus."""
        raise NotImplementedError


def checked_found(
    found: tuple[Sequence[Tensor], Sequence[Tensor]], queries: int, k: int, documents: int, key: str
) -> Found:
    """What a mode of a user's own found, where it is a ranking.

    Args:
        found: what its index returned.
        queries: how many there were.
        k: how many documents were asked for.
        documents: of the corpus.
        key: of the mode in the config, for errors.

    Raises:
        InputError: it is none; measures would not be what they are called.
    """
    try:
        scores, rows = ([torch.as_tensor(each).cpu() for each in part] for part in found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{key}: must find scores and rows of documents for every query ({error})"
        ) from error
    if not len(scores) == len(rows) == queries:
        raise InputError(
            f"{key}: found {len(scores)} lists of scores and {len(rows)} of rows for {queries} queries"
        )
    for n, (score, row) in enumerate(zip(scores, rows, strict=True)):
        for wrong, problem in _faults(score, row, k, documents):
            if wrong:
                raise InputError(f"{key}: what it found for query number {n + 1} {problem}")
        scores[n], rows[n] = score.float(), row.long()
    return Found(scores, rows)


def _faults(score: Tensor, row: Tensor, k: int, documents: int) -> Iterator[tuple[bool, str]]:
    """What may be wrong with a query's ranking, and whether it is; each can be told only if none before it is."""
    yield score.ndim != 1 or score.shape != row.shape, "needs one score for each row"
    yield len(row) > k, f"has {len(row)} documents, and {k} were asked for"
    whole = not (row.is_floating_point() or row.is_complex() or row.dtype == torch.bool)
    yield not whole and len(row) > 0, "needs whole numbers as rows"
    row = row.long()
    yield bool(((row < 0) | (row >= documents)).any()), f"has a row that the corpus of {documents} lacks"
    yield len(row.unique()) < row.numel(), "has a document twice"
    yield score.is_complex() or bool(score.isnan().any()), "has a score that is not a number"
    score = score.float()
    yield bool((score[1:] > score[:-1]).any()), "is not in the order of its scores, best first"


STORED = ("exact", "rerank", "muvera_rerank", "xtr")  # modes that score stored token embeddings


def encoding_of(muvera: MuveraSettings, dim: int) -> FixedDimensionalEncoding:
    """MUVERA's encoding for tokens of ``dim`` dimensions.

    Raises:
        InputError: a setting is not possible.
    """
    return FixedDimensionalEncoding(
        dim,
        muvera.repetitions,
        muvera.bits,
        muvera.inner_dim,
        muvera.final_dim,
        muvera.fill_empty,
        muvera.seed,
    )


@dataclass(frozen=True)
class SearchSettings:
    """``evaluation``'s settings of search.

    Attributes:
        variants: what is searched, in the order of the tables.
        protected: first tokens of a document that pooling leaves alone.
        rerank_depth: documents of the first stage that ``rerank`` scores.
        first_stage: what that first stage is, for the protocol.
        muvera: see there.
        plaid: see there.
        xtr: see there.
        own: modes of a class of their own, by name.

    Raises:
        InputError: a variant's mode is none of ours and of those.
    """

    variants: tuple[Variant, ...] = (Variant(),)
    protected: int = 1
    rerank_depth: int = 100
    first_stage: Any = None
    muvera: MuveraSettings = field(default_factory=MuveraSettings)
    plaid: PlaidSettings = field(default_factory=PlaidSettings)
    xtr: XtrSettings = field(default_factory=XtrSettings)
    own: Mapping[str, SearchMode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what nothing here can search with."""
        known = (*MODES, *self.own)
        for variant in self.variants:
            if variant.mode not in known:
                raise InputError(f"evaluation.mode={variant.mode}: must be one of {', '.join(known)}")

    def check_student(self, dense: bool) -> None:
        """Whether a student has what the modes search.

        Args:
            dense: whether it has one vector a text.

        Raises:
            InputError: it has not.
        """
        if dense and any(variant.mode == "xtr" for variant in self.variants):
            raise InputError(
                "evaluation.mode=xtr: retrieves tokens, and a dense student (student.output=single) has one vector a "
                "text; use evaluation.mode=exact"
            )

    def protocol(self, variant: Variant) -> dict[str, Any]:
        """What of these settings decides a variant's numbers; nothing for exact search of float32."""
        told: dict[str, Any] = {}
        if variant.storage not in (None, "float32"):
            told["storage"] = variant.storage
        if variant.pool_factor > 1:
            told |= {"pool_factor": variant.pool_factor, "pool_protected": self.protected}
        if variant.dim is not None:
            told["dim"] = variant.dim
        if variant.mode == "rerank":
            told |= {"rerank_depth": self.rerank_depth, "first_stage": self.first_stage}
        if variant.mode in ("muvera", "muvera_rerank"):
            told["muvera"] = {
                key: value
                for key, value in vars(self.muvera).items()
                if key != "rerank" or "_" in variant.mode
            }
        if variant.mode == "plaid":
            told["plaid"] = dict(vars(self.plaid))
        if variant.mode == "xtr":
            told["xtr"] = dict(vars(self.xtr))
        if variant.mode in self.own:
            told["own_mode"] = identity(self.own[variant.mode])
        return told


def variants_of(
    modes: Sequence[str],
    storages: Sequence[str],
    pool_factors: Sequence[int],
    stored: Collection[str] = STORED,
    dims: Sequence[int | None] = (None,),
) -> tuple[Variant, ...]:
    """All combinations that make sense: modes without token embeddings of their own have no storage.

    Args:
        modes: their names.
        storages: of token embeddings.
        pool_factors: document tokens that one pooled token stands for.
        stored: modes that score stored token embeddings.
        dims: numbers of first dimensions; None for all.

    Raises:
        InputError: a repeated value, or one that no mode uses.
    """
    asked = {"mode": modes, "storage": storages, "pool_factor": pool_factors, "dim": dims}
    for key, given in asked.items():
        if not given or len(set(given)) < len(given):
            raise InputError(f"evaluation.{key}: name one or several different values, not {list(given)}")
    if list(storages) != ["float32"] and not set(modes) & set(stored):
        raise InputError(
            f"evaluation.storage={storages[0]}: has no effect, {modes[0]} keeps no token embeddings"
        )
    found = [
        Variant(mode, storage, factor, dim)
        for dim in dims
        for factor in pool_factors
        for storage in storages
        for mode in modes
        if mode in stored
    ]
    found += [
        Variant(mode, None, factor, dim)
        for dim in dims
        for factor in pool_factors
        for mode in modes
        if mode not in stored
    ]
    return tuple(sorted(found, key=lambda v: (dims.index(v.dim), v.pool_factor, modes.index(v.mode))))
