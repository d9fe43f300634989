"""Go through a run as it would go, measuring a little of each part and predicting the whole."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Variant
from colbert_lab.evaluation.evaluator import EXACT, Evaluator
from colbert_lab.model.packing import packs
from colbert_lab.model.student import Student
from colbert_lab.plan.counting import Size, count
from colbert_lab.plan.evaluation import BaselineCosts, EvaluationCost, EvaluationCosts, members_of
from colbert_lab.plan.peaks import Guard, predict, refusal, resident, room
from colbert_lab.plan.steps import choose, measure
from colbert_lab.plan.table import PlannedEvaluation, PlannedPhase
from colbert_lab.settings.tasks import PlanSettings
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.training.cost import GIB, peak_bytes, reset_peak
from colbert_lab.training.evaluating import count_evaluations
from colbert_lab.training.phase import needs_gradcache
from colbert_lab.training.prepare import PreparedPhase

Known = Collection[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Training:
    """How much of a phase is done.

    Attributes:
        state: in words.
        step: optimizer steps.
        student: its folder when all is done; None when something is left to train.
    """

    state: str
    step: int
    student: Path | None


@dataclass(eq=False)
class Planner:
    """Predicts the parts of a run, in the order of the run.

    Attributes:
        limits: how much is measured.
        evaluator: of the run.
        known: (system, phase, split, variant) of what is measured already.
        device: where the student computes.
        processes: that train together.
        nodes: machines that they are on.
        disk: an existing folder on the disk of the run directory.
    """

    limits: PlanSettings
    evaluator: Evaluator
    known: Known
    _: KW_ONLY
    device: torch.device
    processes: int
    nodes: int
    disk: Path

    def __post_init__(self) -> None:
        limits = self.limits
        self.beside = max(1, self.processes // self.nodes)
        self.room = room(self.device, limits.memory, self.beside)
        self.notes: list[str] = []
        self.bar: Any = None
        self.systems = BaselineCosts(self._tick)
        self.costs = EvaluationCosts(
            self.evaluator, texts=limits.texts, batches=limits.encode, queries=limits.queries, tick=self._tick
        )
        self._searching = 0  # peak memory of what was measured of an evaluation

    def start(self, beside: Mapping[str, Scorer], to_train: int) -> None:
        """Open the progress bar.

        Args:
            beside: the systems beside the student.
            to_train: number of phases.

        Raises:
            InputError: loading alone takes more memory than there is to be.
        """
        held, most = resident(), self.limits.memory
        if most is not None and self.device.type == "cpu" and held * self.beside > most * GIB:
            raise InputError(
                f"plan.memory={most:g}: the process takes {held / GIB:.2f} GiB with student and text "
                "loaded, before anything is computed"
            )
        total = to_train * (self.limits.steps + 1)
        if self.evaluator.splits:
            total += len({member for scorer in beside.values() for member in members_of(scorer)})
            total += self.limits.encode + 1 + len(self.evaluator.search.variants)
        self.bar = progress_bar(total=total, desc="measuring", unit="part")

    def finish(self) -> list[str]:
        """Close the progress bar.

        Returns:
            Notes on how things were measured.
        """
        self.bar.close()
        return self.notes

    def _tick(self) -> None:
        self.bar.update()

    def baselines(self, beside: Mapping[str, Scorer]) -> PlannedEvaluation:
        """The rows beside the student."""
        seconds: dict[str, float] = {}
        done = 0
        for name, scorer in beside.items():
            missing = self._missing(name, "baselines", [EXACT])
            done += len(self.evaluator.splits) - len(missing)
            splits = {key: self.evaluator.splits[key] for key in missing}
            for part, took in self.systems.cost(name, scorer, splits).items():
                seconds[part] = took + self.costs.measures(part.partition("/")[2], self.evaluator)
        return PlannedEvaluation("baselines", seconds, done=done)

    def _missing(self, system: str, phase: str, variants: Sequence[Variant]) -> dict[str, list[Variant]]:
        """The ways to search that are not measured yet, by split."""
        left = {
            key: [v for v in variants if (system, phase, key, v.label) not in self.known]
            for key in self.evaluator.splits
        }
        return {key: found for key, found in left.items() if found}

    def evaluation(self, name: str, student: Student, stored: Student | None) -> PlannedEvaluation:
        """The student on every split.

        Args:
            name: ``before``, or the phase it follows.
            student: what reads texts as the student of that time will.
            stored: the student of that time, when it is there: its embeddings may be on disk.

        Raises:
            InputError: the embeddings do not fit into memory.
        """
        if self.costs.encoded is None:
            student.model.to(self.device)
            reset_peak(self.device)
            self.costs.measure(student)
            self._searching = peak_bytes()
        wanted = self._missing("student", name, self.evaluator.search.variants)
        every = len(self.evaluator.splits) * len(self.evaluator.search.variants)
        done = every - sum(map(len, wanted.values()))
        cost = self.costs.cost(stored or student, wanted, on_disk=stored is not None)
        if not cost.seconds:
            return PlannedEvaluation(name, done=done)
        needed = max(self._searching, resident()) + cost.bytes
        host = room(torch.device("cpu"), self.limits.memory if self.device.type == "cpu" else None)
        if host is not None and needed > host:
            held = self.evaluator.keeping.memory / GIB
            raise refusal(
                f"the evaluation {name}",
                needed,
                host,
                "evaluation.memory",
                f"lower evaluation.memory (now {held:g}: larger corpora are searched from files)",
            )
        return PlannedEvaluation(name, dict(cost.seconds), cost.tokens, needed, cached=cost.cached, done=done)

    def phase(
        self,
        phase: PreparedPhase,
        student: Student,
        state: Training,
        trainer: Mapping[str, Any],
        cut: Evaluator | None,
    ) -> PlannedPhase:
        """One phase; the student's weights are changed.

        Args:
            phase: how to train.
            student: what to train.
            state: how much of it is done.
            trainer: arguments of Lightning's Trainer.
            cut: what is evaluated while training.

        Raises:
            InputError: it does not fit into memory.
        """
        if state.student is not None:
            return PlannedPhase(phase.name, state.state)
        settings, limits = phase.settings, self.limits
        batches = phase.batches.share(0, self.processes)
        counted = count(phase, batches, state.step, limits.batches)
        largest = max(counted.sizes, key=lambda size: size.padded)
        choice = choose(batches, counted, limits.steps, limits.tokens)
        student.model.to(self.device)
        precision = trainer["precision"]
        recompute = needs_gradcache(phase, batches, student.model, precision, self.device, self.beside)
        guard = Guard(phase, student.model, recompute, self.room, precision != "32-true")

        def tick(size: Size, peak: int) -> None:
            guard.note(size, peak)
            self._tick()

        measured = measure(
            phase, student.model, choice, trainer,
            device=self.device, disk=self.disk, before=guard.check, after=tick, recompute=recompute,
        )  # fmt: skip
        peak = predict(measured, largest, student.model.dim)
        guard.refuse(peak.bytes if peak.device is None else peak.device, largest)
        seconds = measured.seconds(counted, settings.accumulation)
        if self.device.type == "cpu" and self.processes > self.nodes:
            seconds *= self.processes / self.nodes
            self._note("Processes share this machine's cores: what one takes alone is counted once for each.")
        if self.processes > 1:
            self._note("One of the processes was measured; what they tell each other is not counted.")
        if not counted.whole:
            self._note(
                f"{phase.name}: tokens of {len(counted.numbers):,} of its {counted.total:,} micro-batches were "
                "counted, evenly over the phase."
            )
        if settings.head_only_steps:
            self._note(
                f"{phase.name}: its first {settings.head_only_steps:,} steps, of the head alone, take less than those "
                "that were measured."
            )
        tried = max(step.size.queries for step in measured.steps)
        if not measured.whole:
            self._note(
                f"{phase.name}: steps of {tried} of its {largest.queries} queries were measured; the encoder's time "
                "is taken to grow with the tokens, that of the scores with queries x documents."
            )
        evaluations, each = 0, EvaluationCost({}, 0, 0)
        if cut is not None and settings.evaluate_every:
            evaluations = count_evaluations(state.step, settings.evaluate_every, phase.max_steps)
            each = self.costs.cost(student, None, cut)
        saved = phase.max_steps // settings.checkpoint_every - state.step // settings.checkpoint_every
        return PlannedPhase(
            phase.name,
            state.state,
            steps=phase.max_steps - state.step,
            micro_batches=counted.total,
            queries=counted.sum("queries") * self.processes,
            tokens=counted.sum("tokens") * self.processes,
            padded_tokens=counted.sum("packed" if packs(student.model.backbone) else "padded")
            * self.processes,
            counted=len(counted.numbers),
            measured_steps=len(measured.steps),
            measured_queries=tried,
            recompute=measured.recompute,
            seconds_training=seconds,
            seconds_reading=counted.seconds * counted.total,
            seconds_evaluating=evaluations * each.total,
            evaluations=evaluations,
            seconds_saving=saved * measured.saving,
            checkpoints=saved,
            peak_memory_bytes=peak.bytes,
            peak_device_bytes=peak.device,
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
