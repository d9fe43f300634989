"""What a run leaves on disk and in W&B, and how it is read back: records, rankings, tables. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colbert_lab.results.records import Record


def load(source: str | Path, *, name: str | None = None, run_id: str | None = None) -> list[Record]:
    """Read every record of ``outputs``, of W&B's offline files, or of W&B's server (``wandb:ENTITY/PROJECT``).

    See :func:`colbert_lab.results.read_back.load_records`.
    """
    from colbert_lab.results.read_back import load_records

    return load_records(source, name=name, run_id=run_id)
