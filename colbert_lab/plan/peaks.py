"""Peak memory of a phase from a few measured micro-batches; what does not fit is refused before it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT
from colbert_lab.plan.counting import Size, Work, fit_rates
from colbert_lab.plan.steps import Measured
from colbert_lab.training.cost import GIB, STATUS, activation_bytes, free_bytes, peak_bytes, system_bytes
from colbert_lab.training.prepare import PreparedPhase


def resident() -> int:
    """Bytes that this process holds now; where the system does not tell, the most that it has held."""
    held = system_bytes(STATUS, "VmRSS")
    return peak_bytes() if held is None else held


def room(device: torch.device, limit: float | None, beside: int = 1) -> int | None:
    """Bytes that this process may hold at most on a device, its present ones included.

    Args:
        device: a CPU stands for the machine's memory, within the limits of the process' control group.
        limit: GiB to take instead.
        beside: processes on this machine, which share its memory equally.

    Returns:
        None where that cannot be told.
    """
    if limit is not None:
        return int(limit * GIB) // (beside if device.type == "cpu" else 1)
    free = free_bytes(device)
    if free is None:
        return None
    if device.type == "cuda":
        return free + torch.cuda.memory_reserved(device)
    return resident() + free // beside


def refusal(what: str, needed: float, there: int, key: str, advice: str) -> InputError:
    """What does not fit, and which settings would change that.

    Args:
        what: part of the run.
        needed: predicted bytes.
        there: bytes that there are.
        key: what the prediction is about, as a setting.
        advice: what to change.
    """
    return InputError(
        f"{key}: {what} would need about {needed / GIB:.1f} GiB of memory at its peak, and {there / GIB:.1f} GiB are "
        f"there; {advice}"
    )


COPIES = 4  # of embeddings (measured: 3.8 from 512 to 1,024 pairs)
SCORES = 3  # float32 matrices of all queries by all documents: scores, their softmax, their gradients


@dataclass(frozen=True)
class Peak:
    """Predicted peak memory while a phase trains.

    Attributes:
        bytes: resident.
        device: on the device; None on a CPU.
    """

    bytes: int
    device: int | None


def predict(measured: Measured, largest: Size, dim: int) -> Peak:
    """The peak of a phase.

    Args:
        measured: of the phase.
        largest: its largest micro-batch.
        dim: of an embedding.
    """
    steps = measured.steps
    sizes = [step.size for step in steps]
    peaks = _at(sizes, [step.peak for step in steps], largest, dim, measured)
    if any(step.device_peak is None for step in steps):
        return Peak(peaks, None)
    # What is on a device is not in the host's memory as well.
    device = _at(sizes, [step.device_peak or 0 for step in steps], largest, dim, measured)
    return Peak(max(step.peak for step in steps), device)


def _at(sizes: Sequence[Size], peaks: Sequence[int], largest: Size, dim: int, measured: Measured) -> int:
    known = max(peaks)
    if measured.whole:
        return known
    before = max(sizes, key=lambda size: size.padded)
    if measured.recompute:
        # One chunk's activations whatever the batch; embeddings and scores grow.
        more = COPIES * 4 * dim * (largest.padded - before.padded)
        pairs = largest.queries * largest.documents - before.queries * before.documents
        return int(known + max(0, more) + max(0, SCORES * 4 * pairs))
    return max(known, int(along(sizes, peaks, largest.padded)))


def along(sizes: Sequence[Size], peaks: Sequence[float], padded: int) -> float:
    """Bytes at a number of padded tokens, on the line through measured peaks."""
    rates = fit_rates([Work(size.padded, 0.0) for size in sizes], peaks)
    return rates.of(Work(padded, 0.0))


@dataclass
class Guard:
    """Stops a measurement before a micro-batch that will not fit.

    Attributes:
        phase: that is measured.
        model: its network.
        recompute: whether activations are computed again.
        room: bytes there are where the student computes; None where that cannot be told.
        low_precision: whether the encoder runs in 16 bits.
        done: sizes and peaks so far, without the first one.
        first: whether none was measured.
    """

    phase: PreparedPhase
    model: ColBERT
    recompute: bool
    room: int | None
    low_precision: bool
    done: list[tuple[Size, int]] = field(default_factory=list)
    first: bool = True

    def note(self, size: Size, peak: int) -> None:
        """Remember a measured micro-batch; the first one still lacks the optimizer's state."""
        if not self.first:
            self.done.append((size, peak))
        self.first = False

    def check(self, size: Size) -> None:
        """Whether a micro-batch will fit.

        Raises:
            InputError: it will not.
        """
        if self.room is None:
            return
        budget = self.phase.settings.token_budget
        tokens = min(size.padded, budget) if self.recompute else size.padded
        # Without attention's own part: no step can take less.
        needed = activation_bytes(self.model.backbone.config, tokens, 0, self.low_precision) + resident()
        if len(self.done) > 1:
            sizes, peaks = zip(*self.done, strict=True)
            needed = max(needed, int(along(sizes, peaks, size.padded)))
        self.refuse(needed, size)

    def refuse(self, needed: int, size: Size) -> None:
        """Stop where so many bytes are too many.

        Raises:
            InputError: they are.
        """
        if self.room is None or needed <= self.room:
            return
        name, settings = f"phases.{self.phase.name}", self.phase.settings
        smaller = (
            f"lower {name}.batch_size (now {settings.batch_size}; raise accumulation for the same optimizer step) or "
            f"{name}.document_length"
        )
        if not self.recompute:
            key = f"{name}.recompute"
            advice = f"set {key}=true to compute activations again chunk by chunk, or {smaller}"
        else:
            key = f"{name}.token_budget"
            advice = (
                f"lower {key} (now {settings.token_budget}), which bounds a chunk's activations, or {smaller}"
            )
        what = f"a micro-batch of {size.padded:,} padded tokens"
        raise refusal(what, needed, self.room, key, advice)
