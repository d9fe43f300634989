"""A search: which trials there are, what the next one tries, and what became of them.

What is tried are ranges and choices in Hydra's syntax, as Optuna's distributions.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, Transformer

from colbert_lab.analysis.trials import FINISHED, LEFT, PRUNED, Trial, Trials
from colbert_lab.base.errors import InputError
from colbert_lab.settings.checks import TARGET
from colbert_lab.settings.tasks import SearchSettings
from colbert_lab.tuning.storage import cut_half_line, new_sampler, open_study, reading

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

DIGITS = 4
"""Significant digits of a value that is tried, as a person would write it."""
LOG = "log"
ONE_SEQUENCE = "QMCSampler"
"""A sampler whose trials are the points of one sequence: its seed is the same for all of them."""
RUN, OBJECTIVE, VALUES = "run", "objective", "tried"
"""In attributes: a trial's run directory, what the search is for, and what a trial's overrides say."""
FEW = 4
"""Finished trials below which nothing is said of importance."""


@dataclass(frozen=True)
class Space:
    """What is tried, and what is the same in all trials.

    Attributes:
        searched: distributions by key, as an override names it.
        fixed: the other overrides.
    """

    searched: Mapping[str, BaseDistribution]
    fixed: tuple[str, ...]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """What runs one trial.

        Args:
            values: what Optuna chose, by key.
        """
        tried = [f"{key}={told(each, values[key])}" for key, each in self.searched.items()]
        return [*self.fixed, *tried]

    def corners(self) -> Iterator[dict[str, Any]]:
        """Values that between them have both ends of each range and each choice: to check that all can be composed."""
        every = {key: _some(each) for key, each in self.searched.items()}
        for number in range(max(len(some) for some in every.values())):
            yield {key: some[min(number, len(some) - 1)] for key, some in every.items()}


def read_space(arguments: Sequence[str]) -> Space:
    """Tell what is searched from what is not; the last of several overrides of a key counts.

    Args:
        arguments: overrides; ``interval(a,b)`` is a range of numbers, ``int(interval(a,b))`` of whole numbers,
            ``range(a,b,step)`` of steps below b, ``a,b`` a choice; ``tag(log,...)`` of an interval searches
            its logarithm.

    Raises:
        InputError: nothing is searched, or a range that is empty, the wrong way round or has no logarithm.
    """
    last = {
        each.get_key_element(): each for each in OverridesParser.create().parse_overrides(list(arguments))
    }
    found = {key: _distribution(key, each) for key, each in last.items() if each.is_sweep_override()}
    if not found:
        raise InputError(
            "hydra.sweeper.params: nothing to search; give a key a range, such as "
            "'phases.distill.optimizer.lr=tag(log,interval(1e-5,1e-3))'"
        )
    if "seed" in found:
        raise InputError(
            "seed: the best seed says nothing of the settings; give one seed, and search other keys"
        )
    fixed = [str(each.input_line) for each in last.values() if not each.is_sweep_override()]
    return Space(found, tuple(fixed))


def told(distribution: BaseDistribution, value: Any) -> str:
    """A value as an override has it; numbers have four significant digits, and stay in their range.

    Args:
        distribution: of its key.
        value: what Optuna chose.
    """
    from optuna.distributions import FloatDistribution

    if not isinstance(distribution, FloatDistribution):
        return str(value)
    rounded = float(f"{value:.{DIGITS}g}")
    return str(min(max(rounded, distribution.low), distribution.high))


def _distribution(key: str, override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    given = override.input_line
    if override.is_interval_sweep():
        interval = override.value()
        assert isinstance(interval, IntervalSweep)
        low, high, log = interval.start, interval.end, LOG in interval.tags
        assert low is not None
        assert high is not None
        if unknown := interval.tags - {LOG}:
            raise InputError(f"{given}: no such tag as {', '.join(sorted(unknown))}; there is {LOG}")
        if low >= high:
            why = "is empty" if low == high else "is the wrong way round"
            raise InputError(
                f"{given}: the range {why}; the lower end comes first, as in {key}=interval(1,2)"
            )
        if log and low <= 0:
            raise InputError(f"{given}: a log scale begins above 0")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    if override.is_range_sweep() or isinstance(override.value(), ChoiceSweep):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        if not choices:
            raise InputError(
                f"{given}: the range is empty; the lower end comes first, as in {key}=range(1,5)"
            )
        if len(set(map(str, choices))) < len(choices):
            raise InputError(f"{given}: the same choice twice; leave one out")
        if override.is_choice_sweep() or len(choices) == 1:
            return CategoricalDistribution([str(each) for each in choices])
        step = abs(choices[1] - choices[0])
        if all(isinstance(each, int) for each in choices):
            return IntDistribution(min(choices), max(choices), step=step)
        return FloatDistribution(min(choices), max(choices), step=step)
    raise InputError(f"{given}: is no range and no choice; name the choices, as in {key}=a,b")


def _some(distribution: BaseDistribution) -> list[Any]:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Asked:
    """A trial to run: its number, and the values of what is searched as overrides have them."""

    number: int
    overrides: Sequence[str]


class Search:
    """A search that goes on where it was left.

    Each trial is chosen by a sampler of its own, whose seed comes from the search's and the trial's number: what a
    trial tries depends on nothing but the trials before it, also after a kill.

    Args:
        journal: its file; it is made where it is missing.
        space: what is searched.
        settings: how.
        objective: what for, such as ``dev/ndcg@10``.

    Raises:
        InputError: a sampler or pruner that cannot be made, or a sampler with a seed of its own.
    """

    def __init__(self, journal: Path, space: Space, settings: SearchSettings, objective: str) -> None:
        if "seed" in settings.sampler:
            raise InputError(
                "hydra.sweeper.sampler.seed: set hydra.sweeper.seed, which gives each trial a seed"
            )
        new_sampler(settings.sampler, settings.seed)  # refused before a file is made
        self.space, self.settings = space, settings
        cut_half_line(journal)
        self.study = open_study(journal, direction=settings.direction, pruner=settings.pruner)
        self.study.set_user_attr(OBJECTIVE, objective)

    def left(self) -> list[int | None]:
        """Trials to run: the numbers of those that were begun and have no end, and None for each new one."""
        trials = self.study.get_trials(deepcopy=False)
        begun: list[int | None] = [each.number for each in trials if not each.state.is_finished()]
        return begun + [None] * (self.settings.n_trials - len(trials))

    def ask(self, number: int | None) -> Asked:
        """Choose what a trial tries, or what it tried before.

        Args:
            number: of a trial that was begun; None begins one.
        """
        from optuna.trial import Trial as OptunaTrial

        trials = self.study.get_trials(deepcopy=False)
        fixed = str(self.settings.sampler[TARGET]).endswith(ONE_SEQUENCE)
        seed = self.settings.seed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            at = len(trials) if number is None else number
            self.study.sampler = new_sampler(self.settings.sampler, seed if fixed else seed_of(seed, at))
            trial = self.study.ask() if number is None else OptunaTrial(self.study, trials[number]._trial_id)
            values = {key: trial._suggest(key, each) for key, each in self.space.searched.items()}
        words = {key: told(each, values[key]) for key, each in self.space.searched.items()}
        trial.set_user_attr(VALUES, words)
        return Asked(trial.number, self.space.overrides(values))

    def tell(self, number: int, value: float) -> None:
        """Say what a trial came to; one that has an end keeps it.

        Args:
            number: the trial's.
            value: of the objective.
        """
        self.study.tell(number, value, skip_if_finished=True)


def seed_of(seed: int, number: int) -> int:
    """The seed of a trial's sampler, of 32 bits.

    Args:
        seed: of the search.
        number: of the trial.
    """
    return int(hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:8], 16)


def trials_in(journal: Path) -> Trials:
    """What a search's file says of all its trials.

    Args:
        journal: the file.

    Raises:
        InputError: the file is damaged.
    """
    import optuna

    study = open_study(journal)
    with reading(journal):
        every = study.get_trials(deepcopy=False)
        ranges = {key: each for trial in every for key, each in trial.distributions.items()}
        return Trials(
            objective=str(study.user_attrs[OBJECTIVE]),
            maximize=study.direction is optuna.study.StudyDirection.MAXIMIZE,
            logarithmic=frozenset(key for key, each in ranges.items() if getattr(each, "log", False)),
            trials=[_trial(each) for each in every],
            importance=_importance(study),
        )


def _trial(found: FrozenTrial) -> Trial:
    from optuna.trial import TrialState

    state = {TrialState.COMPLETE: FINISHED, TrialState.PRUNED: PRUNED}.get(found.state, LEFT)
    words = found.user_attrs.get(VALUES, {})
    tried = {
        key: word if isinstance(found.params.get(key), str) else float(word) for key, word in words.items()
    }
    value = found.value if state == FINISHED else None
    return Trial(found.number, state, tried, value, found.intermediate_values, found.user_attrs.get(RUN))


def _importance(study: Study) -> dict[str, float]:
    """Shares by PED-ANOVA: how much of where the best tenth of the finished trials lies is due to each key alone.

    Watanabe, Bansal and Hutter (2023), https://arxiv.org/abs/2304.10255, as in Optuna.
    """
    import optuna

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(done) < FEW or len({trial.value for trial in done}) == 1:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(study)
        except (RuntimeError, ValueError):  # all trials tried the same
            return {}
