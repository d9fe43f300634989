"""The stages of a command's work: which of them is under way, and how long all that is left takes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from colbert_lab.base.logs import process_rank

log = logging.getLogger(__name__)
LEAST_SECONDS = 5.0
"""Work of so many seconds has to be done before the rest is estimated from it."""


class Stages:
    """Named stages in their order, each with the amount of its work in a unit that they share.

    What is left of the whole is the work that is left at the rate of the work that is done. Work that took no time,
    because its result was there already, does not count as done.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._work: dict[str, float] = {}
        self._at = 0
        self._done, self._seconds = 0.0, 0.0
        self._start = time.monotonic()

    def weigh(self, work: Mapping[str, float]) -> None:
        """Say how much work stages are; those that are not named count as none.

        Args:
            work: by name.
        """
        self._work = dict(work)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """One stage, which the log names; not the first, so that bad input is one line.

        Args:
            name: of the stage; one of :attr:`names`.
        """
        self._at, self._start = self.names.index(name) + 1, time.monotonic()
        if process_rank() == 0 and self._at > 1:
            left = self.left()
            log.info(
                "stage %d of %d: %s%s", self._at, len(self.names), name, f", {left} in all" if left else ""
            )
        yield
        seconds, work = time.monotonic() - self._start, self._work.get(name, 0.0)
        if work and seconds > 1:
            self._done, self._seconds = self._done + work, self._seconds + seconds

    def left(self, now: float = 0.0) -> str:
        """How long what is left of the whole takes, for people; empty while too little is done to say it.

        Args:
            now: seconds that what is under way says it still takes.
        """
        if self._seconds < LEAST_SECONDS:
            return ""
        own, *later = (
            self._work.get(name, 0.0) * self._seconds / self._done for name in self.names[self._at - 1 :]
        )
        seconds = max(now, own - (time.monotonic() - self._start)) + sum(later)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{10 * math.ceil(seconds / 10)} s left"

    def before(self, what: str, now: float = 0.0) -> str:
        """The name of a piece of work with the stage that it belongs to, such as ``[3/5, 4 min left] encoding``.

        Args:
            what: its name.
            now: seconds that it still takes.
        """
        if not self._at:
            return what
        place, left = f"{self._at}/{len(self.names)}", self.left(now)
        return f"[{place}, {left}] {what}" if left else f"[{place}] {what}"


current: Stages | None = None
"""The stages of what this process is doing; None where nothing has several."""


@contextmanager
def in_stages(names: Sequence[str]) -> Iterator[Stages]:
    """Work in named stages, one after another; bars meanwhile say which stage they belong to.

    Args:
        names: of the stages.
    """
    global current
    before, current = current, Stages(names)
    try:
        yield current
    finally:
        current = before
