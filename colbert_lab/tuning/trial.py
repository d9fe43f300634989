"""A trial, in whatever process it runs, and the end of a search.

A trial reports to the file of its search, and is told when to stop. The end of a search shows the best trial, the
command that measures it on all splits, and a picture.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.analysis.trials import FINISHED, PRUNED, Trial, Trials, plot_search
from colbert_lab.base.atomic import atomic_path
from colbert_lab.base.errors import Diverged, InputError
from colbert_lab.tuning.search import RUN, trials_in
from colbert_lab.tuning.storage import open_study

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as OptunaTrial
PICTURE = "search.png"


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


def show_search(journal: Path, folder: Path, again: str) -> None:
    """Print what a search found so far, and draw it in ``search.png``.

    Args:
        journal: its file.
        folder: where the picture goes.
        again: the command that goes on with it.
    """
    found = trials_in(journal)
    best = found.best
    if best is None:
        print("search: no trial is finished yet")
        return
    counts = {state: sum(each.state == state for each in found.trials) for state in (FINISHED, PRUNED)}
    print(
        f"search: best of {counts[FINISHED]} finished and {counts[PRUNED]} pruned trials is {best.number}, "
        f"{found.objective} {best.value:.4f}"
    )
    print(f"to measure it on all splits: {best_command(again, best)}")
    try:
        draw(found, folder / PICTURE)
    except InputError as missing:
        print(f"search: no picture: {missing}")
    else:
        print(f"picture: {folder / PICTURE}")


def draw(found: Trials, file: Path) -> None:
    """Write the picture of a search as PNG.

    Args:
        found: its trials.
        file: where.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = plot_search(found)
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png")


def best_command(again: str, best: Trial) -> str:
    """The command that runs a trial's settings as one run, which trains nothing again.

    Args:
        again: the search's command.
        best: the trial.
    """
    start, words = shlex.split(again)[:3], shlex.split(again)[3:]  # python -m colbert_lab
    kept = [word for word in words if not _of_search(word, [key.lstrip("+") for key in best.tried])]
    tried = [f"{key}={value}" for key, value in best.tried.items()]
    return shlex.join([*start, *kept, *tried, "hydra.mode=RUN"])


def _of_search(word: str, keys: Sequence[str]) -> bool:
    if word in ("-m", "--multirun"):
        return True
    key = word.partition("=")[0].lstrip("+")
    return key in keys or key.startswith(
        ("hydra/sweeper", "hydra.sweeper", "hydra/launcher", "hydra.launcher", "hydra.mode")
    )
