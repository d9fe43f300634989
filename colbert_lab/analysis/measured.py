"""What one system of a configuration scored on one split, its seeds taken together: a row of a comparison."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.base.errors import InputError
from colbert_lab.records.by_query import recorded_values
from colbert_lab.records.means import Strata
from colbert_lab.records.records import Record
from colbert_lab.records.run_files import read_protocols, split_details
from colbert_lab.records.runs import BEFORE, STUDENT, Run

if TYPE_CHECKING:
    import numpy as np

BESIDE = ("bm25", "dense", "teacher")
"""Systems that are measured beside the student, in the order in which a student alone is compared with one of them."""


@dataclass(frozen=True)
class Place:
    """Where a value was measured; only values of one place and one split fingerprint may be compared.

    Attributes:
        dataset: name of the collection.
        split: name of the split in ``evaluation.splits``.
        mode: search mode, with storage and pooling where they are not the default (``Record.variant``).
        measure: for example ``ndcg@10``.
    """

    dataset: str
    split: str
    mode: str
    measure: str


@dataclass(frozen=True, eq=False)
class Measured:
    """One system at one place.

    Attributes:
        label: what tables call it.
        configuration: the runs it comes from.
        system: as in the records.
        phase: as in the records.
        place: dataset, split, search mode and measure.
        fingerprint: of the split.
        protocols: hashes of how it was measured; one unless the seeds differ.
        told: what the hashes stand for, as far as the runs say it; of a mean, by its splits.
        values: the recorded mean over queries, one a seed.
        n_queries: number of judged queries.
        query_ids: the judged queries; None without per-query values.
        per_query: their values in that order, each averaged over the seeds; None where a file is missing or
            does not belong to the recorded value.
        strata: queries and weight of each split, where the place is a mean of splits; else empty.
        notes: what the reader must know about it.
    """

    label: str
    configuration: Configuration
    system: str
    phase: str
    place: Place
    fingerprint: str
    protocols: frozenset[str]
    told: Mapping[str, Mapping[str, Any]]
    values: tuple[float, ...]
    n_queries: int
    query_ids: tuple[str, ...] | None
    per_query: np.ndarray | None
    strata: Strata
    notes: tuple[str, ...]

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over the seeds; None with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def usual_systems(configurations: Sequence[Configuration]) -> list[str]:
    """What is compared where nobody says it: students with each other, one alone with itself untrained; then the rest.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
    """
    known = systems_of([run for each in configurations for run in each.runs])
    others = [system for system in known if system in BESIDE]
    if len(configurations) > 1:
        return [STUDENT, *others]
    if BEFORE in known:
        return [BEFORE, *configurations[0].runs[0].phases[:-1], STUDENT, *others]
    return [*others[:1], STUDENT, *others[1:]]


def systems_of(runs: Sequence[Run]) -> list[str]:
    """What can be asked for in :func:`measured`: ``student``, its phases, and the other systems measured."""
    found = dict.fromkeys([STUDENT])
    found |= dict.fromkeys(r.phase for run in runs for r in run.records if r.system == STUDENT)
    found |= dict.fromkeys(r.system for run in runs for r in run.records if r.system != STUDENT)
    return list(found)


def measured(configuration: Configuration, title: str, system: str) -> dict[Place, Measured]:
    """One system of a configuration at every place where all its runs measured it.

    Args:
        configuration: runs that differ by their seed alone.
        title: what tables call the configuration.
        system: ``student`` for the final one, ``before`` or a phase for the student then, or a baseline such as
            ``bm25``.

    Returns:
        The rows by place, in the order of the records; none when this configuration has no such system.

    Raises:
        InputError: a number that is needed is not finite in the records.
    """
    found = [_records(run, system) for run in configuration.runs]
    rows = {}
    for place in dict.fromkeys(place for by_place in found for place in by_place):
        records = [by_place.get(place) for by_place in found]
        whole = [record for record in records if record is not None]
        if len(whole) == len(records):
            rows[place] = _row(configuration, title, place, whole)
    return rows


def _records(run: Run, system: str) -> dict[Place, Record]:
    """The last record at each place; the later of two that say the same."""
    student = system == STUDENT or any((r.system, r.phase) == (STUDENT, system) for r in run.records)
    wanted = (STUDENT, (run.phases or (BEFORE,))[-1] if system == STUDENT else system)
    return {
        Place(r.dataset, r.split, r.variant, r.measure): r
        for r in run.records
        if ((r.system, r.phase) == wanted if student else r.system == system)
    }


def _row(configuration: Configuration, title: str, place: Place, records: Sequence[Record]) -> Measured:
    import numpy as np

    first = records[0]
    label = _label(first, title, configuration)
    for run, record in zip(configuration.runs, records, strict=True):
        if not math.isfinite(record.value):
            raise InputError(
                f"{run.path}/results.jsonl: {place.measure} of {label} on {place.split} is not a number; measure it "
                "again, or leave it out with compare.measures or compare.splits"
            )
    pairs = zip(configuration.runs, records, strict=True)
    found = [each for run, record in pairs if (each := recorded_values(run.path, record)) is not None]
    per_query = [each for each, _ in found]
    alike = len(found) == len(records) and len({(each.query_ids, strata) for each, strata in found}) == 1
    measure = place.measure
    return Measured(
        label=label,
        configuration=configuration,
        system=first.system,
        phase=first.phase,
        place=place,
        fingerprint=first.split_fingerprint,
        protocols=frozenset(record.protocol_hash for record in records),
        told=_told(configuration.runs, records),
        values=tuple(record.value for record in records),
        n_queries=first.n_queries,
        query_ids=per_query[0].query_ids if alike else None,
        per_query=np.mean([each.values[measure] for each in per_query], axis=0) if alike else None,
        strata=found[0][1] if alike else (),
        notes=tuple(_notes(records, alike)),
    )


def _told(runs: Sequence[Run], records: Sequence[Record]) -> dict[str, Mapping[str, Any]]:
    """The protocols behind the hashes of these records, one of each run."""
    told: dict[str, Mapping[str, Any]] = {}
    for run, record in zip(runs, records, strict=True):
        known = read_protocols(run.path)
        if record.protocol_hash in known:
            told[record.protocol_hash] = known[record.protocol_hash]
            continue
        members = split_details(run.path).get(record.split, {}).get("mean_of", {})
        same = (record.system, record.phase, record.variant, record.measure)
        hashes = {
            r.split: r.protocol_hash
            for r in run.records
            if r.split in members and (r.system, r.phase, r.variant, r.measure) == same
        }
        if members and all(hashes.get(member) in known for member in members):
            told[record.protocol_hash] = {member: known[hashes[member]] for member in members}
    return told


def _notes(records: Sequence[Record], alike: bool) -> list[str]:
    notes = []
    if not alike:
        notes.append("no interval and no test, a ranking file is missing or is not the one that was recorded")
    for what, seen in (
        ("commits", [record.commit and record.commit[:7] for record in records]),
        ("protocols", [record.protocol_hash for record in records]),
    ):
        if len(different := dict.fromkeys(str(each) for each in seen if each)) > 1:
            notes.append(f"its seeds were measured under different {what} ({', '.join(different)})")
    return notes


def _label(record: Record, title: str, configuration: Configuration) -> str:
    """``lr=0.1`` for a final student, ``lr=0.1, before`` for an earlier one, else the system's own name."""
    if record.system != STUDENT:
        name = record.system_name
        own = not name or name.casefold().startswith(record.system.casefold())
        return (name or record.system) if own else f"{record.system} ({name})"
    final = (configuration.runs[0].phases or (BEFORE,))[-1]
    return title if record.phase == final else f"{title}, {record.phase}"


