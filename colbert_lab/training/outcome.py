"""What a finished phase leaves beside its student: ``phase.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.base.outside import read_json
from colbert_lab.base.types import PHASE_FILE


@dataclass(frozen=True)
class PhaseOutcome:
    """What a finished phase did, as ``phase.json`` keeps it.

    Attributes:
        phase_hash: identity of the phase (settings, seed, data, parent).
        steps: optimizer steps.
        seconds: wall time of training with the wait for data, evaluations while training left out.
        queries: queries processed.
        tokens: tokens processed, without padding.
        padded_tokens: tokens the encoder computed, with padding.
        teacher_entropy: mean normalised entropy of the teacher's distributions before step 1, if it distils.
        prompt_mismatch: the parent's prompts, when the phase was allowed to differ from them.
        truncation: by role, the share of texts that is cut, with and without prompt.
        reused_from: the run that trained it, when this one did not.
        devices: processes that trained together, each on a device; this and what follows is None in older files.
        flops: floating-point operations of the encoder, see :class:`colbert_lab.training.cost.EncoderFlops`.
        matmul_rate: what one device can do in a second, see :func:`colbert_lab.training.cost.matmul_rate`.
        peak_memory_bytes: most resident memory of the first process while it trained.
        peak_device_bytes: most memory of its GPU; None on a CPU.
        selection: which student was kept by which values on dev, see
            :class:`colbert_lab.records.run_files.SelectionFacts`; None where they decided nothing.
    """

    phase_hash: str
    steps: int
    seconds: float
    queries: int
    tokens: int
    padded_tokens: int
    teacher_entropy: float | None
    prompt_mismatch: dict[str, str] | None
    truncation: dict[str, dict[str, float]]
    reused_from: str | None = None
    devices: int | None = None
    flops: float | None = None
    matmul_rate: float | None = None
    peak_memory_bytes: int | None = None
    peak_device_bytes: int | None = None
    selection: Any = None

    @property
    def kept_step(self) -> int:
        """Optimizer steps of the student that was kept."""
        return self.steps if self.selection is None else int(self.selection["step"])


def finished_phase(folder: Path) -> PhaseOutcome | None:
    """The outcome of a finished phase in ``folder``, or None.

    Raises:
        InputError: its file is damaged.
    """
    path = folder / PHASE_FILE
    again = f"delete {folder}, and the same command trains the phase anew"
    return read_json(path, PhaseOutcome, again) if path.exists() else None
