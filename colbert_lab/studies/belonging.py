"""Whether the runs of a study belong together: one text, one protocol, the settings that the study has now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.evaluation.measures import own_kind
from colbert_lab.records.identity import factors
from colbert_lab.studies.study import NEUTRAL, PLACEHOLDERS, Study
from colbert_lab.studies.study_run import RESULTS, RUNS, Key, StudyRun, key_of, without_folders


def checked_together(study: Study, runs: Sequence[StudyRun]) -> list[StudyRun]:
    """The runs in the order of the study's plan, if their numbers belong together.

    Args:
        study: the study.
        runs: what its files hold.

    Raises:
        InputError: two runs of a cell and seed, another split, other rules of the split, or other settings than
            the study has now.
    """
    seen: dict[tuple[str, int], str] = {}
    for run in runs:
        if other := seen.get((run.cell, run.seed)):
            raise InputError(
                f"{study.folder / RUNS}: runs {other} and {run.run_id} are both {run.cell}, seed {run.seed}"
            )
        seen[run.cell, run.seed] = run.run_id
    ordered = in_order(study, runs)
    for run in ordered:
        first = ordered[0]
        for what, mine, theirs in (
            ("text (split fingerprint)", marks(run), marks(first)),
            ("protocol of the split", run.facts.get("rules"), first.facts.get("rules")),
        ):
            if mine != theirs:
                here, there = (f"{r.cell}, seed {r.seed} ({r.run_id})" for r in (run, first))
                raise InputError(
                    f"{study.folder / RESULTS}: {here} was measured on another {what} than {there}: {_told(mine)} and "
                    f"{_told(theirs)}; run one of them again"
                )
        if changed := _changed(study, run):
            raise InputError(
                f"{study.folder / RUNS}: {run.cell}, seed {run.seed} ({run.run_id}) was made with {changed}; "
                "run it again"
            )
    protocols: dict[tuple[str, Key, str], str] = {}
    for run in ordered:
        for record in run.records:
            mark = run.cell, key_of(record), own_kind(record.measure)
            known = protocols.setdefault(mark, record.protocol_hash)
            if known != record.protocol_hash:
                raise InputError(
                    f"{study.folder / RESULTS}: {run.cell}, seed {run.seed} ({run.run_id}), {record.phase} was "
                    f"searched by other rules ({record.variant}) than with another seed; run it again"
                )
    return ordered


def _changed(study: Study, run: StudyRun) -> str:
    """What a run set otherwise than the study does now; "" for nothing."""
    now, then = factors([*study.fixed, *study.cells[run.cell].overrides]), run.facts.get("factors", {})
    for key in dict.fromkeys([*now, *then]):
        mine, theirs = without_folders(now.get(key)), then.get(key)
        if key in NEUTRAL or mine == theirs:
            continue
        if mine is not None and theirs is not None and any(f"{{{name}}}" in mine for name in PLACEHOLDERS):
            continue
        told = f"{key}={theirs}" if theirs is not None else f"no {key}"
        return f"{told}, and the study has {f'{key}={mine}' if mine is not None else 'no such setting'}"
    return ""


def marks(run: StudyRun) -> list[str]:
    """Fingerprints of the split that a run was measured on."""
    return sorted({record.split_fingerprint for record in run.records})


def _told(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def in_order(study: Study, runs: Iterable[StudyRun]) -> list[StudyRun]:
    """The runs by cell, as the study lists them, and by seed."""
    cells = list(study.cells)
    return sorted(runs, key=lambda run: (cells.index(run.cell), run.seed))
