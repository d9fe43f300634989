"""Settings of the student: ``student``, ``head`` and ``prompts``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from colbert_lab.settings.allowed import LIKE, number, one_of, whole
from colbert_lab.settings.roles import READ, TRAINED, Role, having

MOST_DIMENSIONS = 65_536
# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass(frozen=True)
class HeadSettings:
    """See :func:`colbert_lab.model.heads.head_shapes`; a head with a ``_target_`` has the settings of its class."""

    depth: int = whole(1, 64)
    width: float = number(above=0, high=64)
    activation: str = MISSING
    residual: bool = MISSING
    gated: bool = MISSING


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
    head: Any = field(default_factory=HeadSettings, metadata={LIKE: HeadSettings})
    dropout: float | None = number(0, below=1)
    attention: str = having(TRAINED | Role.ROUNDING)
    query_length: int = having(READ, whole(1))
    document_length: int = having(READ, whole(1))
    query_marker: str | None = having(READ)
    document_marker: str | None = having(READ)
    new_markers: str = one_of("random", "mean")
    expansion: str = having(READ, one_of("none", "attended", "unattended"))
    skiplist: Any = having(READ)

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
