"""Settings of the config's groups: ``student``, ``head``, ``prompts``, ``phases``, ``trainer``.

OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from colbert_lab.base.errors import InputError
from colbert_lab.settings.allowed import LIKE, MOST, Allowed, filled, number, one_of, whole
from colbert_lab.settings.roles import HOW, READ, RESULT, TRAINED, Role, having, keys

MOST_DIMENSIONS = 65_536
IF_USED = TRAINED | Role.IF_ANY
ADAPTER = "adapter"
SAVED = ("merged", ADAPTER)
"""What is kept of a phase's adapters, ``student.lora.save``."""


@dataclass(frozen=True)
class HeadSettings:
    """See :func:`colbert_lab.model.colbert.head_shapes`; a head with a ``_target_`` has the settings of its class."""

    depth: int = whole(1, 64)
    width: float = number(above=0, high=64)
    activation: str = MISSING
    residual: bool = MISSING
    gated: bool = MISSING


@dataclass(frozen=True)
class LoraSettings:
    """See :func:`colbert_lab.training.lora.adapted`; ``adapter`` keeps the adapters too, beside the merged student."""

    rank: int = whole(1, MOST_DIMENSIONS)
    alpha: float = number(above=0, high=MOST)
    dropout: float = number(0, below=1)
    targets: list[str] = filled()
    save: str = having(TRAINED | Role.IF_ANY, one_of(*SAVED, default=SAVED[0]))


@dataclass(frozen=True)
class StudentSettings:
    """See :class:`colbert_lab.model.student.NewStudent`."""

    backbone: str = MISSING
    architecture: Any = None
    layers: int | None = whole(1, default=None)
    checkpoint: str | None = MISSING
    trust_remote_code: bool = MISSING
    output: str | None = one_of("multi", "single")
    pooling: str = one_of("mean", "cls")
    dim: int | None = whole(1, MOST_DIMENSIONS)
    bias: bool = MISSING
    widen: int | None = whole(1, MOST_DIMENSIONS)
    matryoshka: list[int] | None = having(IF_USED, whole(1, MOST_DIMENSIONS, default=None))
    head: Any = field(default_factory=HeadSettings, metadata={LIKE: HeadSettings})
    dropout: float | None = number(0, below=1)
    lora: LoraSettings | None = having(IF_USED, None)
    attention: str = having(TRAINED | Role.ROUNDING)
    query_length: int = having(READ, whole(1))
    document_length: int = having(READ, whole(1))
    query_marker: str | None = having(READ)
    document_marker: str | None = having(READ)
    new_markers: str = one_of("random", "mean")
    expansion: str = having(READ, one_of("none", "attended", "unattended"))
    expansion_min: int | None = having(READ | Role.IF_ANY, whole(1, default=None))
    skiplist: Any = having(READ)
    score: str = having(READ | Role.IF_ANY, one_of("maxsim", "mean_maxsim", default="maxsim"))

    @property
    def called(self) -> str:
        """What tables call it."""
        if self.checkpoint is None and self.architecture is not None:
            return str(self.architecture["model_type"])
        source = self.checkpoint or self.backbone
        return source.removeprefix("package:").removesuffix("/model").rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PromptSettings:
    """See :class:`colbert_lab.model.tokenizer.TokenRules`."""

    query: str | None = MISSING
    document: str | None = MISSING
    extend_length: bool | None = MISSING


PRECISIONS = ("auto", "32-true", "bf16-mixed", "bf16-true", "16-mixed")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
LEAST_TEMPERATURE = 1e-6
"""Scores of a few hundred tokens, divided by it, and their gradients are far from the limits of float32."""
MOST_PROCESSES = 1024
"""Of workers or threads on one machine: operating systems refuse many more, some in the middle of a run."""
PLACED = TRAINED | Role.ROUNDING | Role.LIGHTNING


@dataclass(frozen=True)
class LrScheduleSettings:
    """See :func:`colbert_lab.training.schedules.make_scheduler`."""

    name: str = one_of("linear", "cosine", "constant", "wsd")
    warmup: float = number(0, MOST)
    decay: float | None = having(IF_USED, number(above=0, high=1, default=None))


