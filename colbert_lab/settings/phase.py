"""Settings of training: one slot of ``phases``, and ``trainer``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.student import PromptSettings

# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass
class SideSettings:
    """See :class:`colbert_lab.objectives.distillation.Side`."""

    normalisation: str = MISSING
    temperature: float = MISSING


@dataclass
class DistillationSettings:
    """See :class:`colbert_lab.objectives.distillation.Distillation`."""

    weight: float = MISSING
    direction: str = MISSING
    teacher: SideSettings = field(default_factory=SideSettings)
    student: SideSettings = field(default_factory=SideSettings)


@dataclass
class ContrastiveSettings:
    """See :class:`colbert_lab.objectives.contrastive.Contrastive`."""

    weight: float = MISSING
    temperature: float = MISSING
    learnable: bool = MISSING
    false_negative_ratio: float | None = MISSING
    own_negatives: bool = MISSING
    batch_negatives: bool = MISSING


@dataclass
class ObjectiveSettings:
    """See :class:`colbert_lab.objectives.mix.Mix`."""

    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    contrastive: ContrastiveSettings = field(default_factory=ContrastiveSettings)


@dataclass
class LrScheduleSettings:
    """See :func:`colbert_lab.training.optim.make_scheduler`."""

    name: str = MISSING
    warmup: float = MISSING


@dataclass
class PhaseSettings:
    """One named slot of ``phases``; see ``conf/phase``."""

    data: Any = None
    prompts: PromptSettings | None = None
    epochs: float | None = MISSING
    steps: int | None = MISSING
    batch_size: int = MISSING
    accumulation: int = MISSING
    n_way: int | None = MISSING
    query_length: int | None = MISSING
    document_length: int | None = MISSING
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: Any = MISSING
    head_lr: float | None = MISSING
    layer_decay: float | None = MISSING
    lr_schedule: LrScheduleSettings = field(default_factory=LrScheduleSettings)
    gradient_clip: float | None = MISSING
    token_budget: int = MISSING
    recompute: Any = MISSING
    evaluate_every: int | None = MISSING
    checkpoint_every: int = MISSING
    log_every: int = MISSING


@dataclass
class TrainerSettings:
    """Passed to Lightning's Trainer; ``precision=auto`` is bf16-mixed where the processor has it."""

    accelerator: str = MISSING
    devices: Any = MISSING
    num_nodes: int = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    num_workers: int = MISSING
    threads: int | None = MISSING
    deterministic: bool = MISSING
    maxsim: str = MISSING
