"""Commands, and what they read, for the tests of a process."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena
from tests.chaos.commands import Commands
from tests.chaos.kinds import make_material


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    """Where commands are disturbed."""
    folder = tmp_path_factory.mktemp("chaos")
    (folder / "commands").mkdir()
    return Arena(Commands(folder / "commands"), make_material(folder / "material"), folder)