def titles(configurations: Sequence[Configuration]) -> list[str]:
    """What tables call each configuration: its run's name where those tell them apart, else what varies.

    With several names, that is what varies among the configurations of the same name.

    Args:
        configurations: what :func:`colbert_lab.analysis.configurations.group` returned.
    """
    names = [each.runs[0].records[0].name for each in configurations]
    if all(names) and len(set(names)) == len(names):
        return names
    if len(set(names)) <= 1 or not all(names):
        return [each.label for each in configurations]
    called = []
    for name, each in zip(names, configurations, strict=True):
        alike = [c for other, c in zip(names, configurations, strict=True) if other == name]
        varied = [key for key in each.factors if len({c.factors.get(key) for c in alike}) > 1]
        called.append(f"{name}: {', '.join(f'{k}={each.factors[k]}' for k in varied)}" if varied else name)
    return called


def provenance(configurations: Mapping[str, Configuration]) -> list[str]:
    """For each configuration by its title: the runs, seeds and commits behind it."""
    sentences = []
    for title, each in configurations.items():
        commits = dict.fromkeys(
            r.commit[:7] + ("*" if r.dirty else "") for run in each.runs for r in run.records if r.commit
        )
        details = [f"seed{'s' if len(each.seeds) > 1 else ''} {', '.join(map(str, each.seeds))}"]
        details += [f"commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}"] if commits else []
        sentences.append(f"{title}: {', '.join(str(run.path) for run in each.runs)} ({'; '.join(details)}).")
    return sentences
