"""The schema of the config: names and types. Values live in ``conf/``.

The composed config is merged into these dataclasses, so an unknown key or a value of the wrong type in any
file or override is an error that names the key.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.errors import InputError
from colbert_lab.settings.evaluation import EvaluationSettings
from colbert_lab.settings.phase import PhaseSettings, TrainerSettings
from colbert_lab.settings.student import PromptSettings, StudentSettings
from colbert_lab.settings.tasks import (
    AuditSettings,
    CertifySettings,
    CompareSettings,
    ExplainSettings,
    LedgerSettings,
    MineSettings,
    PlanSettings,
    PushSettings,
    ScoreSettings,
)


@dataclass
class TrackingSettings:
    """See ``conf/tracking``."""

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    tags: list[str] = MISSING
    wait_seconds: float = MISSING


@dataclass
class Settings:
    """The whole config."""

    task: str = MISSING
    name: str = MISSING
    seed: int = MISSING
    output_dir: str = MISSING
    cache_dir: str = MISSING
    reuse: bool = MISSING
    allow_flat_teacher: bool = MISSING
    allow_contamination: bool = MISSING
    drop_contamination: bool = MISSING
    allow_prompt_mismatch: bool = MISSING
    progress: bool = MISSING
    schedule: list[str] = MISSING
    phases: dict[str, PhaseSettings] = field(default_factory=dict)
    student: StudentSettings = field(default_factory=StudentSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    data: Any = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    runs: list[str] = MISSING
    out: str | None = MISSING
    repo: str | None = MISSING
    query: str | None = MISSING
    document: str | None = MISSING
    study: str | None = MISSING
    compare: CompareSettings = field(default_factory=CompareSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    mine: MineSettings = field(default_factory=MineSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    explain: ExplainSettings = field(default_factory=ExplainSettings)
    push: PushSettings = field(default_factory=PushSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    plan: PlanSettings = field(default_factory=PlanSettings)
    certify: CertifySettings = field(default_factory=CertifySettings)


def checked(cfg: DictConfig) -> DictConfig:
    """The config with every key and type checked, and what one place says for several filled in.

    That is a phase's missing ``data`` and ``prompts``, and ``evaluation.every`` below each entry of
    ``evaluation.splits``; an entry that is null is left out.

    Raises:
        InputError: an unknown key, a value of the wrong type, or a mandatory value that is missing.
    """
    try:
        config = OmegaConf.merge(OmegaConf.structured(Settings), _with_every(cfg))
        for phase in config.phases.values():
            if phase.data is None and config.data is not None:
                phase.data = OmegaConf.to_container(config.data, resolve=False)
            if phase.prompts is None:
                phase.prompts = config.prompts
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"no value for {', '.join(missing)}: set it, for example {missing[0]}=...")
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "config"
        raise InputError(f"{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, DictConfig)
    return config


def _with_every(cfg: DictConfig) -> DictConfig:
    """The config with ``evaluation.every`` merged below each entry of ``evaluation.splits``, as the schema has it."""
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    for key in ("from", "to"):  # of task=convert and push; "from" cannot be a field's name
        cfg.pop(key, None)
    evaluation = cfg.get("evaluation")
    if not evaluation or not evaluation.get("splits"):
        return cfg
    for key in list(evaluation.splits):
        if evaluation.splits[key] is not None and evaluation.get("every"):
            evaluation.splits[key] = OmegaConf.merge(evaluation.every, evaluation.splits[key])
    return cfg
