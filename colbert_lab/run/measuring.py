"""The measurements of one run: which systems on which splits, recorded once and never twice."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Any

from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.atomic import write_text
from colbert_lab.base.layout import Table, to_markdown
from colbert_lab.base.types import Split, Variant
from colbert_lab.evaluation.evaluator import EXACT, Evaluator, Result
from colbert_lab.model.student import Student
from colbert_lab.records.environment import hardware_label
from colbert_lab.records.identity import factors, protocol_hash
from colbert_lab.records.lineage import adopt_ranking, find_measurement
from colbert_lab.records.means import complete_means, mean_records, split_weights
from colbert_lab.records.rankings import ranking_path, read_ranking, write_ranking
from colbert_lab.records.records import (
    RECORDS_FILE,
    SCHEMA_VERSION,
    Record,
    append_records,
    read_records,
    rewrite_records,
)
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.records.run_files import add_protocol, write_splits
from colbert_lab.records.texts import keep_texts
from colbert_lab.run.evaluating import systems_beside
from colbert_lab.search.corpus import student_fingerprint
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.roles import Role, keys
from colbert_lab.teachers.revision import identified
from colbert_lab.teachers.scorer import rank_split, told_of

log = logging.getLogger(__name__)

DECIDE_ROUNDING = keys(Settings, has=Role.ROUNDING)
"""Settings that decide the last digits of a student's embeddings and are not in the protocol."""


