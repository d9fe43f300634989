"""Where log lines go: the terminal, and the run's own file."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

prefix = ""
"""Before each line on the terminal: which cell of a sweep says it, where several speak at once."""


def start_logging() -> logging.handlers.MemoryHandler:
    """Log to the terminal, and keep everything for run.log, whose folder is made once the inputs are good."""
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.INFO)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setFormatter(logging.Formatter(prefix.replace("%", "%%") + "%(message)s"))
    terminal.addFilter(_for_the_user)
    if process_rank() > 0:  # the first process speaks for all
        terminal.setLevel(logging.ERROR)
    buffer = logging.handlers.MemoryHandler(capacity=100_000, flushLevel=logging.CRITICAL + 1)
    root.addHandler(terminal)
    root.addHandler(buffer)
    for noisy in ("httpx", "bm25s", "datasets", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return buffer


def _for_the_user(record: logging.LogRecord) -> bool:
    """The terminal shows our own lines and other libraries' warnings; Python warnings go to run.log alone."""
    ours = record.name.startswith("colbert_lab")
    return ours or (record.levelno >= logging.WARNING and record.name != "py.warnings")


def process_rank() -> int:
    """Which of the processes that train together this is; 0 for the first or only one."""
    return int(getattr(rank_zero_only, "rank", 0))


@contextmanager
def logged_to(path: Path, buffer: logging.handlers.MemoryHandler) -> Iterator[None]:
    """Write what was logged so far, and everything until the block ends, to a file.

    Args:
        path: the file; it is appended to.
        buffer: what :func:`start_logging` returned.
    """
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
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
