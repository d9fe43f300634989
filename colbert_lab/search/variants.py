"""The ways to search that a config asks for, and their settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Variant
from colbert_lab.search.fde import FixedDimensionalEncoding
from colbert_lab.search.mode import SearchMode
from colbert_lab.settings.groups import MODES
from colbert_lab.text.contents import identity

STORED = ("exact", "rerank", "muvera_rerank")  # modes that score stored token embeddings


@dataclass(frozen=True)
class Muvera:
    """Settings of the modes ``muvera`` and ``muvera_rerank``: see :class:`FixedDimensionalEncoding`.

    Attributes:
        approximate: search an HNSW graph instead of all vectors.
        rerank: documents that ``muvera_rerank`` scores with MaxSim.
    """

    repetitions: int = 20
    bits: int = 5
    inner_dim: int | None = 16
    final_dim: int | None = None
    fill_empty: bool = True
    seed: int = 42
    approximate: bool = False
    rerank: int = 100

    def encoding(self, dim: int) -> FixedDimensionalEncoding:
        """For tokens of ``dim`` dimensions."""
        return FixedDimensionalEncoding(
            dim, self.repetitions, self.bits, self.inner_dim, self.final_dim, self.fill_empty, self.seed
        )


@dataclass(frozen=True)
class Plaid:
    """Settings of the mode ``plaid``, see :class:`colbert_lab.search.plaid.PlaidIndex`."""

    bits: int = 4
    n_probe: int = 8
    n_full_scores: int = 4096
    seed: int = 42


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
        own: modes of a class of their own, by name.

    Raises:
        InputError: a variant's mode is none of ours and of those.
    """

    variants: tuple[Variant, ...] = (Variant(),)
    protected: int = 1
    rerank_depth: int = 100
    first_stage: Any = None
    muvera: Muvera = Muvera()
    plaid: Plaid = Plaid()
    own: Mapping[str, SearchMode] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what nothing here can search with."""
        known = (*MODES, *self.own)
        for variant in self.variants:
            if variant.mode not in known:
                raise InputError(f"evaluation.mode={variant.mode}: must be one of {', '.join(known)}")

    def protocol(self, variant: Variant) -> dict[str, Any]:
        """What of these settings decides a variant's numbers; nothing for exact search of float32."""
        told: dict[str, Any] = {}
        if variant.storage not in (None, "float32"):
            told["storage"] = variant.storage
        if variant.pool_factor > 1:
            told |= {"pool_factor": variant.pool_factor, "pool_protected": self.protected}
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
        if variant.mode in self.own:
            told["own_mode"] = identity(self.own[variant.mode])
        return told


def variants_of(
    modes: Sequence[str],
    storages: Sequence[str],
    pool_factors: Sequence[int],
    stored: Collection[str] = STORED,
) -> tuple[Variant, ...]:
    """All combinations that make sense: modes without token embeddings of their own have no storage.

    Args:
        modes: their names.
        storages: of token embeddings.
        pool_factors: document tokens that one pooled token stands for.
        stored: modes that score stored token embeddings.

    Raises:
        InputError: a repeated value, or one that no mode uses.
    """
    for key, given in (("mode", modes), ("storage", storages), ("pool_factor", pool_factors)):
        if not given or len(set(given)) < len(given):
            raise InputError(f"evaluation.{key}: name one or several different values, not {list(given)}")
    if list(storages) != ["float32"] and not set(modes) & set(stored):
        raise InputError(
            f"evaluation.storage={storages[0]}: has no effect, {modes[0]} keeps no token embeddings"
        )
    found = [
        Variant(mode, storage, factor)
        for factor in pool_factors
        for storage in storages
        for mode in modes
        if mode in stored
    ]
    found += [Variant(mode, None, factor) for factor in pool_factors for mode in modes if mode not in stored]
    return tuple(sorted(found, key=lambda v: (v.pool_factor, modes.index(v.mode))))
