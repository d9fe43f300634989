"""What a user of colbert_lab types to have an answer: a sweep and the comparison of its runs, or an evaluation.

    python colbert_lab_verdict.py sweep TEXT BACKBONE
    python colbert_lab_verdict.py measure COLLECTION STUDENT

Caches and runs are in the current folder: nothing but text is there before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

QUIET = ["tracking=off", "progress=false", "cache_dir=cache", "output_dir=outputs"]
ALONE = ["~evaluation.splits.dev", "evaluation.headline=null", "~evaluation.baselines.bm25"]
"""Nothing is measured but students, on one split."""


def typed(*given: str) -> None:
    """Run one command.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, "-m", "colbert_lab", *given, *QUIET], check=True)


def listed(values: Sequence[float]) -> str:
    """Values of a sweep."""
    return ",".join(map(str, values))


def sweep(folder: Path, backbone: str) -> None:
    """Train and measure every cell with every seed, then compare."""
    size = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    typed(
        "-m", "+experiment=colbert_zero_kd", "size=full", "name=verdict", f"student.backbone={backbone}",
        "data=scored_lists", f"data.path={folder / 'train'}", "data.scores=lists.jsonl", "data.draw=order",
        "evaluation=beir", f"evaluation.path={folder / 'test'}", *ALONE, "evaluation.after=[distill]",
        "phases.distill.objective.distillation.teacher={normalisation:none,temperature:1.0}",
        "phases.distill.epochs=null", f"phases.distill.steps={size['steps']}", "phases.distill.evaluate_every=null",
        f"phases.distill.batch_size={size['batch']}", f"phases.distill.n_way={size['ways']}",
        f"phases.distill.optimizer.lr={listed(size['rates'])}", f"student.document_length={listed(size['lengths'])}",
        f"seed={listed(size['seeds'])}",
    )  # fmt: skip
    typed("task=compare", "runs=[outputs/verdict]")


def measure(folder: Path, student: str) -> None:
    """Measure one student."""
    typed(
        "task=evaluate",
        f"student.checkpoint={student}",
        "evaluation=beir",
        f"evaluation.path={folder}",
        *ALONE,
    )


if __name__ == "__main__":
    (sweep if sys.argv[1] == "sweep" else measure)(Path(sys.argv[2]), sys.argv[3])
