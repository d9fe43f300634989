"""Records read back from wherever they are: run folders, W&B's offline files, or W&B's server; and the headline."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.records.records import EXACT, RECORDS_FILE, TIMES, Record, read_records
from colbert_lab.records.run_directory import STATUS_FILE

log = logging.getLogger(__name__)
ONLINE = "wandb:"
WANDB_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+")
"""How W&B names the folder of a run."""


def load_records(source: str | Path, *, name: str | None = None, run_id: str | None = None) -> list[Record]:
    """Read every record of a source; each gives the same ones.

    Damaged files and lines are skipped with a logged warning.

    Args:
        source: a folder of runs, a run's folder, a folder of W&B's files (``wandb/``, at any depth), or
            ``wandb:ENTITY/PROJECT`` for the server. Where a run's folder is found, W&B's files in it are not read.
        name: only runs of this name.
        run_id: only this run.

    Returns:
        The records by name, run and time; the newest of those that say the same thing.

    Raises:
        InputError: no such folder, nothing of a run in it, or W&B does not answer or has no such project.
    """
    text = str(source)
    if text.startswith(ONLINE):
        found = _of_server(text.removeprefix(ONLINE), name, run_id)
    else:
        found = _of_folder(Path(source).expanduser())
    wanted = [record for record in found if name in (None, record.name) and run_id in (None, record.run_id)]
    return _distinct(wanted)


def _of_folder(folder: Path) -> list[Record]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; give one of runs or of W&B's files, or {ONLINE}ENTITY/PROJECT"
        )
    files = list(_files(folder))
    if not files:
        raise InputError(f"{folder}: no run and no W&B run in it (no {STATUS_FILE}, no offline-run-*)")
    return [record for file in files if file.is_file() for record in read_records(file)]


def _files(folder: Path) -> Iterator[Path]:
    """The records of each run and W&B run at or below a folder, in the order of their paths."""
    try:
        with os.scandir(folder) as scanned:
            inside = sorted(scanned, key=lambda each: each.name)
        names = {each.name for each in inside}
        below = [each.name for each in inside if each.is_dir(follow_symlinks=False)]
    except OSError as problem:
        log.warning("%s is skipped, it cannot be read: %s", folder, problem.strerror)
        return
    of_wandb = any(each.startswith("run-") and each.endswith(".wandb") for each in names)
    if of_wandb or WANDB_FOLDER.fullmatch(folder.name):
        yield folder / "files" / RECORDS_FILE
    elif {STATUS_FILE, RECORDS_FILE} & names:
        yield folder / RECORDS_FILE
    else:
        for each in below:
            if not each.startswith("."):
                yield from _files(folder / each)


def _of_server(project: str, name: str | None, run_id: str | None) -> list[Record]:
    """Records that the W&B runs of a project hold among their files."""
    import wandb

    from colbert_lab.base.progress import progress_bar

    if not re.fullmatch(r"[^/\s]+(/[^/\s]+)?", project):
        raise InputError(f"{ONLINE}{project}: must be {ONLINE}ENTITY/PROJECT")
    filters: dict[str, Any] = {}
    if run_id is not None:
        filters["$or"] = [{"config.run_id": run_id}, {"group": run_id}]  # earlier versions: its group
    if name is not None:
        filters["config.name"] = name
    found: list[Record] = []
    try:
        runs = wandb.Api().runs(project, filters=filters)
        with tempfile.TemporaryDirectory() as scratch:
            for run in progress_bar(runs, desc=f"{ONLINE}{project}", unit=" runs"):
                for file in run.files(names=[RECORDS_FILE]):
                    folder = Path(scratch) / run.id
                    file.download(root=str(folder), replace=True).close()
                    found += read_records(folder / RECORDS_FILE)
    except (wandb.errors.Error, ValueError, OSError) as problem:
        told = " ".join(str(problem).split())
        raise InputError(f"{ONLINE}{project}: cannot be read from W&B: {told}") from problem
    return found


def _distinct(records: Iterable[Record]) -> list[Record]:
    """The newest of the records that say the same thing, by name, run and time."""
    newest: dict[str, tuple[float, str, Record]] = {}
    for record in records:
        fields = record.to_dict()
        timed = {*TIMES, "value"} - {"run_id"}
        what = json.dumps({key: fields[key] for key in fields if key not in timed}, sort_keys=True)
        entry = (record.time or 0.0, json.dumps(fields, sort_keys=True), record)
        if what not in newest or newest[what][:2] < entry[:2]:
            newest[what] = entry
    ordered = sorted(
        newest.items(), key=lambda item: (item[1][2].name, item[1][2].run_id, item[1][0], item[0])
    )
    return [record for _, (_, _, record) in ordered]


def headline(path: Path, wanted: str, phase: str) -> float | None:
    """The value of ``evaluation.headline`` after the last phase, or None when it was not measured.

    It is that of exact search of float32 embeddings, or of the first way to search where that is not among them.

    Args:
        path: the run's folder.
        wanted: ``<split>/<measure>``.
        phase: the last phase, or ``evaluate``.
    """
    split, _, measure = wanted.rpartition("/")
    found = {
        record.variant: record.value
        for record in reversed(read_records(path / RECORDS_FILE))
        if (record.system, record.phase, record.split, record.measure) == ("student", phase, split, measure)
    }
    return found.get(EXACT, next(reversed(found.values()), None))
