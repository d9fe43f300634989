"""What a search tries: ranges and choices in Hydra's syntax, as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, Transformer

from colbert_lab.base.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4
"""Significant digits of a value that is tried, as a person would write it."""
LOG = "log"


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
