"""A trial, in whatever process it runs: it reports to the file of its search, and is told when to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.trials import PRUNED
from colbert_lab.base.errors import Diverged
from colbert_lab.tuning.search import RUN, trials_in
from colbert_lab.tuning.storage import open_study

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial


class Pruned(Exception):
    """A trial is stopped before its end, because others are better or its training diverged. The message says why."""


class Reporting:
    """What a trial tells its search.

    Args:
        journal: the search's file.
        number: the trial's.
    """

    def __init__(self, journal: Path, number: int) -> None:
        self.journal, self.number = journal, number

    def begin(self, run: Path) -> None:
        """Say where the trial's run is."""
        study = open_study(self.journal)
        self._optuna(study).set_user_attr(RUN, str(run))

    def report(self, name: str, value: float, step: int, may_stop: bool = True) -> None:
        """Report a value of the dev curve.

        Args:
            name: what it is.
            value: of it.
            step: optimizer steps since the first phase began.
            may_stop: whether the trial may be stopped here.

        Raises:
            Pruned: the trial is to stop here; its search knows it.
        """
        study = open_study(self.journal)
        if step not in self._frozen(study).intermediate_values:  # a resumed phase evaluates some steps again
            self._optuna(study).report(value, step)
        if may_stop and study.pruner.prune(study, self._frozen(study)):
            raise self._pruned(study, f"{name} {value:.4f} at step {step} is behind the other trials")

    @contextmanager
    def of_diverging(self) -> Iterator[None]:
        """Training that diverges in the block ends the trial as one that is behind all others: the search goes on.

        Raises:
            Pruned: it diverged.
        """
        try:
            yield
        except Diverged as error:
            raise self._pruned(open_study(self.journal), str(error)) from error

    def _pruned(self, study: Study, why: str) -> Pruned:
        from optuna.trial import TrialState

        study.tell(self.number, state=TrialState.PRUNED, skip_if_finished=True)
        return Pruned(why)

    def _frozen(self, study: Study) -> FrozenTrial:
        return study.get_trials(deepcopy=False)[self.number]

    def _optuna(self, study: Study) -> OptunaTrial:
        from optuna.trial import Trial as OptunaTrial

        return OptunaTrial(study, self._frozen(study)._trial_id)


def pruned_run(journal: str, number: int) -> Path | None:
    """The run of a trial that was stopped before its end; None of any other.

    Args:
        journal: the search's file.
        number: the trial's.
    """
    trial = trials_in(Path(journal)).trials[number]
    return Path(trial.run) if trial.state == PRUNED and trial.run is not None else None
