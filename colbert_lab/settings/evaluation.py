"""Settings of the config's group ``evaluation``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.allowed import filled, like, number, one_of, whole
from colbert_lab.settings.groups import MOST_DIMENSIONS, PRECISIONS
from colbert_lab.settings.roles import DEFAULT, HOW, MEASURED, RESULT, Role, having

MODES = ("exact", "rerank", "muvera", "muvera_rerank", "plaid", "xtr")
STORAGES = ("float32", "float16", "int8", "residual1", "residual2", "residual4")
LEAST_MEMORY = 0.25
"""GiB. With less, shards' buffers come from glibc's heap, which keeps them: 1 GB for 24,000 documents was measured."""


@dataclass(frozen=True)
class DevCutSettings:
    """Size of the dev split that is evaluated while training."""

    documents: int | None = whole(1)
    queries: int | None = whole(1)


@dataclass(frozen=True)
class TableSettings:
    """See :class:`colbert_lab.text.collections.hub_splits.Table`."""

    path: str = "{path}"
    config: str | None = None
    split: str = "train"
    file: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LayoutSettings:
    """See :class:`colbert_lab.text.collections.hub_splits.Layout`, and ``conf/layout``."""

    corpus: TableSettings | None = None
    queries: TableSettings | None = None
    qrels: TableSettings | None = None
    rows: TableSettings | None = None
    skip_empty: bool = False


@dataclass(frozen=True)
class ProtocolSettings:
    """What a split asks for; null leaves it to the student.

    Attributes:
        query_length: tokens of a query.
        document_length: tokens of a document.
        query_prompt: put before every query; ``{domain}`` stands for the domain.
        document_prompt: put before every document.
        domain: what ``{domain}`` stands for.
        exclude_same_id: take the document with the query's own id out of its ranking.
    """

    query_length: int | None = whole(1, default=None)
    document_length: int | None = whole(1, default=None)
    query_prompt: str | None = None
    document_prompt: str | None = None
    domain: str | None = None
    exclude_same_id: bool = False


@dataclass(frozen=True)
class SplitSettings:
    """One entry of ``evaluation.splits``, see :class:`colbert_lab.text.collections.split_request.SplitRequest`."""

    type: str = MISSING
    path: str | None = None
    split: str = MISSING
    queries: int | None = whole(1, default=None)
    layout: LayoutSettings | None = None
    name: str | None = None
    role: str | None = None
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)


@dataclass(frozen=True)
class RerankSettings:
    """What the mode ``rerank`` reranks: a retriever's documents or a TREC run file, its first ``depth``."""

    depth: int = whole(1)
    first_stage: Any = MISSING
    run: str | None = MISSING


@dataclass(frozen=True)
class MuveraSettings:
    """Settings of the modes ``muvera`` and ``muvera_rerank``: see :func:`colbert_lab.search.mode.encoding_of`.

    Attributes:
        approximate: search an HNSW graph instead of all vectors.
        rerank: documents that ``muvera_rerank`` scores with MaxSim.
    """

    repetitions: int = whole(1, default=20)
    bits: int = whole(0, default=5)
    inner_dim: int | None = whole(1, default=16)
    final_dim: int | None = whole(1, default=None)
    fill_empty: bool = True
    seed: int = whole(0, default=42)
    approximate: bool = False
    rerank: int = whole(1, default=100)


@dataclass(frozen=True)
class PlaidSettings:
    """Settings of the mode ``plaid``, see :class:`colbert_lab.search.plaid.PlaidIndex`."""

    bits: int = one_of(1, 2, 4, 8, default=4)
    n_probe: int = whole(1, default=8)
    n_full_scores: int = whole(1, default=4096)
    seed: int = whole(0, default=42)


@dataclass(frozen=True)
class XtrSettings:
    """Settings of the mode ``xtr``, see :func:`colbert_lab.search.xtr.search_retrieved`.

    Attributes:
        k: document tokens that a query token retrieves.
    """

    k: int = whole(1, default=1000)


@dataclass(frozen=True)
class EvaluationSettings:
    """See ``conf/evaluation``."""

    splits: dict[str, SplitSettings | None] = having(MEASURED, field(default_factory=dict))
    every: Any = having(DEFAULT, like(SplitSettings))
    measured: list[str] = having(RESULT | Role.IF_ANY, field(default_factory=list))
    after: list[str] = having(RESULT | Role.IF_ANY, field(default_factory=list))
    means: dict[str, list[str] | None] = having(RESULT, field(default_factory=dict))
    unknown_documents: str = having(RESULT, one_of("error", "drop", default="error"))
    path: str | None = having(DEFAULT, None)
    split: str | None = having(DEFAULT, None)
    full: bool = having(RESULT, False)
    documents: int | None = having(RESULT, whole(1, default=None))
    headline: str | None = having(RESULT)
    measures: list[str] = having(RESULT, filled())
    own_measures: dict[str, Any] = having(MEASURED | Role.IF_ANY, field(default_factory=dict))
    depth: int = having(MEASURED, whole(1))
    baselines: Any = having(RESULT)
    without_teacher: bool = having(RESULT | Role.IF_ANY, False)
    mode: Any = having(MEASURED, one_of(*MODES, named="evaluation.own_modes", several=True))
    own_modes: dict[str, Any] = having(MEASURED | Role.IF_ANY, field(default_factory=dict))
    storage: Any = having(MEASURED, one_of(*STORAGES, several=True))
    pool_factor: Any = having(MEASURED, whole(1, several=True))
    pool_protected: int = having(MEASURED, whole(0))
    dim: Any = having(MEASURED | Role.IF_ANY, whole(1, MOST_DIMENSIONS, several=True, default=None))
    rerank: RerankSettings = having(MEASURED, field(default_factory=RerankSettings))
    muvera: MuveraSettings = having(MEASURED, field(default_factory=MuveraSettings))
    plaid: PlaidSettings = having(MEASURED, field(default_factory=PlaidSettings))
    xtr: XtrSettings = having(MEASURED | Role.IF_ANY, field(default_factory=XtrSettings))
    memory: float = having(HOW | Role.ROUNDING, number(LEAST_MEMORY))
    keep_embeddings: bool = having(HOW | Role.ROUNDING)
    during_training: DevCutSettings = having(RESULT, field(default_factory=DevCutSettings))
    token_budget: Any = having(RESULT | Role.ROUNDING, whole(1, words=("auto",)))
    precision: str = having(MEASURED, one_of(*PRECISIONS))
