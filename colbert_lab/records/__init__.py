"""What a run leaves on disk and how it is read back: records, rankings, identity, lineage. Imports no torch.

Comes in: what was measured, and on what. Goes out: files of a run directory, and the same as data.
May import: ``base``, ``settings``, ``text``, ``evaluation``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colbert_lab.records.records import Record


def load(source: str | Path, *, name: str | None = None, run_id: str | None = None) -> list[Record]:
    """Read every record of ``outputs``, of W&B's offline files, or of W&B's server (``wandb:ENTITY/PROJECT``).

    See :func:`colbert_lab.records.read_back.load_records`.
    """
    from colbert_lab.records.read_back import load_records

    return load_records(source, name=name, run_id=run_id)
