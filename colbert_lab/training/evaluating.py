"""Evaluation on dev while a phase trains, and what it decides: which student is kept and when the phase ends early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from colbert_lab.model.colbert import ColBERT
from colbert_lab.settings.groups import PhaseSettings
from colbert_lab.training.callbacks import Points

Evaluate = Callable[[int], Mapping[str, float]]


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


class EvaluateWhileTraining(Callback):
    """Evaluates on a development split before the first optimizer step, every N steps and after the last one.

    The first process evaluates. Where the values decide something, it tells them to the others, so that all keep the
    same student and stop at the same step. Checkpoints hold the best student so far and what was seen.

    Args:
        every: optimizer steps between evaluations.
        evaluate: called with the step; returns values by name (``<split>_small/<measure>``), which are logged at that
            step. None in all processes but the first.
        points: does not count the time that it takes.
        model: the network that is evaluated.
        selection: decides by the values; None where nothing does.
        gather: called in all processes before each evaluation, where the student has to be put together.
    """

    def __init__(
        self,
        every: int,
        evaluate: Evaluate | None,
        points: Points,
        model: ColBERT,
        selection: Selection | None = None,
        gather: Callable[[], None] | None = None,
    ) -> None:
        self.gather = gather
        self.every = every
        self.evaluate = evaluate
        self.points = points
        self.model = model
        self.selection = selection
        self.best_weights: dict[str, Tensor] = {}
        self._done = -1

    @property
    def _has_weights(self) -> bool:
        """Whether this process has the student's weights where it is evaluated."""
        return self.gather is None or self.evaluate is not None

    def state_dict(self) -> dict[str, Any]:
        """The step last evaluated and, where something is decided, by what, with the weights of the best student."""
        state: dict[str, Any] = {"done": self._done}
        if self.selection is not None:
            state |= {"selection": self.selection.state(), "best_weights": self.best_weights}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do not evaluate that step again, and go on with the best student so far."""
        self._done = state_dict["done"]
        if self.selection is not None:
            self.selection.restore(state_dict["selection"])
            self.best_weights = state_dict["best_weights"] if self._has_weights else {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate the student that the phase begins with; a resumed phase may have ended already."""
        if trainer.global_step == 0:
            self._evaluate(trainer, pl_module)
        self._stop(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Evaluate after an optimizer step that is due, once."""
        if is_due(trainer.global_step, self.every, trainer.max_steps) and trainer.global_step != self._done:
            self._evaluate(trainer, pl_module)
            self._stop(trainer)

    def _evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._done = step = trainer.global_step
        self.points.stop(pl_module.device)
        if self.gather is not None:
            self.gather()
            if self._has_weights:
                self.model.to(pl_module.device)
        values = None if self.evaluate is None else dict(self.evaluate(step))
        self.points.dev = values or {}
        for logger in trainer.loggers:
            logger.log_metrics(values or {}, step=step)
        if self.selection is not None:
            mine = None if values is None else _value_of(self.selection.measure, values)
            value: Any = trainer.strategy.broadcast(mine)
            if self.selection.see(step, value) and self._has_weights:
                weights = self.model.state_dict()
                self.best_weights = {name: weight.detach().cpu().clone() for name, weight in weights.items()}
        if self.gather is not None and self._has_weights:
            self.model.cpu()
        self.points.go_on()

    def _stop(self, trainer: pl.Trainer) -> None:
        if self.selection is not None and self.selection.stops:
            trainer.should_stop = True


def _value_of(measure: str, values: Mapping[str, float]) -> float:
    """The value of a measure among those by split and measure."""
    (value,) = (value for name, value in values.items() if name.rpartition("/")[2] == measure)
    return float(value)


def is_due(step: int, every: int, max_steps: int) -> bool:
    """Whether dev is evaluated after an optimizer step.

    Args:
        step: optimizer steps done.
        every: steps between evaluations.
        max_steps: of the phase.
    """
    return step % every == 0 or step == max_steps


def count_evaluations(done: int, every: int, max_steps: int) -> int:
    """How many evaluations are left of a phase that does not end early.

    Args:
        done: optimizer steps of the checkpoint that it goes on from; 0 at its beginning, which is evaluated too.
        every: steps between evaluations.
        max_steps: of the phase.
    """
    first = 0 if done == 0 else done + 1
    return sum(is_due(step, every, max_steps) for step in range(first, max_steps + 1))
