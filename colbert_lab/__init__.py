"""colbert_lab: run, compare and trust training ablations of ColBERT models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from colbert_lab.api import Model

__version__ = "0.2.0"


def load(
    path: str | Path, *, device: str | None = None, precision: str = "auto", dim: int | None = None
) -> Model:
    """Load a saved student, see :func:`colbert_lab.api.load`."""
    from colbert_lab import api  # torch and transformers take seconds to import

    return api.load(path, device=device, precision=precision, dim=dim)
