"""Log lines of a command, and of its run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colbert_lab.base.logs import lightning_as_ours, log_buffer, logged_to, start_logging


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    root = logging.getLogger()
    before = [*root.handlers], root.level
    yield
    root.handlers[:], root.level = before


def test_what_is_said_before_a_run_has_its_folder_is_in_its_log(tmp_path: Path) -> None:
    start_logging()
    logging.getLogger("colbert_lab").info("checked")
    logging.getLogger("py.warnings").warning("on import")
    buffer = log_buffer()
    logging.getLogger("colbert_lab").info("loaded")
    with logged_to(tmp_path / "run.log", buffer):
        logging.getLogger("colbert_lab").info("trained")
    said = (tmp_path / "run.log").read_text()
    assert [line.rpartition(": ")[2] for line in said.splitlines()] == [
        "checked",
        "on import",
        "loaded",
        "trained",
    ]
    assert log_buffer() is not buffer  # of the next command


def test_lightning_speaks_in_our_log_alone(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("pytorch_lightning")
    own = logging.StreamHandler(sys.stderr)
    before = list(logger.handlers), logger.propagate
    logger.handlers[:], logger.propagate = [own], False
    heard: list[str] = []
    ours = logging.Handler()
    ours.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    others, root.handlers[:] = list(root.handlers), [ours]  # streams of other tests may be closed
    try:
        with lightning_as_ours():
            logger.warning("something")
        assert (logger.handlers, logger.propagate) == ([own], False)
    finally:
        root.handlers[:] = others
        logger.handlers[:], logger.propagate = before
    assert heard == ["something"]
    assert "something" not in capsys.readouterr().err
