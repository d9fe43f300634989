"""Settings of the student: ``student``, ``head`` and ``prompts``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass
class HeadSettings:
    """See :func:`colbert_lab.student.heads.head_shapes`."""

    depth: int = MISSING
    width: float = MISSING
    activation: str = MISSING
    residual: bool = MISSING
    gated: bool = MISSING


@dataclass
class StudentSettings:
    """See :func:`colbert_lab.student.student.build_student`."""

    backbone: str = MISSING
    architecture: Any = None
    layers: int | None = None
    checkpoint: str | None = MISSING
    trust_remote_code: bool = MISSING
    output: str | None = MISSING
    pooling: str = MISSING
    dim: int | None = MISSING
    bias: bool = MISSING
    widen: int | None = MISSING
    head: HeadSettings = field(default_factory=HeadSettings)
    dropout: float | None = MISSING
    attention: str = MISSING
    query_length: int = MISSING
    document_length: int = MISSING
    query_marker: str | None = MISSING
    document_marker: str | None = MISSING
    expansion: str = MISSING
    skiplist: Any = MISSING


@dataclass
class PromptSettings:
    """See :class:`colbert_lab.tokens.tokenizer.TokenRules`."""

    query: str | None = MISSING
    document: str | None = MISSING
    extend_length: bool | None = MISSING
