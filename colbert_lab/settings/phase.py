"""Settings of training: one slot of ``phases``, and ``trainer``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from colbert_lab.settings.allowed import MOST, Allowed, number, one_of, whole
from colbert_lab.settings.roles import HOW, RESULT, TRAINED, Role, having, keys
from colbert_lab.settings.student import PromptSettings

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
LEAST_TEMPERATURE = 1e-6
"""Scores of a few hundred tokens, divided by it, and their gradients are far from the limits of float32."""
MOST_PROCESSES = 1024
"""Of workers or threads on one machine: operating systems refuse many more, some in the middle of a run."""
PLACED = TRAINED | Role.ROUNDING | Role.LIGHTNING
# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass(frozen=True)
class LrScheduleSettings:
    """See :func:`colbert_lab.training.optim.make_scheduler`."""

    name: str = one_of("linear", "cosine", "constant")
    warmup: float = number(0, MOST)


@dataclass(frozen=True)
class PhaseSettings:
    """One named slot of ``phases``; see ``conf/phase``."""

    data: Any = having(RESULT, None)
    prompts: PromptSettings | None = having(TRAINED, None)
    epochs: float | None = having(TRAINED, number(above=0, high=1_000_000))
    steps: int | None = having(TRAINED, whole(1))
    batch_size: int = having(TRAINED, whole(1))
    accumulation: int = having(TRAINED, whole(1))
    n_way: int | None = having(TRAINED, whole(1))
    query_length: int | None = having(TRAINED, whole(1))
    document_length: int | None = having(TRAINED, whole(1))
    objective: dict[str, Any] = having(TRAINED, field(default_factory=dict))
    optimizer: Any = having(TRAINED)
    head_lr: float | None = having(TRAINED, number(above=0))
    layer_decay: float | None = having(TRAINED, number(above=0, below=1))
    lr_schedule: LrScheduleSettings = having(TRAINED, field(default_factory=LrScheduleSettings))
    gradient_clip: float | None = having(TRAINED, number(above=0))
    token_budget: int = having(TRAINED, whole(1))
    recompute: Any = having(RESULT, one_of("auto", switch=True))
    evaluate_every: int | None = having(RESULT, whole(1))
    checkpoint_every: int = having(RESULT, whole(1))
    log_every: int = having(RESULT, whole(1))


@dataclass(frozen=True)
class TrainerSettings:
    """Passed to Lightning's Trainer; ``precision=auto`` is bf16-mixed where the processor has it."""

    accelerator: str = having(PLACED, one_of(*ACCELERATORS))
    devices: Any = having(
        PLACED,
        whole(1, words=("auto", -1), several=Allowed(True, True, 0, MOST)),
    )
    num_nodes: int = having(PLACED, whole(1))
    strategy: str = having(RESULT | Role.LIGHTNING, one_of("auto", "ddp"))
    precision: str = having(TRAINED | Role.LIGHTNING, one_of(*PRECISIONS))
    num_workers: int = having(HOW, whole(0, MOST_PROCESSES))
    threads: int | None = having(TRAINED, whole(1, MOST_PROCESSES))
    deterministic: bool = having(TRAINED | Role.LIGHTNING)
    maxsim: str = having(TRAINED, one_of("torch", "kernels"))

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes to Lightning's Trainer, and decides the processes that compute together."""
        return {key: getattr(self, key) for key in keys(TrainerSettings, has=Role.LIGHTNING)}
