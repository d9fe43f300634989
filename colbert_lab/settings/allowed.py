"""What a setting may be: a range or a few words, which stand with the key, as metadata of its field.

Settings and the classes that a config names by ``_target_`` (teachers, sources of training data) are declared alike::

    batch_size: int = whole(1)
    b: float = number(0, 1, default=0.4)
    direction: str = one_of("teacher_student", "student_teacher")

:func:`colbert_lab.settings.checks.check_values` checks them when a config is read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import MISSING

ALLOWED, LIKE, FILLED = "allowed", "like", "filled"
"""Keys of a field's metadata: what it may be, the dataclass that says so of what stands below it, or that a list must
hold one value at least."""
MOST = 2**31 - 1
"""The largest whole number where nothing else is said: seeds, sizes and counts below it fit every library."""
NO_DEFAULT = dataclasses.MISSING
"""For an argument of a class that a config has to give; a setting's value comes from ``conf/``."""


@dataclass(frozen=True)
class Allowed:
    """What a setting may be.

    Attributes:
        numbers: whether it may be a number.
        whole: whether that is a whole number.
        low: the least number.
        high: the largest one.
        above: what a number must be larger than.
        below: what it must be smaller than.
        words: values that it may be beside, such as ``auto``.
        switch: whether it may be true or false.
        named: a part of the config whose names it may be too; "" for none.
        each: what the values of a list may be that stands for one, where the type says nothing of it; None where none
            may.
    """

    numbers: bool = False
    whole: bool = False
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    words: tuple[str | int, ...] = ()
    switch: bool = False
    named: str = ""
    each: Allowed | None = None

    def within(self, config: Mapping[str, Any]) -> Allowed:
        """The same with the names that a config has in :attr:`named` among the words."""
        part: Any = config
        for key in self.named.split("."):
            part = part.get(key) if isinstance(part, Mapping) else None
        names = tuple(map(str, part)) if isinstance(part, Mapping) else ()
        each = self.each and self.each.within(config)
        return replace(self, words=(*self.words, *names), each=each)

    def wrong(self, value: object) -> str | None:
        """What a value must be and is not, for a message; None where nothing is wrong with it."""
        if isinstance(value, bool):
            return None if self.switch else self._kinds()
        if isinstance(value, str | int) and value in self.words:
            return None
        if not self.numbers or not isinstance(value, int | float):
            return self._kinds()
        if self.whole and not isinstance(value, int):
            return self._kinds()
        if not math.isfinite(value):
            return "must be a finite number"
        outside = (
            (self.low is not None and value < self.low)
            or (self.above is not None and value <= self.above)
            or (self.high is not None and value > self.high)
            or (self.below is not None and value >= self.below)
        )
        return f"must be {self._range(value)}" if outside else None

    def _kinds(self) -> str:
        kinds = [*map(str, self.words), *(("true", "false") if self.switch else ())]
        if self.numbers:
            bounds = self._range()
            kinds.append(("a whole number" if self.whole else "a number") + (f", {bounds}" if bounds else ""))
        if self.each is not None:
            kinds.append("a list [...] of such")
        return ("must be one of " if len(kinds) > 1 else "must be ") + ", ".join(kinds)

    def _range(self, value: float = 0) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        told = {
            how: bound
            for how, bound in bounds.items()
            if bound is not None and (bound != MOST or value > MOST)
        }
        return " and ".join(f"{how} {bound:.10g}" for how, bound in told.items())


def whole(
    low: int,
    high: int = MOST,
    *,
    words: tuple[str | int, ...] = (),
    several: bool | Allowed = False,
    default: Any = MISSING,
) -> Any:
    """A field of a whole number (null too where its type says so).

    Args:
        low: the least one.
        high: the largest one.
        words: values that may stand for one, such as ``auto``.
        several: whether a list of such values may stand for one, or what its values may be.
        default: the field's default.
    """
    return _field(default, Allowed(True, True, low, high, words=words), several)


def number(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    default: Any = MISSING,
) -> Any:
    """A field of a finite number.

    Args:
        low: the least one.
        high: the largest one.
        above: what it must be larger than.
        below: what it must be smaller than.
        default: the field's default.
    """
    return _field(default, Allowed(True, False, low, high, above, below))


def one_of(
    *words: str | int, switch: bool = False, named: str = "", several: bool = False, default: Any = MISSING
) -> Any:
    """A field of one of a few words.

    Args:
        words: the words; a few numbers are words too.
        switch: see :class:`Allowed`.
        named: see there.
        several: see :func:`whole`.
        default: the field's default.
    """
    return _field(default, Allowed(words=words, switch=switch, named=named), several)


def filled(default: Any = MISSING) -> Any:
    """A field of a list with one value at least.

    Args:
        default: the field's default.
    """
    return dataclasses.field(default=default, metadata={FILLED: True})


def like(schema: type) -> Any:
    """A field of some keys of a dataclass (of all entries' shared values, for example); null by default."""
    return dataclasses.field(default=None, metadata={LIKE: schema})


def allowed_of(metadata: Mapping[str, Any]) -> Allowed | None:
    """What stands with a field; None where nothing does."""
    found: Allowed | None = metadata.get(ALLOWED)
    return found


def _field(default: Any, allowed: Allowed, several: bool | Allowed = False) -> Any:
    each = allowed if several is True else several or None
    return dataclasses.field(default=default, metadata={ALLOWED: replace(allowed, each=each)})
