"""A Lightning logger that appends to ``metrics.csv`` and survives resuming."""

from __future__ import annotations

import csv
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers.logger import Logger

from colbert_lab.atomic import write_text

HEADER = ("step", "time", "name", "value")


class MetricsFile(Logger):
    """One row a value: step, Unix time, name, value.

    Lightning's own CSV logger deletes the file when a phase is resumed; this one goes on after the rows up to
    the resumed step.

    Args:
        path: the CSV file.
        step: step the phase resumes from (0 starts a new file); later rows will be computed again and are dropped.
    """

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        self.path = path
        rows = [row for row in read_metrics(path) if int(row["step"]) <= step] if step else []
        lines = [",".join(HEADER), *(",".join(row[key] for key in HEADER) for row in rows)]
        write_text(path, "\n".join(lines) + "\n")

    @property
    def name(self) -> str:
        """Logger name, as Lightning wants it."""
        return "metrics_file"

    @property
    def version(self) -> str:
        """Logger version, as Lightning wants it."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> Path:
        """The file."""
        return self.path

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row a value."""
        now = f"{time.time():.3f}"
        with self.path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows((step, now, name, repr(float(value))) for name, value in sorted(metrics.items()))


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file; a last row cut by a crash is left out."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]
