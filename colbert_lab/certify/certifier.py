"""Go through the phases of a schedule and make every check of some of their micro-batches."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.progress import progress_bar
from colbert_lab.certify.as_trained import FULL, Step, cut_phase, stages, train_step, training
from colbert_lab.certify.certificate import Finding
from colbert_lab.certify.checks import ALONE, Difference, gathering, largest
from colbert_lab.certify.micro_batch import MicroBatch, Shared, shared, two_processes
from colbert_lab.certify.reference import Reference, without_reference
from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.projection import ProjectionHead
from colbert_lab.model.student import Student
from colbert_lab.training.phase import needs_gradcache
from colbert_lab.training.prepare import PreparedPhase


@dataclass(frozen=True)
class Limits:
    """What is checked, see ``conf/certify``.

    Attributes:
        checks: their names.
        micro_batches: of each phase.
        queries: of a micro-batch at most.
        documents: of a query at most.
        tolerances: by key below ``certify.tolerance``, such as ``float32.loss``.
    """

    checks: Collection[str]
    micro_batches: int
    queries: int
    documents: int
    tolerances: Mapping[str, float]


@dataclass(eq=False)
class Certifier:
    """Checks the phases of a schedule.

    Attributes:
        limits: what is checked.
        student: as it is before the first phase; its weights stay as they are.
        precision: what the config trains in, Lightning's name.
        device: where the student computes.
    """

    limits: Limits
    student: Student
    precision: str
    device: torch.device

    def __post_init__(self) -> None:
        self.attention = self.student.model.backbone.config._attn_implementation
        self.notes: list[str] = []
        self.made: dict[str, str] = {}
        self.recompute: dict[str, bool] = {}

    def certify(self, phases: Sequence[PreparedPhase]) -> list[Finding]:
        """Make the checks.

        Args:
            phases: those of the schedule.

        Returns:
            The largest difference of each kind, phase by phase.

        Raises:
            InputError: none of the checks says anything here, or something does not fit into memory.
        """
        checks = [name for name in ALONE if name in self.limits.checks]
        if "precision" in checks and self.precision == FULL:
            checks.remove("precision")
            self._note(f"precision: trainer.precision={FULL} is what others are compared with.")
        elif "precision" in checks:
            self._note(f"precision: trainer.precision={self.precision} against {FULL}.")
        together = "gathering" in self.limits.checks
        if not checks and not together:
            raise InputError(
                f"certify.checks: with trainer.precision={FULL} there is nothing to compare; add another check"
            )
        head = self.student.model.head
        if isinstance(head, ProjectionHead):
            self._note(
                f"The head {head.target} brings no reference: the plain way uses its code too, text by text, so its "
                "formula is not checked."
            )
        cut = [cut_phase(phase, self.limits.queries, self.limits.documents) for phase in phases]
        for whole, phase in zip(phases, cut, strict=True):
            self.recompute[phase.name] = needs_gradcache(
                whole, whole.batches, self.student.model, self.precision, self.device
            )
        found: dict[str, list[Difference]] = {phase.name: [] for phase in cut}
        total = sum(len(stages(phase)) for phase in cut)
        total *= self.limits.micro_batches * (len(checks) + together)
        with progress_bar(total=total, desc="certifying", unit="check") as bar:
            try:
                if checks:
                    self._alone(cut, checks, found, bar)
                if together:
                    self._together(cut, found, bar)
            except torch.OutOfMemoryError as error:
                raise InputError(
                    "certify.queries: the checks need more memory than the device has; lower certify.queries "
                    f"(now {self.limits.queries}) or certify.documents (now {self.limits.documents})"
                ) from error

        def allowed(key: str | None) -> float:
            return 0.0 if key is None else self.limits.tolerances[key]

        findings = [
            Finding(name, each.check, each.what, each.value, allowed(each.tolerance), each.tolerance)
            for name, differences in found.items()
            for each in largest(differences)
        ]
        if not findings:
            raise InputError("certify.checks: none of them says anything of this config; add another one")
        return findings

    def _alone(
        self,
        phases: Sequence[PreparedPhase],
        checks: Sequence[str],
        found: dict[str, list[Difference]],
        bar: Any,
    ) -> None:
        model = self.student.model.to(self.device)
        for phase, head_alone in _staged(phases):
            with training(phase, model, head_alone):
                reference = Reference(model)
                if reference.dtype != torch.float64:
                    self._note("The reference was computed in float32: float64 cannot be had here.")
                for k in range(self.limits.micro_batches):
                    micro = MicroBatch(phase, k, model, reference, self.precision, self.recompute[phase.name])
                    if k == 0 and not head_alone:
                        self._describe(phase, micro)
                    for name in checks:
                        found[phase.name] += ALONE[name](micro)
                        bar.update()

    def _describe(self, phase: PreparedPhase, micro: MicroBatch) -> None:
        trained, everything = count_parameters(micro.model), sum(p.numel() for p in micro.model.parameters())
        if trained < everything:
            self._note(
                f"{phase.name}: {trained:,} of {everything:,} weights are trained; the others get no gradient."
            )
        if phase.lora is not None:
            self._note(
                f"{phase.name}: the second matrices of its adapters, which start at zero, have small random values "
                "here, so that the first ones have a gradient."
            )
        if phase.settings.head_only_steps:
            self._note(f"{phase.name}: its first steps, of the head alone, were checked too.")
        for name in without_reference(phase.objective):
            self._note(
                f"{phase.name}: the term {name} brings no reference: its own code got the plain scores, so its formula "
                "is not checked."
            )
        batch = micro.batch
        texts = sum(len(chunk.input_ids_NL) for chunk in batch.documents)
        self.made[phase.name] = (
            f"{self.limits.micro_batches} micro-batches of {len(micro.examples)} queries, about {texts} documents, in "
            f"{len(batch.documents)} chunks of at most {phase.settings.token_budget:,} tokens"
        )
        if micro.dropout:
            self._note(
                "Dropout is on in this student: two ways to compute that draw other masks (other chunks, processes, "
                "torch.compile) train alike and not the same. All checks but recomputation turn it off."
            )
        else:
            self._note("Dropout is off in this student and makes no difference.")

    def _together(
        self, phases: Sequence[PreparedPhase], found: dict[str, list[Difference]], bar: Any
    ) -> None:
        tasks: list[Shared] = []
        alone: list[tuple[str, Step]] = []
        model = self.student.model
        if self.device.type != "cpu":
            model = copy.deepcopy(model).cpu()
            self._note("gathering: computed on the CPU, where two processes can always meet.")
        attention = "sdpa" if "flash" in self.attention else self.attention
        model.backbone.set_attn_implementation(attention)
        for phase, head_alone in _staged(phases):
            for k in range(self.limits.micro_batches):
                recompute = self.recompute[phase.name]
                task = shared(phase, k, recompute, head_alone)
                if task is None:
                    self._note(
                        f"gathering: {phase.name} has micro-batches of {phase.batches.batch_size} queries here, which "
                        "two processes cannot share equally: not checked."
                    )
                    bar.update()
                    continue
                tasks.append(task)
                with training(phase, model, head_alone):
                    step = train_step(phase, model, phase.batches[k], FULL, recompute=recompute)
                alone.append((phase.name, step))
        if not tasks:
            return
        with two_processes(Student(model, self.student.tokenizer), attention, tasks) as read:
            for number, (name, one) in enumerate(alone):
                found[name] += gathering(one, read(number))
                bar.update()

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _staged(phases: Sequence[PreparedPhase]) -> Iterator[tuple[PreparedPhase, bool]]:
    """Each phase in each of its stages, see :func:`colbert_lab.certify.as_trained.stages`."""
    return ((phase, head_alone) for phase in phases for head_alone in stages(phase))
