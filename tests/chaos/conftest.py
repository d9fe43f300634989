"""One server of commands, and what they read, for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.arena import Arena
from tests.chaos.commands import started
from tests.chaos.kinds import make_material


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Where commands are disturbed."""
    folder = tmp_path_factory.mktemp("chaos")
    (folder / "commands").mkdir()
    with started(folder / "commands") as commands:
        yield Arena(commands, make_material(folder / "material"), folder)
