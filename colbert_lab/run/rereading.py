"""What a finished run was measured on, and its students, read again for analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.protocol import student_for
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.projection import TARGET, imported
from colbert_lab.model.student import NewStudent, Student
from colbert_lab.records.run_files import needed_config
from colbert_lab.records.runs import BEFORE, Run
from colbert_lab.run.inputs import configured_student, split_requests
from colbert_lab.settings.evaluation import SplitSettings
from colbert_lab.settings.groups import PromptSettings, StudentSettings
from colbert_lab.settings.typed import typed
from colbert_lab.text.collections.splits import load_splits

_EARLIER = {each.name: each.default for each in fields(NewStudent) if each.default is not MISSING}
"""Settings of a student that runs may be older than, with what was done before there were such."""


def reread_split(run: Run, split: str) -> Split:
    """A split as the run measured it: the same documents, queries and judgments.

    Args:
        run: a finished run; its ``config.yaml`` says what to load.
        split: name of the split in ``evaluation.splits``.

    Raises:
        InputError: it cannot be loaded from here, or is another text now.
    """
    config = _config(run)
    try:
        given = config["evaluation"]
        splits = {key: entry and typed(SplitSettings, entry) for key, entry in given["splits"].items()}
        found = load_splits(
            split_requests(splits, given["full"]),
            documents=None if given["full"] else given["documents"],
            cache_dir=Path(config["cache_dir"]).expanduser(),
            tolerate_unknown_documents=given["unknown_documents"] == "drop",
        )
    except (AttributeError, KeyError, TypeError) as problem:
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
        config = _config(run)
        try:
            pl.seed_everything(config["seed"], verbose=False)
            student = configured_student(
                typed(StudentSettings, _EARLIER | config["student"]), typed(PromptSettings, config["prompts"])
            )
        except (KeyError, TypeError) as problem:
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


def _config(run: Run) -> Mapping[str, Any]:
    config = needed_config(run.path)
    if config.get("student", {}).get("trust_remote_code"):
        raise InputError(
            f"{run.path / 'config.yaml'}: student.trust_remote_code: would run code that comes with its backbone, "
            "which reading a run does not; set it to false there if the backbone needs no code of its own"
        )
    head = (config.get("student") or {}).get("head")
    target = head.get(TARGET) if isinstance(head, dict) else None
    if target is not None and imported(str(target)) is None:
        raise InputError(
            f"{run.path / 'config.yaml'}: student.head.{TARGET}={target}: is not imported here, and code that a run "
            "names is not run; import its module first"
        )
    return config
