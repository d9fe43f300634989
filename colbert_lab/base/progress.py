"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from colbert_lab.base import logs, stages
from colbert_lab.base.logs import process_rank

log = logging.getLogger(__name__)
SECONDS = 10.0
"""Between two lines, whatever they are about, where there is no terminal."""
BEGUN = re.compile(r": 0(?:\.0+)? of ")
"""In a line of work of which nothing is done."""
LINE = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} left{postfix}"


def progress_bar(*given: Any, disable: bool = False, **settings: Any) -> tqdm:
    """tqdm, which where standard error is no terminal logs a line instead of drawing a bar.

    There is one :data:`SECONDS` after the last line, whatever that was about; so short work says nothing, but
    many short pieces one after another are not silent together. ``TQDM_DISABLE=1`` (``progress=false``) shows neither
    bars nor lines, and so do other processes than the first of a run.

    Args:
        given: of tqdm.
        disable: True shows nothing.
        settings: of tqdm.
    """
    if os.environ.get("TQDM_DISABLE") == "1" or process_rank() > 0:
        disable = True
    if without_bars() and not disable:
        settings |= {"file": _Lines(log.info), "bar_format": LINE, "dynamic_ncols": False}
    return _Bar(*given, disable=disable, **settings)


def without_bars() -> bool:
    """Whether lines stand in the place of bars, as standard error is no terminal."""
    return not sys.stderr.isatty()


class _Bar(tqdm):  # type: ignore[misc]
    """Says which stage of the whole it belongs to, and how much of that is left."""

    @property
    def format_dict(self) -> dict[str, Any]:
        """What is shown."""
        shown: dict[str, Any] = super().format_dict
        if stages.current is not None:
            done, total = shown["n"], shown["total"]
            rest = shown["elapsed"] * (total - done) / done if done and total else 0.0
            shown["prefix"] = stages.current.before(str(shown["prefix"] or ""), rest)
        return shown


class _Lines(io.TextIOBase):
    """Takes what tqdm draws, and passes a line on every now and then."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        self._say, self._last = say, time.monotonic()

    def write(self, text: str) -> int:
        line, now = text.strip(), time.monotonic()
        last = self._last if logs.said_last is None else logs.said_last
        if line and now - last >= SECONDS and not BEGUN.search(line):
            self._last = now
            self._say("%s", line)
        return len(text)
