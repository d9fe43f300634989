"""Where log lines go: the terminal, and the run's own file."""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

from colbert_lab.base.atomic import no_room
from colbert_lab.base.outside import printable

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
"""Where torchrun, Lightning, SLURM and LSF say it."""
LIGHTNING = ("pytorch_lightning", "lightning_fabric")
"""Loggers that get a handler when they are imported where there is none."""
prefix = ""
"""Before each line on the terminal: which cell of a sweep says it, where several speak at once."""


def start_logging() -> logging.handlers.MemoryHandler:
    """Log to the terminal, and keep everything for run.log, whose folder is made once the inputs are good."""
    global said_last
    said_last = time.monotonic()
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.INFO)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(_Printable(prefix.replace("%", "%%") + "%(message)s"))
    terminal.addFilter(_for_the_user)
    if process_rank() > 0:  # the first process speaks for all
        terminal.setLevel(logging.ERROR)
    buffer = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
    root.addHandler(terminal)
    root.addHandler(buffer)
    for noisy in ("httpx", "bm25s", "datasets", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return buffer


def log_buffer() -> logging.handlers.MemoryHandler:
    """What :func:`start_logging` keeps for run.log; starts logging where nobody has."""
    kept = (each for each in logging.getLogger().handlers if isinstance(each, logging.handlers.MemoryHandler))
    return next(kept, None) or start_logging()


class _Printable(logging.Formatter):
    """Lines may name files and values that someone else wrote: nothing in them is obeyed."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), kept="\n\t")


class _RunLog(logging.FileHandler):
    """On a full disk it lacks lines, which the terminal shows; what the run cannot do without then ends it."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging calls it so
        """Of a line that could not be written."""
        error = sys.exc_info()[1]
        if error is None or no_room(error) is None:
            super().handleError(record)

    def close(self) -> None:
        """End the file."""
        try:
            super().close()
        except OSError as error:
            if no_room(error) is None:
                raise


said_last: float | None = None
"""When the terminal was last shown a line, by ``time.monotonic``; None where nobody logs to it."""


def _for_the_user(record: logging.LogRecord) -> bool:
    """The terminal shows our own lines and other libraries' warnings; Python warnings go to run.log alone."""
    global said_last
    ours = record.name.startswith("colbert_lab")
    shown = ours or (record.levelno >= logging.WARNING and record.name != "py.warnings")
    if shown:
        said_last = time.monotonic()
    return shown


def process_rank() -> int:
    """Which of the processes that train together this is; 0 for the first or only one."""
    # Lightning sets the attribute, from the same variables, once it is imported.
    said = [os.environ[name] for name in RANKS if name in os.environ]
    return int(getattr(rank_zero_only, "rank", said[0] if said else 0))


@contextmanager
def logged_to(path: Path, buffer: logging.handlers.MemoryHandler) -> Iterator[None]:
    """Write what was logged so far, and everything until the block ends, to a file.

    Args:
        path: the file; it is appended to.
        buffer: what :func:`log_buffer` returned.
    """
    file = _RunLog(path, encoding="utf-8")
    file.setFormatter(_Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    buffer.setTarget(file)
    buffer.flush()
    root = logging.getLogger()
    root.removeHandler(buffer)
    root.addHandler(file)
    try:
        yield
    finally:
        root.removeHandler(file)
        file.close()


@contextmanager
def captured_warnings() -> Iterator[None]:
    """Python's warnings become lines of the log, as long as a command runs in this process."""
    logging.captureWarnings(False)  # whoever took them back meanwhile did not say so to logging
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


@contextmanager
def lightning_as_ours() -> Iterator[None]:
    """What Lightning says in the block goes where our log goes, also where it was imported before anybody logged.

    It then has handlers of its own, which would show each line of it on the terminal.
    """
    root, none = logging.getLogger(), logging.NullHandler()
    loggers = [logging.getLogger(name) for name in LIGHTNING]
    before = [(list(each.handlers), each.propagate) for each in loggers]
    root.addHandler(none)  # Lightning looks for one when it is imported
    for each in loggers:
        each.handlers[:], each.propagate = [], True
    try:
        yield
    finally:
        root.removeHandler(none)
        for each, (handlers, propagate) in zip(loggers, before, strict=True):
            each.handlers[:], each.propagate = handlers, propagate