@dataclass(frozen=True)
class EarlyStoppingSettings:
    """When a phase ends early, see :class:`colbert_lab.training.evaluating.Selection`; a null patience is never."""

    measure: str = "ndcg@10"
    patience: int | None = whole(1, default=None)
    min_delta: float = number(0, 1, default=0.0)


@dataclass(frozen=True)
class TokenPoolingSettings:
    """Documents' tokens that are pooled before a step scores them, see :mod:`colbert_lab.model.token_pooling`."""

    factor: int = whole(1, default=1)
    protected: int = whole(0, default=1)


def check_length(phase: str, steps: int | None, epochs: float | None) -> None:
    """Whether one of two settings says how long a phase is.

    Args:
        phase: its name.
        steps: optimizer steps.
        epochs: passes over the data.

    Raises:
        InputError: both do, or neither.
    """
    key = f"phases.{phase}"
    if steps is None and epochs is None:
        raise InputError(f"{key}: steps and epochs are both null; set one of them")
    if steps is not None and epochs is not None:
        raise InputError(
            f"{key}: steps={steps} and epochs={epochs:g} are both set; add {key}.epochs=null for these steps, or "
            f"{key}.steps=null"
        )


def check_lengths(values: Mapping[str, Any]) -> None:
    """The same of all phases that a whole config trains, given as plain values."""
    for name in values["schedule"] if values["task"] == "train" else ():
        if (phase := values["phases"].get(name)) is not None:
            check_length(name, phase["steps"], phase["epochs"])


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
    freeze: list[str] = having(IF_USED, field(default_factory=list))
    head_only_steps: int = having(IF_USED, whole(0, default=0))
    ema: float | None = having(IF_USED, number(above=0, below=1, default=None))
    token_pooling: TokenPoolingSettings = having(IF_USED, field(default_factory=TokenPoolingSettings))
    lr_schedule: LrScheduleSettings = having(TRAINED, field(default_factory=LrScheduleSettings))
    gradient_clip: float | None = having(TRAINED, number(above=0))
    token_budget: Any = having(TRAINED, whole(1, words=("auto",)))
    recompute: Any = having(RESULT, one_of("auto", switch=True))
    evaluate_every: int | None = having(RESULT, whole(1))
    keep: str = having(IF_USED, one_of("last", "best", default="last"))
    early_stopping: EarlyStoppingSettings = having(IF_USED, field(default_factory=EarlyStoppingSettings))
    checkpoint_every: int = having(RESULT, whole(1))
    log_every: int = having(RESULT, whole(1))

    @property
    def chooses(self) -> str | None:
        """The setting by which values on dev decide the student, such as ``keep=best``; None where they do not."""
        if self.keep == "best":
            return "keep=best"
        patience = self.early_stopping.patience
        return None if patience is None else f"early_stopping.patience={patience}"


@dataclass(frozen=True)
class TrainerSettings:
    """Passed to Lightning's Trainer; ``precision=auto`` is bf16-mixed where the processor has it."""

    accelerator: str = having(PLACED, one_of(*ACCELERATORS))
    devices: Any = having(PLACED, whole(1, words=("auto", -1), several=Allowed(True, True, 0, MOST)))
    num_nodes: int = having(PLACED, whole(1))
    strategy: str = having(RESULT | Role.LIGHTNING, one_of("auto", "ddp", "fsdp"))
    precision: str = having(TRAINED | Role.LIGHTNING, one_of(*PRECISIONS))
    num_workers: Any = having(HOW, whole(0, MOST_PROCESSES, words=("auto",)))
    threads: int | None = having(TRAINED, whole(1, MOST_PROCESSES))
    deterministic: bool = having(TRAINED | Role.LIGHTNING)
    maxsim: str = having(TRAINED, one_of("torch", "kernels"))
    float32_matmul: str = having(
        IF_USED | Role.ROUNDING, one_of("highest", "high", "medium", default="highest")
    )
    compile: str | None = having(IF_USED, one_of("inductor", "aot_eager", "eager", default=None))
    lightning: dict[str, Any] = having(IF_USED, field(default_factory=dict))
    callbacks: dict[str, Any] = having(IF_USED, field(default_factory=dict))

    @property
    def arguments(self) -> dict[str, Any]:
        """What goes to Lightning's Trainer, and decides the processes that compute together."""
        return {key: getattr(self, key) for key in keys(TrainerSettings, has=Role.LIGHTNING)}