@dataclass(eq=False)
class Measuring:
    """Evaluates systems, writes rankings and records, and knows what is already there.

    Attributes:
        command: what is run.
        config_hash: the run's identity, for its records.
        splits: evaluation splits by name.
        directory: the run's folder.
        environment: commit and versions.
        evaluator: of these splits.
    """

    command: Command
    config_hash: str
    splits: Mapping[str, Split]
    directory: RunDirectory
    environment: Mapping[str, Any]
    evaluator: Evaluator

    def __post_init__(self) -> None:
        self.settings, self.path = self.command.settings, self.directory.path
        self.results_file = self.path / RECORDS_FILE
        self.records = self._whole_records()
        asked, splits = self.settings.evaluation, self.splits
        self.means = complete_means(split_weights(asked.means, list(splits), asked.splits), splits)
        write_splits(self.path / "splits.json", splits, self.means)

    @property
    def _of_run(self) -> dict[str, Any]:
        """What every record says of the run."""
        return {
            "run_id": self.directory.run_id,
            "name": self.settings.name,
            "config_hash": self.config_hash,
            "factors": factors(self.command.overrides),
            "seed": self.settings.seed,
            "time": time.time(),
        }

    def _whole_records(self) -> list[Record]:
        """Records of evaluations that were written completely; what a crash left of others is removed."""
        records = read_records(self.results_file) if self.results_file.is_file() else []
        counts = Counter(map(_group, records))
        wanted = len(self.settings.evaluation.measures)
        whole = [record for record in records if counts[_group(record)] == wanted]
        if len(whole) != len(records):
            rewrite_records(self.results_file, whole)
        return whole

    def missing(self, phase: str) -> dict[str, list[Variant]]:
        """The ways to search that are not measured yet after a phase, by split."""
        return self._missing("student", phase, self.evaluator.search.variants)

    def _missing(
        self, system: str, phase: str, variants: Sequence[Variant] = (EXACT,)
    ) -> dict[str, list[Variant]]:
        done = {(r.split, r.variant) for r in self.records if (r.system, r.phase) == (system, phase)}
        missing = {key: [v for v in variants if (key, v.label) not in done] for key in self.splits}
        return {key: left for key, left in missing.items() if left}

    def baselines(self, data: Sequence[Any]) -> None:
        """Rows beside the student: the configured baselines, and the teacher when it can score this text."""
        systems = systems_beside(self.settings.evaluation, data)
        if data and self.splits and not self.settings.evaluation.without_teacher and "teacher" not in systems:
            log.info(
                "no teacher row: the training data has no teacher that can score the evaluation splits, but ready "
                "scores or none"
            )
        for name, scorer in systems.items():
            for key in self._missing(name, "baselines"):
                own = {"scorer": identified(scorer)}
                wanted = {"system": name, "phase": "baselines", "split": key}
                if self._adopted(wanted, self.evaluator.protocol(key, EXACT, own)):
                    continue
                split, start = self.splits[key], time.perf_counter()
                with told_of("data.teacher" if name == "teacher" else f"evaluation.baselines.{name}"):
                    ranking = rank_split(scorer, split, self.settings.evaluation.depth, f"{name} on {key}")
                seconds = time.perf_counter() - start
                result = self.evaluator.evaluate_ranking(key, ranking, own, seconds)
                self._keep(result, name, scorer.name, "baselines", {"seconds_train": 0.0})
            self._keep_means(name, "baselines")

    def _adopted(
        self,
        wanted: Mapping[str, Any],
        protocol: Mapping[str, Any],
        settings: Sequence[str] = (),
        seconds_train: float = 0.0,
    ) -> bool:
        """Take a measurement over from another run, where all that decides it is the same."""
        if not self.settings.reuse:
            return False
        key = wanted["split"]
        marked = {**wanted, "split_fingerprint": self.splits[key].fingerprint}
        hashes = {measure: protocol_hash(own) for measure, own in self._protocols(protocol).items()}
        same = {name: attrgetter(name)(self.settings) for name in settings}
        known = find_measurement(self.settings.outputs, self.path, marked, hashes, self.environment, same)
        if known is None:
            return False
        run, records = known
        first = records[0]
        adopt_ranking(run, self.path, first)
        own_path = ranking_path(self.path, first.system, first.phase, key, first.variant)
        keep_texts(self.path, key, self.splits[key], read_ranking(own_path)[0])
        for each in self._protocols(protocol).values():
            add_protocol(self.path, each)
        own = {**self._of_run, "seconds_train": round(seconds_train, 3)}
        from_run = {"reused_from": records[0].extra.get("reused_from", run.name)}
        new = [replace(record, **own, extra={**record.extra, **from_run}) for record in records]
        append_records(self.results_file, new)
        self.records += new
        log.info("%s: reused from %s (reuse=false measures it anew)", _told(new[0]), run)
        return True

    def _protocols(self, protocol: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """All that decides the numbers of each measure: how the system searched, and a measure of a user's own."""
        return {
            measure: {**protocol, **self.evaluator.measured_by(measure)}
            for measure in self.evaluator.measures
        }

    def adopt_student(self, student: Student, phase: str, *, seconds_train: float) -> None:
        """Take over what another run measured of the very same student, as for baselines.

        Runs that share their first phases, or start from one student, need not encode the same text with the same
        weights again. Where embeddings are to be kept (``evaluation.keep_embeddings``), nothing is taken over.

        Args:
            student: the student.
            phase: ``before``, ``evaluate``, or the phase it comes from.
            seconds_train: training time so far, over all phases.
        """
        if self.settings.evaluation.keep_embeddings or not self.settings.reuse or not self.splits:
            return
        student_hash = student_fingerprint(student)
        for key, variants in self.missing(phase).items():
            for variant in variants:
                of_student = {"system": "student", "phase": phase, "student_hash": student_hash}
                wanted = {**of_student, "split": key, **asdict(variant)}
                protocol = self.evaluator.student_protocol(student, key, variant)
                self._adopted(wanted, protocol, DECIDE_ROUNDING, seconds_train)

    def student(
        self, student: Student, phase: str, *, step: int, seconds_train: float, phase_identity: str | None
    ) -> None:
        """Evaluate a student on every split that is not measured yet.

        Args:
            student: the student.
            phase: ``before``, ``evaluate``, or the phase it comes from.
            step: optimizer steps of that phase.
            seconds_train: training time so far, over all phases.
            phase_identity: hash of the phase; None before training.
        """
        missing = self.missing(phase)
        if missing:
            own: dict[str, Any] = {"phase_hash": phase_identity, "student_hash": student_fingerprint(student)}
            own |= {"step": step, "seconds_train": round(seconds_train, 3)}
            for result in self.evaluator.evaluate_student(student, phase, missing, self.settings.progress):
                self._keep(result, "student", self.settings.student.called, phase, own)
        self._keep_means("student", phase)

    def _keep(
        self, result: Result, system: str, system_name: str, phase: str, own: Mapping[str, Any]
    ) -> None:
        """Write the ranking and its texts first and the records last, so that records always have them."""
        variant = result.variant
        path = ranking_path(self.path, system, phase, result.key, variant.label)
        write_ranking(path, result.ranking, result.per_query)
        keep_texts(self.path, result.key, result.split, result.ranking)
        hashes = {
            measure: add_protocol(self.path, protocol)
            for measure, protocol in self._protocols(result.protocol).items()
        }
        if result.per_query.unjudged:
            log.warning("%s: %d queries without judgments left out", result.key, result.per_query.unjudged)
        new = [
            Record(
                schema=SCHEMA_VERSION,
                system=system,
                system_name=system_name,
                phase=phase,
                dataset=result.split.dataset,
                split=result.key,
                split_fingerprint=result.split.fingerprint,
                protocol_hash=hashes[measure],
                mode=variant.mode,
                storage=variant.storage,
                pool_factor=variant.pool_factor,
                dim=variant.dim,
                measure=measure,
                value=result.per_query.mean(measure),
                n_queries=len(result.per_query.query_ids),
                commit=self.environment["commit"],
                dirty=self.environment["dirty"],
                seconds_eval=round(result.seconds, 3),
                seconds_index=_rounded(result.seconds_index),
                seconds_search=_rounded(result.seconds_search),
                index_bytes=result.index_bytes,
                n_documents=len(result.split.corpus),
                hardware=hardware_label(),
                **self._of_run,
                **own,
            )
            for measure in self.evaluator.measures
        ]
        append_records(self.results_file, new)
        self.records += new
        first = new[0]
        log.info("%s: %s %.4f (%.0f s)", _told(first), first.measure, first.value, result.seconds)

    def _keep_means(self, system: str, phase: str) -> None:
        """Record the means of a system whose splits are all measured, one record a measure, once."""
        own = [record for record in self.records if (record.system, record.phase) == (system, phase)]
        new = [replace(record, time=time.time()) for record in mean_records(self.means, own)]
        append_records(self.results_file, new)
        self.records += new
        for record in new[:: len(self.evaluator.measures)]:
            log.info("%s, %s on %s: %s %.4f", system, phase, record.split, record.measure, record.value)

    def write_tables(self) -> list[Table]:
        """The run's tables as of now, also written to table.md."""
        tables = run_tables(self.path)
        write_text(self.path / "table.md", to_markdown(tables))
        return tables


def _group(record: Record) -> tuple[str, ...]:
    return (record.system, record.phase, record.split, record.variant)


def _told(record: Record) -> str:
    """What was measured, for people: ``distill on test, muvera``."""
    what = record.phase if record.system == "student" else record.system_name
    return f"{what} on {record.split}" + ("" if record.variant == EXACT.label else f", {record.variant}")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
