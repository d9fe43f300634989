"""The ways to search that a config asks for, and their settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from colbert_lab.errors import InputError
from colbert_lab.retrieval.storage import STORAGES
from colbert_lab.scoring.fde import FixedDimensionalEncoding
from colbert_lab.types import Variant

MODES = ("exact", "rerank", "muvera", "muvera_rerank", "plaid")
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
    """Settings of the mode ``plaid``, see :class:`colbert_lab.retrieval.plaid.PlaidIndex`."""

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
    """

    variants: tuple[Variant, ...] = (Variant(),)
    protected: int = 1
    rerank_depth: int = 100
    first_stage: Any = None
    muvera: Muvera = Muvera()
    plaid: Plaid = Plaid()

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
        return told


def variants_of(
    modes: Sequence[str], storages: Sequence[str], pool_factors: Sequence[int]
) -> tuple[Variant, ...]:
    """All combinations that make sense: modes without token embeddings of their own have no storage.

    Raises:
        InputError: an unknown or repeated value, or one that no mode uses.
    """
    for key, values, known in (("mode", modes, MODES), ("storage", storages, STORAGES)):
        for value in values:
            if value not in known:
                raise InputError(f"evaluation.{key}={value}: must be one of {', '.join(known)}")
    for key, given in (("mode", modes), ("storage", storages), ("pool_factor", pool_factors)):
        if not given or len(set(given)) < len(given):
            raise InputError(f"evaluation.{key}: name one or several different values, not {list(given)}")
    for factor in pool_factors:
        if not isinstance(factor, int) or isinstance(factor, bool) or factor < 1:
            raise InputError(
                f"evaluation.pool_factor={factor}: must be a whole number of at least 1 (no pooling)"
            )
    if list(storages) != ["float32"] and not set(modes) & set(STORED):
        raise InputError(
            f"evaluation.storage={storages[0]}: has no effect, {modes[0]} keeps no token embeddings"
        )
    found = [
        Variant(mode, storage, factor)
        for factor in pool_factors
        for storage in storages
        for mode in modes
        if mode in STORED
    ]
    found += [Variant(mode, None, factor) for factor in pool_factors for mode in modes if mode not in STORED]
    return tuple(sorted(found, key=lambda v: (v.pool_factor, modes.index(v.mode))))
