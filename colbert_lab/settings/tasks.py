"""Settings of single tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.phase import SideSettings


@dataclass
class CompareSettings:
    """See :func:`colbert_lab.results.compare.compare_runs`."""

    baseline: str | None = MISSING
    measures: list[str] | None = MISSING
    splits: list[str] | None = MISSING
    systems: list[str] = MISSING
    published: list[str] = MISSING
    allow_different: bool = MISSING
    output: str | None = MISSING


@dataclass
class ScoreSettings:
    """See ``conf/score``."""

    teacher: Any = None
    files: list[str] = MISSING
    combine: str = MISSING
    missing: str = MISSING
    candidates: str = MISSING
    retrievers: Any = MISSING
    top: int = MISSING
    random: int = MISSING
    positives: bool = MISSING
    part: int = MISSING


@dataclass
class MineFilterSettings:
    """See :class:`colbert_lab.teachers.positive_aware.PositiveAware`."""

    teacher: Any = None
    max_score: float | None = MISSING
    ratio: float | None = MISSING
    margin: float | None = MISSING


@dataclass
class MineSettings:
    """See :class:`colbert_lab.teachers.mining.Mining` and :class:`colbert_lab.teachers.mined.Finishing`."""

    retrievers: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, float] | None = MISSING
    negatives: int = MISSING
    ranks: list[int] = MISSING
    sample: str = MISSING
    filter: MineFilterSettings = field(default_factory=MineFilterSettings)
    short: str = MISSING
    output: str = MISSING
    part: int = MISSING


@dataclass
class AuditSettings:
    """See ``conf/audit``."""

    rows: int | None = MISSING
    documents: int | None = MISSING
    ngram: int = MISSING
    near: float = MISSING
    splits: str = MISSING
    teacher: SideSettings = field(default_factory=SideSettings)


@dataclass
class ExplainSettings:
    """See ``conf/explain``."""

    top: int = MISSING
    heatmap: int = MISSING


@dataclass
class PushSettings:
    """See ``conf/push``."""

    license: str | None = MISSING
    license_name: str | None = MISSING
    license_link: str | None = MISSING
    language: Any = MISSING
    base_model: str | None = MISSING
    datasets: list[str] | None = MISSING
    private: bool = MISSING
    replace: bool = MISSING
    dry_run: bool = MISSING


@dataclass
class LedgerSettings:
    """See :class:`colbert_lab.results.ledger_query.Query`, and ``conf/ledger``; a string stands for a list of one."""

    name: Any = MISSING
    status: Any = MISSING
    where: Any = MISSING
    since: str | None = MISSING
    commit: str | None = MISSING
    sort: Any = MISSING
    limit: int | None = MISSING
    headline: str | None = MISSING
    columns: Any = MISSING


@dataclass
class PlanSettings:
    """See ``conf/plan``."""

    steps: int = MISSING
    tokens: int = MISSING
    batches: int = MISSING
    texts: int = MISSING
    encode: int = MISSING
    queries: int = MISSING
    memory: float | None = MISSING


@dataclass
class Float32ToleranceSettings:
    """See ``conf/certify``."""

    embeddings: float = MISSING
    scores: float = MISSING
    loss: float = MISSING
    gradient: float = MISSING
    cosine: float = MISSING


@dataclass
class PrecisionToleranceSettings:
    """See ``conf/certify``."""

    worst_token: float = MISSING
    mean_token: float = MISSING
    scores: float = MISSING
    order: float = MISSING
    loss: float = MISSING
    gradient: float = MISSING
    cosine: float = MISSING


@dataclass
class CertifyToleranceSettings:
    """See ``conf/certify``."""

    float32: Float32ToleranceSettings = field(default_factory=Float32ToleranceSettings)
    precision: PrecisionToleranceSettings = field(default_factory=PrecisionToleranceSettings)


@dataclass
class CertifySettings:
    """See ``conf/certify``."""

    checks: list[str] = MISSING
    micro_batches: int = MISSING
    queries: int = MISSING
    documents: int = MISSING
    tolerance: CertifyToleranceSettings = field(default_factory=CertifyToleranceSettings)
