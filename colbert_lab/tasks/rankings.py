"""``task=rankings``: the rankings that runs keep, as TREC's files for other tools. Imports no torch."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.base.atomic import atomic_folder, is_name
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, print_tables
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.records import EXACT
from colbert_lab.records.run_directory import free_folder
from colbert_lab.records.runs import STUDENT, Run, read_runs
from colbert_lab.records.texts import read_texts, texts_path
from colbert_lab.records.trec import write_qrels, write_run
from colbert_lab.settings import Command

log = logging.getLogger("colbert_lab")


@dataclass(frozen=True)
class Kept:
    """A ranking that a run keeps.

    Attributes:
        run: the run.
        split: name of the split.
        system: name of the system; of a student with its phase, and with how it was searched where that is not exact.
        path: the Parquet file.
    """

    run: Run
    split: str
    system: str
    path: Path

    @property
    def tag(self) -> str:
        """What the run file calls the system, in its last column."""
        return re.sub(r"\s+", "_", f"{self.run.run_id}.{self.system}")

    @property
    def name(self) -> str:
        """Name of the run file."""
        return f"{self.split}.{self.tag}.trec"


def execute(command: Command) -> None:
    """Write the rankings of finished runs as run files, and their judgments as qrels files, into a new folder.

    Args:
        command: what is asked for; ``runs`` and ``out`` are read.

    Raises:
        InputError: anything the user can mend; ``out`` is then not there.
    """
    settings = command.settings
    assert settings.out is not None  # see needs of the task
    out = free_folder(settings.out)
    found = read_runs([Path(folder).expanduser() for folder in settings.runs])
    for told in found.left_out:
        log.info("%s", told)
    kept = [each for run in found.runs for each in rankings_of(run)]
    if not kept:
        raise InputError(f"runs: {', '.join(str(run.path) for run in found.runs)} keep no rankings")
    _check_together(kept)
    rows: list[tuple[str, ...]] = []
    with atomic_folder(out) as folder:
        for each in kept:
            ranking, _ = read_ranking(each.path)
            write_run(folder / each.name, ranking, each.tag, each.path)
            rows.append((each.name, str(len(ranking.query_ids)), str(sum(map(len, ranking.document_ids)))))
        for split in dict.fromkeys(each.split for each in kept):
            rows += _judgments(folder, split, [each.run for each in kept if each.split == split])
    print_tables([Table(f"{out}", ("file", "queries", "documents"), tuple(rows), (), ())])
    log.info("written: %s", out)


def rankings_of(run: Run) -> Iterator[Kept]:
    """The rankings of a run, in the order of its records; a mean of splits has none."""
    for system, phase, split, variant in dict.fromkeys(
        (record.system, record.phase, record.split, record.variant) for record in run.records
    ):
        path = ranking_path(run.path, system, phase, split, variant)
        named = [system, phase, *([variant] if variant != EXACT else [])] if system == STUDENT else [system]
        if path.is_file():
            yield Kept(run, split, ".".join(named), path)
        else:
            log.info("%s: no ranking of %s on %s (a mean of splits has none)", run.path, named[0], split)


def _check_together(kept: Sequence[Kept]) -> None:
    """Whether every name is that of a file, and every split is the same one in all runs."""
    splits: dict[str, Kept] = {}
    for each in kept:
        if not is_name(each.name):
            raise InputError(f"{each.path}: {each.name!r} cannot be the name of a file")
        other = splits.setdefault(each.split, each)
        if _fingerprint(other.run, each.split) != _fingerprint(each.run, each.split):
            raise InputError(
                f"runs: evaluation.splits.{each.split} has other documents, queries or judgments in {each.run.path} "
                f"than in {other.run.path}; write the runs to folders of their own"
            )


def _judgments(folder: Path, split: str, runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Write the judgments of a split, from the first run that keeps them; say so where none does."""
    for run in runs:
        if grades := read_texts(run.path, split, _fingerprint(run, split)).grades:
            name = f"{split}.qrels"
            write_qrels(folder / name, grades, texts_path(run.path, split))
            return [(name, str(len(grades)), str(sum(map(len, grades.values()))))]
    log.warning(
        "%s.qrels is not written: no run of these keeps grades, which older versions did not keep; measure with "
        "reuse=false once more, or take the judgments from the collection",
        split,
    )
    return []


def _fingerprint(run: Run, split: str) -> str:
    return next(record.split_fingerprint for record in run.records if record.split == split)
