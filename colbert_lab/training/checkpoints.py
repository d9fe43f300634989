"""Checkpoints of a phase: written whole, kept two deep, read without running code."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning.callbacks import ModelCheckpoint

log = logging.getLogger(__name__)
PATTERN = re.compile(r"step=(\d+)\.ckpt")


@dataclass(frozen=True)
class ResumePoint:
    """Where a phase goes on.

    Attributes:
        path: the checkpoint.
        step: optimizer steps it has done.
    """

    path: Path
    step: int


def checkpoint_callback(folder: Path, every: int) -> ModelCheckpoint:
    """Save every N optimizer steps and keep the newest two, so that a damaged one has a predecessor."""
    return ModelCheckpoint(
        folder, filename="{step}", monitor="step", mode="max", save_top_k=2, every_n_train_steps=every
    )


def resume_point(folder: Path) -> ResumePoint | None:
    """The newest checkpoint that can be read; a damaged one is passed over with a warning.

    Returns:
        None when there is nothing to resume from.
    """
    found = [
        (int(match[1]), path) for path in folder.glob("*.ckpt") if (match := PATTERN.fullmatch(path.name))
    ]
    for _, path in sorted(found, reverse=True):
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            return ResumePoint(path, int(saved["global_step"]))
        except Exception as error:
            log.warning(
                "checkpoint %s cannot be read (%s); trying the one before", path, str(error).splitlines()[0]
            )
    return None
