"""What a finished run was measured on, and its students, read again for analysis."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.errors import InputError
from colbert_lab.inputs import configured_student, split_requests
from colbert_lab.metrics.protocol import student_for
from colbert_lab.results.run_files import read_config
from colbert_lab.results.runs import BEFORE, Run
from colbert_lab.student.formats.known import load_checkpoint
from colbert_lab.student.student import Student
from colbert_lab.text.splits import load_splits
from colbert_lab.types import Split


def reread_split(run: Run, split: str) -> Split:
    """A split as the run measured it: the same documents, queries and judgments.

    Args:
        run: a finished run; its ``config.yaml`` says what to load.
        split: name of the split in ``evaluation.splits``.

    Raises:
        InputError: it cannot be loaded from here, or is another text now.
    """
    cfg = _config(run)
    try:
        settings = cfg.evaluation
        found = load_splits(
            split_requests(cfg),
            documents=None if settings.full else settings.documents,
            cache_dir=Path(cfg.cache_dir).expanduser(),
            tolerate_unknown_documents=settings.unknown_documents == "drop",
        )
    except (OmegaConfBaseException, KeyError, TypeError) as problem:
        raise InputError(
            f"{run.run_id}: its config.yaml is of another version, so that {split} cannot be loaded"
        ) from problem
    if split not in found:
        there = ", ".join(found) or "none"
        raise InputError(f"{run.run_id}: {split} is no split with a text of its own; there are {there}")
    if found[split].fingerprint != run.splits[split]:
        raise InputError(
            f"{run.run_id}: {split} is another text now than when it was measured (fingerprints "
            f"{found[split].fingerprint} and {run.splits[split]})"
        )
    return found[split]


def reread_student(run: Run, phase: str, split: Split, key: str) -> Student:
    """The student after a phase as it was measured on a split, on the CPU and ready to encode.

    The untrained student is not saved; it is built anew with the run's seed, from the same backbone.

    Args:
        run: a finished run.
        phase: ``before``, or a phase that the run trained.
        split: its lengths and prompts, if any, take the place of the student's own.
        key: the split's name in ``evaluation.splits``.

    Raises:
        InputError: there is no such student, or it cannot be loaded from here.
    """
    if phase == BEFORE:
        cfg = _config(run)
        pl.seed_everything(cfg.seed, verbose=False)
        try:
            student = configured_student(cfg, [])
        except (OmegaConfBaseException, KeyError, TypeError) as problem:
            raise InputError(
                f"{run.run_id}: its config.yaml is of another version, so that the untrained student cannot be built"
            ) from problem
    else:
        folder = run.path / phase / "student"
        if not folder.is_dir():
            raise InputError(f"{run.run_id}: the student after {phase} is not saved in it")
        student = load_checkpoint(str(folder), key="path")
    student.model.eval()
    return student_for(student, split, key)


def _config(run: Run) -> DictConfig:
    config = read_config(run.path)
    if not config:
        raise InputError(f"{run.run_id}: its config.yaml is missing or cannot be read")
    return OmegaConf.create(config)
