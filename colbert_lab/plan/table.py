"""A finished plan, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from colbert_lab.base.layout import Table
from colbert_lab.records.cost import device_hours

GIB = 2**30


@dataclass(frozen=True)
class PlannedPhase:
    """What a phase will take.

    Attributes:
        name: of the slot.
        state: ``to train``, ``goes on from step N``, ``finished here`` or ``reused from RUN``.
        steps: optimizer steps that are still to be taken.
        micro_batches: micro-batches of these.
        queries: of these, over all processes, like the tokens.
        tokens: without padding.
        padded_tokens: with padding.
        counted: micro-batches whose tokens were counted; all when equal to ``micro_batches``.
        measured_steps: training steps that were measured.
        measured_queries: queries of the largest micro-batch that was measured.
        recompute: whether activations are computed again in the backward pass; None when nothing is trained.
        seconds_training: what ``phase.json`` will say in ``seconds``.
        seconds_reading: reading and tokenizing, where that does not happen beside training.
        seconds_evaluating: evaluations while training.
        evaluations: how many.
        seconds_saving: checkpoints.
        checkpoints: how many.
        peak_memory_bytes: resident memory of the first process at its highest while training.
        peak_device_bytes: memory of its device; None on a CPU.
    """

    name: str
    state: str
    steps: int = 0
    micro_batches: int = 0
    queries: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    counted: int = 0
    measured_steps: int = 0
    measured_queries: int = 0
    recompute: bool | None = None
    seconds_training: float = 0.0
    seconds_reading: float = 0.0
    seconds_evaluating: float = 0.0
    evaluations: int = 0
    seconds_saving: float = 0.0
    checkpoints: int = 0
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """Everything of the phase."""
        return self.seconds_training + self.seconds_reading + self.seconds_evaluating + self.seconds_saving


@dataclass(frozen=True)
class PlannedEvaluation:
    """What one round of measurements will take.

    Attributes:
        name: ``baselines``, ``before`` or the phase it follows.
        seconds: by split and system or way to search; empty when nothing is left to measure.
        tokens: that the student encodes, without padding.
        bytes: predicted peak memory; None where no student is searched.
        cached: whether embeddings of an earlier run are used.
        done: how many were measured before.
    """

    name: str
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    bytes: int | None = None
    cached: bool = False
    done: int = 0

    @property
    def total(self) -> float:
        """Seconds of everything."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        run: its folder.
        finished: whether it is finished, so that nothing is computed.
        processes: that train together.
        hardware: where it was measured.
        set_up: seconds until the first measurement: imports, model, splits, training data.
        evaluations: ``baselines``, ``before``, and one after each phase.
        phases: in their order.
        measured_seconds: what the plan itself took.
        notes: what the numbers do not say.
    """

    run: str
    finished: bool
    processes: int
    hardware: str
    set_up: float
    evaluations: tuple[PlannedEvaluation, ...]
    phases: tuple[PlannedPhase, ...]
    measured_seconds: float
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        if self.finished:
            return 0.0
        return self.set_up + sum(e.total for e in self.evaluations) + sum(p.seconds for p in self.phases)

    @property
    def device_hours(self) -> float:
        """Hours of the run times its processes."""
        return device_hours(self.seconds, self.processes)

    @property
    def peak(self) -> int | None:
        """Largest predicted memory."""
        found = [p.peak_memory_bytes for p in self.phases] + [e.bytes for e in self.evaluations]
        return max((each for each in found if each is not None), default=None)


def plan_json(plan: Plan) -> str:
    """The plan with its sums."""
    whole: dict[str, Any] = asdict(plan)
    for made, phase in zip(whole["phases"], plan.phases, strict=True):
        made["seconds"] = phase.seconds
    for made, evaluation in zip(whole["evaluations"], plan.evaluations, strict=True):
        made["total"] = evaluation.total
    whole |= {"seconds": plan.seconds, "device_hours": plan.device_hours, "peak_memory_bytes": plan.peak}
    return json.dumps(whole, indent=2) + "\n"


def plan_table(plan: Plan) -> Table:
    """One row for each part of the run, in their order, and the whole."""
    rows: list[tuple[str, ...]] = [("set-up", "", "", "", duration(plan.set_up), "imports, student, text")]
    after = {evaluation.name: evaluation for evaluation in plan.evaluations}
    for name in ("baselines", "before"):
        if name in after:
            rows.append(_evaluation_row(after[name]))
    for phase in plan.phases:
        rows += _phase_rows(phase)
        if phase.name in after:
            rows.append(_evaluation_row(after[phase.name]))
    steps, tokens = (sum(getattr(phase, name) for phase in plan.phases) for name in ("steps", "tokens"))
    took, hours = duration(plan.seconds), f"{plan.device_hours:.3g} device-hours"
    rows.append(("whole run", f"{steps:,}", f"{tokens:,}", _gib(plan.peak), took, hours))
    verdict = f"The run would take about {took} ({hours})."
    if plan.finished:
        verdict = "This run is finished, so the command would only show it (reuse=false trains anew)."
    notes = [
        *plan.notes,
        "memory: resident memory of the process at its highest; tokens: without padding.",
        f"Measured in {duration(plan.measured_seconds)} on {plan.hardware}; nothing was trained or kept.",
    ]
    columns = ("part", "steps", "tokens", "memory", "time", "of which")
    return Table(f"Plan of {plan.run}", columns, tuple(rows), (verdict,), tuple(notes))


def _phase_rows(phase: PlannedPhase) -> list[tuple[str, ...]]:
    if not phase.steps:
        return [(f"train {phase.name}", "0", "0", "", duration(0.0), phase.state)]
    said = [] if phase.state == "to train" else [phase.state]
    said.append(f"{phase.micro_batches:,} micro-batches")
    if phase.recompute:
        said.append("GradCache")
    memory, took = _gib(phase.peak_device_bytes or phase.peak_memory_bytes), duration(phase.seconds_training)
    counts = (f"{phase.steps:,}", f"{phase.tokens:,}")
    rows: list[tuple[str, ...]] = [(f"train {phase.name}", *counts, memory, took, ", ".join(said))]
    for what, seconds, told in (
        ("reading", phase.seconds_reading, "tokenizing between steps"),
        ("evaluations", phase.seconds_evaluating, f"{phase.evaluations} while training"),
        ("checkpoints", phase.seconds_saving, f"{phase.checkpoints}"),
    ):
        if seconds:
            rows.append((f"  {what}", "", "", "", duration(seconds), told))
    return rows


def _evaluation_row(evaluation: PlannedEvaluation) -> tuple[str, ...]:
    name = "baselines" if evaluation.name == "baselines" else f"evaluate {evaluation.name}"
    said = []
    if evaluation.seconds:
        said.append(f"{len(evaluation.seconds)} rankings")
    if evaluation.done:
        said.append(f"{evaluation.done} measured before")
    if evaluation.cached:
        said.append("embeddings of an earlier run")
    tokens, took = f"{evaluation.tokens:,}" if evaluation.tokens else "", duration(evaluation.total)
    return (name, "", tokens, _gib(evaluation.bytes), took, ", ".join(said) or "nothing")


def duration(seconds: float) -> str:
    """A time with two units at most: ``12 s``, ``3 min 20 s``, ``5 h 10 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    units: Sequence[tuple[str, int]] = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (large, size), (small, part) in pairwise(units):
        if whole >= size:
            rest = (whole % size) // part
            return f"{whole // size} {large} {rest} {small}" if rest else f"{whole // size} {large}"
    return f"{whole} s"


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / GIB:.2f} GiB"
