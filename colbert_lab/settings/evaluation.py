"""Settings of ``evaluation``: splits, measures, ways to search."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass
class DevCutSettings:
    """Size of the dev split that is evaluated while training."""

    documents: int | None = MISSING
    queries: int | None = MISSING


@dataclass
class TableSettings:
    """See :class:`colbert_lab.text.hub_tables.Table`."""

    path: str = "{path}"
    config: str | None = None
    split: str = "train"
    file: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass
class LayoutSettings:
    """See :class:`colbert_lab.text.hub_splits.Layout`, and ``conf/layout``."""

    corpus: TableSettings | None = None
    queries: TableSettings | None = None
    qrels: TableSettings | None = None
    rows: TableSettings | None = None
    skip_empty: bool = False


@dataclass
class ProtocolSettings:
    """What a split asks for, see ``SplitRequest`` in ``text/split_request.py``; null leaves it to the student."""

    query_length: int | None = None
    document_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    domain: str | None = None
    exclude_same_id: bool = False


@dataclass
class SplitSettings:
    """One entry of ``evaluation.splits``, see :class:`colbert_lab.text.split_request.SplitRequest`."""

    type: str = MISSING
    path: str | None = None
    split: str = MISSING
    queries: int | None = None
    layout: LayoutSettings | None = None
    name: str | None = None
    role: str | None = None
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)


@dataclass
class RerankSettings:
    """What the mode ``rerank`` reranks: a retriever's documents or a TREC run file, its first ``depth``."""

    depth: int = MISSING
    first_stage: Any = MISSING
    run: str | None = MISSING


@dataclass
class MuveraSettings:
    """See :class:`colbert_lab.retrieval.variants.Muvera`."""

    repetitions: int = MISSING
    bits: int = MISSING
    inner_dim: int | None = MISSING
    final_dim: int | None = MISSING
    fill_empty: bool = MISSING
    seed: int = MISSING
    approximate: bool = MISSING
    rerank: int = MISSING


@dataclass
class PlaidSettings:
    """See :class:`colbert_lab.retrieval.variants.Plaid`."""

    bits: int = MISSING
    n_probe: int = MISSING
    n_full_scores: int = MISSING
    seed: int = MISSING


@dataclass
class EvaluationSettings:
    """See ``conf/evaluation``."""

    splits: dict[str, SplitSettings | None] = field(default_factory=dict)
    every: Any = None
    means: dict[str, list[str] | None] = field(default_factory=dict)
    unknown_documents: str = "error"
    path: str | None = None
    split: str | None = None
    full: bool = False
    documents: int | None = None
    headline: str | None = MISSING
    measures: list[str] = MISSING
    depth: int = MISSING
    baselines: Any = MISSING
    mode: Any = MISSING
    storage: Any = MISSING
    pool_factor: Any = MISSING
    pool_protected: int = MISSING
    rerank: RerankSettings = field(default_factory=RerankSettings)
    muvera: MuveraSettings = field(default_factory=MuveraSettings)
    plaid: PlaidSettings = field(default_factory=PlaidSettings)
    memory: float = MISSING
    keep_embeddings: bool = MISSING
    during_training: DevCutSettings = field(default_factory=DevCutSettings)
    token_budget: int = MISSING
    precision: str = MISSING
