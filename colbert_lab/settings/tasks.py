"""Settings of single tasks, and of a search: ``hydra.sweeper`` with ``hydra/sweeper=optuna``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.allowed import number, one_of, whole
from colbert_lab.settings.checks import TARGET, check_values
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.settings.roles import any_text

NO_PRUNER = "NopPruner"


@dataclass(frozen=True)
class CompareSettings:
    """See :func:`colbert_lab.analysis.compare.compare_runs`."""

    baseline: str | None = MISSING
    measures: list[str] | None = MISSING
    splits: list[str] | None = MISSING
    systems: list[str] = MISSING
    published: list[str] = MISSING
    allow_different: bool = MISSING
    output: str | None = MISSING


@dataclass(frozen=True)
class ScoreSettings:
    """See ``conf/score``."""

    teacher: Any = None
    files: list[str] = MISSING
    combine: str = one_of("zscore", "rank")
    missing: str = one_of("lowest", "drop")
    candidates: str = one_of("auto", "source", "retrieve")
    retrievers: Any = MISSING
    top: int = whole(1)
    random: int = whole(0)
    positives: bool = MISSING
    part: int = whole(1)


@dataclass(frozen=True)
class MineFilterSettings:
    """See :class:`colbert_lab.sources.choosing.PositiveAware`."""

    teacher: Any = None
    max_score: float | None = number()
    ratio: float | None = number(above=0)
    margin: float | None = number()


@dataclass(frozen=True)
class MineSettings:
    """See :class:`colbert_lab.sources.mining.Mining` and :class:`colbert_lab.sources.mined.Finishing`."""

    retrievers: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, float] | None = number(0, 1)
    negatives: int = whole(1)
    ranks: list[int] = whole(1)
    sample: str = one_of("top", "random")
    filter: MineFilterSettings = field(default_factory=MineFilterSettings)
    short: str = one_of("keep", "drop", "error")
    output: str = one_of("triples", "lists")
    part: int = whole(1)


@dataclass(frozen=True)
class AuditedTeacherSettings:
    """How the audit makes a distribution of a teacher's scores: :class:`colbert_lab.training.objectives.term.Side`."""

    normalisation: str = one_of("none", "minmax", "zscore")
    temperature: float = number(LEAST_TEMPERATURE)


@dataclass(frozen=True)
class AuditSettings:
    """What is looked at, see ``conf/audit``.

    Attributes:
        rows: of each source whose texts are tokenised; None for all.
        documents: of each evaluation corpus that are looked for; None for all.
        ngram: words of a run.
        near: share of runs from which a text counts as found.
        splits: whose texts are compared with the training text.
        teacher: whose scores are looked at where there is no schedule.
    """

    rows: int | None = whole(1)
    documents: int | None = whole(1)
    ngram: int = whole(1)
    near: float = number(above=0, high=1)
    splits: str = one_of("auto", "evaluation", "data")
    teacher: AuditedTeacherSettings = field(default_factory=AuditedTeacherSettings)


@dataclass(frozen=True)
class ExplainSettings:
    """See ``conf/explain``."""

    top: int = whole(1)
    heatmap: int = whole(0)


@dataclass(frozen=True)
class PushSettings:
    """See ``conf/push``."""

    license: str | None = MISSING
    license_name: str | None = MISSING
    license_link: str | None = MISSING
    language: list[str] | None = MISSING
    base_model: str | None = MISSING
    datasets: list[str] | None = MISSING
    private: bool = MISSING
    replace: bool = MISSING
    dry_run: bool = MISSING


@dataclass(frozen=True)
class LedgerSettings:
    """See :class:`colbert_lab.analysis.ledger.query.Query`, and ``conf/ledger``."""

    name: list[str] | None = MISSING
    status: list[str] | None = MISSING
    where: list[str] | None = any_text()
    since: str | None = MISSING
    commit: str | None = any_text()
    sort: list[str] | None = MISSING
    limit: int | None = whole(1)
    headline: str | None = MISSING
    columns: list[str] | None = MISSING


@dataclass(frozen=True)
class PlanSettings:
    """How much is measured, see ``conf/plan``."""

    steps: int = whole(2)
    tokens: int = whole(1)
    batches: int = whole(1)
    texts: int = whole(1)
    encode: int = whole(1)
    queries: int = whole(1)
    memory: float | None = number(above=0)


@dataclass(frozen=True)
class Float32ToleranceSettings:
    """See ``conf/certify``."""

    embeddings: float = number(above=0)
    scores: float = number(above=0)
    loss: float = number(above=0)
    gradient: float = number(above=0)
    cosine: float = number(above=0)


@dataclass(frozen=True)
class PrecisionToleranceSettings:
    """See ``conf/certify``."""

    worst_token: float = number(above=0)
    mean_token: float = number(above=0)
    scores: float = number(above=0)
    order: float = number(above=0)
    loss: float = number(above=0)
    gradient: float = number(above=0)
    cosine: float = number(above=0)


@dataclass(frozen=True)
class CertifyToleranceSettings:
    """See ``conf/certify``."""

    float32: Float32ToleranceSettings = field(default_factory=Float32ToleranceSettings)
    precision: PrecisionToleranceSettings = field(default_factory=PrecisionToleranceSettings)


@dataclass(frozen=True)
class CertifySettings:
    """See ``conf/certify``."""

    checks: list[str] = MISSING
    micro_batches: int = whole(1)
    queries: int = whole(2)
    documents: int = whole(2)
    tolerance: CertifyToleranceSettings = field(default_factory=CertifyToleranceSettings)


@dataclass(frozen=True)
class SearchSettings:
    """See ``conf/hydra/sweeper/optuna.yaml``."""

    params: dict[str, Any] | None
    n_trials: int = whole(1)
    n_jobs: int = whole(1)
    direction: str = one_of("maximize", "minimize")
    seed: int = whole(0)
    sampler: Any = None
    pruner: Any = None

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped before their end."""
        return not str(self.pruner[TARGET]).endswith(NO_PRUNER)


@dataclass(frozen=True)
class _Hydra:
    sweeper: SearchSettings


@dataclass(frozen=True)
class _Whole:
    hydra: _Hydra = field(default_factory=lambda: _Hydra(SearchSettings(None)))


def search_settings_of(values: Mapping[str, Any]) -> SearchSettings:
    """Settings of a search from plain values, checked.

    Args:
        values: ``hydra.sweeper``; what it has beside the settings is of Hydra.

    Raises:
        InputError: a wrong value, or a sampler or pruner that is not there or has no such argument.
    """
    own = {each.name: values[each.name] for each in fields(SearchSettings)}
    check_values({"hydra": {"sweeper": own}}, _Whole)
    return SearchSettings(**own)


@dataclass(frozen=True)
class ReportSettings:
    """See ``conf/report``."""

    live: bool = MISSING
    every: int = whole(1)
    queries: int = whole(0)
