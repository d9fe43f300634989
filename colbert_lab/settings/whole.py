"""The schema of the config: names and types. Values live in ``conf/``.

The composed config is merged into these dataclasses, so an unknown key or a value of the wrong type in any
file or override is an error that names the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.allowed import number, one_of, whole
from colbert_lab.settings.evaluation import EvaluationSettings
from colbert_lab.settings.groups import (
    PhaseSettings,
    PromptSettings,
    StudentSettings,
    TrainerSettings,
)
from colbert_lab.settings.roles import DEFAULT, READ, RESULT, TRAINED, WHERE, WHICH, Role, having, only_for
from colbert_lab.settings.tasks import (
    AuditSettings,
    CertifySettings,
    CompareSettings,
    ExplainSettings,
    LedgerSettings,
    MineSettings,
    PlanSettings,
    PushSettings,
    ReportSettings,
    ScoreSettings,
)

APART = ("from_", "to")
"""Settings of ``task=convert`` and others that are no part of a run's ``config.yaml``. The config's ``from`` cannot be
the name of a field."""


@dataclass(frozen=True)
class TrackingSettings:
    """See ``conf/tracking``."""

    mode: str = one_of("auto", "online", "offline", "off")
    project: str = MISSING
    entity: str | None = MISSING
    tags: list[str] = MISSING
    wait_seconds: float = number(0)
    loggers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """The whole config."""

    task: str = having(Role.RUN)
    name: str = having(WHICH)
    seed: int = having(WHICH, whole(0))
    output_dir: str = having(WHERE)
    cache_dir: str = having(WHERE)
    reuse: bool = having(WHICH)
    allow_flat_teacher: bool = having(RESULT)
    allow_contamination: bool = having(RESULT)
    drop_contamination: bool = having(RESULT)
    allow_prompt_mismatch: bool = having(RESULT)
    progress: bool = having(WHERE)
    schedule: list[str] = having(RESULT)
    phases: dict[str, PhaseSettings] = field(default_factory=dict)
    student: StudentSettings = having(TRAINED, field(default_factory=StudentSettings))
    prompts: PromptSettings = having(READ, field(default_factory=PromptSettings))
    data: Any = having(DEFAULT, None)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    tracking: TrackingSettings = having(WHERE, field(default_factory=TrackingSettings))
    runs: list[str] = only_for("compare", "report", "rankings")
    out: str | None = only_for(
        *(
            "score",
            "mine",
            "audit",
            "convert",
            "push",
            "explain",
            "runs",
            "plan",
            "certify",
            "report",
            "rankings",
        )
    )
    from_: str | None = only_for("convert", "push", name="from")
    to: str | None = only_for("convert", "push", "runs")
    repo: str | None = only_for("push")
    query: str | None = only_for("explain", text=True)
    document: str | None = only_for("explain", text=True)
    study: str | None = only_for("report")
    of: list[str] | None = only_for("list")
    compare: CompareSettings = only_for("compare", of=field(default_factory=CompareSettings))
    score: ScoreSettings = only_for("score", of=field(default_factory=ScoreSettings))
    mine: MineSettings = only_for("mine", of=field(default_factory=MineSettings))
    audit: AuditSettings = only_for("audit", of=field(default_factory=AuditSettings))
    explain: ExplainSettings = only_for("explain", of=field(default_factory=ExplainSettings))
    push: PushSettings = only_for("push", of=field(default_factory=PushSettings))
    ledger: LedgerSettings = only_for("runs", of=field(default_factory=LedgerSettings))
    plan: PlanSettings = only_for("plan", of=field(default_factory=PlanSettings))
    certify: CertifySettings = only_for("certify", of=field(default_factory=CertifySettings))
    report: ReportSettings = only_for("report", of=field(default_factory=ReportSettings))

    @property
    def outputs(self) -> Path:
        """The folder ``output_dir``."""
        return Path(self.output_dir).expanduser()

    @property
    def cache(self) -> Path:
        """The folder ``cache_dir``."""
        return Path(self.cache_dir).expanduser()

    @property
    def trained(self) -> Sequence[str]:
        """The phases that are trained, in order."""
        return self.schedule if self.task == "train" else ()
