"""fast-plaid is never imported next to a torch that it was not compiled for."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.search.plaid_environment import (
    FAST_PLAID,
    TORCH,
    check_plaid,
    fast_plaid_class,
    installed,
)
from tests.conftest import ROOT


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """Let the metadata of installed distributions say something else."""

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize("torch", [TORCH, f"{TORCH}+cpu", f"{TORCH}+cu130"])
def test_the_pair_passes_in_every_build_of_torch(torch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"fast-plaid": FAST_PLAID, "torch": torch})
    check_plaid()


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        ({"torch": "2.13.0+cpu"}, "fast-plaid not installed and torch 2.13.0"),
        ({"torch": TORCH}, f"fast-plaid not installed and torch {TORCH}"),
        ({"torch": "2.13.0", "fast-plaid": FAST_PLAID}, f"fast-plaid {FAST_PLAID} and torch 2.13.0"),
        ({"torch": TORCH, "fast-plaid": "1.7.0.2130"}, f"fast-plaid 1.7.0.2130 and torch {TORCH}"),
        ({"torch": "2.11.1", "fast-plaid": FAST_PLAID}, "torch 2.11.1"),
    ],
)
def test_any_other_pair_is_one_line_that_says_what_to_install(
    versions: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, versions)
    with pytest.raises(InputError) as error:
        fast_plaid_class("evaluation.mode=plaid")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"evaluation.mode=plaid needs fast-plaid {FAST_PLAID} and torch {TORCH}")
    assert named in message
    assert "python3 -m venv" in message
    assert "pip install" in message
    assert "fast_plaid" not in sys.modules


def test_what_is_installed_is_read_without_its_local_part() -> None:
    assert installed("torch") == metadata.version("torch").partition("+")[0]
    assert installed("no-such-distribution") is None


def test_the_extra_installs_the_version_that_the_check_wants_and_dev_does_not() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras["plaid"] == [f"fast-plaid=={FAST_PLAID}"]
    assert not any(
        "plaid" in requirement for extra in set(extras) - {"plaid"} for requirement in extras[extra]
    )
    assert "fast-plaid" not in (ROOT / "constraints.txt").read_text()
