"""Which student of a phase is kept and when the phase ends early, decided by its values on dev."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from colbert_lab.settings.groups import PhaseSettings


@dataclass(frozen=True)
class DevValue:
    """A value on dev.

    Attributes:
        step: optimizer steps done.
        value: of the measure, from 0 to 1, the more the better.
    """

    step: int
    value: float


class Selection:
    """Sees the values on dev in their order, and says what follows from them.

    The best value is the highest, the earliest of equal ones. An improvement is the first value, and each that is more
    than ``min_delta`` above the last improvement. After ``patience`` values in a row that are none, the phase ends.
    These are the rules of Lightning's ``EarlyStopping`` with ``mode="max"``.

    Args:
        measure: name of the measure, such as ``ndcg@10``.
        keep_best: whether the student with the best value is kept, and not the last one.
        patience: None never ends the phase.
        min_delta: see above.
    """

    def __init__(self, measure: str, keep_best: bool, patience: int | None, min_delta: float) -> None:
        self.measure = measure
        self.keep_best = keep_best
        self.patience = patience
        self.min_delta = min_delta
        self.best: DevValue | None = None
        self.last: DevValue | None = None
        self._improved = float("-inf")
        self._waited = 0

    @classmethod
    def of(cls, settings: PhaseSettings) -> Self | None:
        """What a phase asks for; None where values on dev decide nothing."""
        if settings.chooses is None:
            return None
        early = settings.early_stopping
        return cls(early.measure, settings.keep == "best", early.patience, early.min_delta)

    def see(self, step: int, value: float) -> bool:
        """Take the next value.

        Args:
            step: optimizer steps done.
            value: of the measure.

        Returns:
            Whether it is the best one so far.
        """
        self.last = DevValue(step, value)
        better = self.best is None or value > self.best.value
        if better:
            self.best = self.last
        if value - self.min_delta > self._improved:
            self._improved, self._waited = value, 0
        else:
            self._waited += 1
        return better

    @property
    def stops(self) -> bool:
        """Whether the phase ends here."""
        return self.patience is not None and self._waited >= self.patience

    @property
    def kept(self) -> DevValue:
        """The value of the student that is kept, as of now."""
        assert self.best is not None
        assert self.last is not None
        return self.best if self.keep_best else self.last

    def told(self, max_steps: int) -> dict[str, Any]:
        """What ``phase.json`` says of it, see :class:`colbert_lab.records.run_files.SelectionFacts`.

        Args:
            max_steps: the steps that the phase would have had.
        """
        assert self.best is not None
        assert self.last is not None
        return {
            "keep": "best" if self.keep_best else "last",
            "measure": self.measure,
            "step": self.kept.step,
            "best": {"step": self.best.step, "value": self.best.value},
            "last": {"step": self.last.step, "value": self.last.value},
            "stopped_early": self.last.step < max_steps,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        values = {
            name: each and (each.step, each.value)
            for name, each in (("best", self.best), ("last", self.last))
        }
        return {**values, "improved": self._improved, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.best, self.last = (each and DevValue(*each) for each in (state["best"], state["last"]))
        self._improved, self._waited = state["improved"], state["waited"]
