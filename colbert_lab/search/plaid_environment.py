"""Whether fast-plaid can be imported here: its wheels are compiled for one exact torch."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from colbert_lab.base.errors import InputError

FAST_PLAID = "1.7.0.2110"
TORCH = "2.11.0"  # what fast-plaid's own metadata requires; 2110 in its version says the same
COMMANDS = "python3 -m venv .venv-plaid && .venv-plaid/bin/pip install -e '.[demo,plaid]'"


def installed(distribution: str) -> str | None:
    """The version of an installed distribution without its local part (``+cpu``), or None.

    Read from its metadata: nothing is imported.
    """
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def check_plaid(key: str = "evaluation.mode=plaid") -> None:
    """Make sure that fast-plaid and torch are the pair that belongs together, before any import.

    On another torch, importing fast-plaid ends the whole process without a Python error, so nobody could catch it.

    Args:
        key: the config key to name in the error.

    Raises:
        InputError: one of the two is missing or has another version.
    """
    found = {"fast-plaid": installed("fast-plaid"), "torch": installed("torch")}
    if found != {"fast-plaid": FAST_PLAID, "torch": TORCH}:
        there = " and ".join(f"{name} {version or 'not installed'}" for name, version in found.items())
        raise InputError(
            f"{key} needs fast-plaid {FAST_PLAID} and torch {TORCH} together; this environment has {there}. "
            f"In the checkout, make one of its own: {COMMANDS} (without constraints.txt, which pins another torch)"
        )


def fast_plaid_class(key: str = "evaluation.mode=plaid") -> Any:
    """The class ``FastPlaid``, imported only after :func:`check_plaid`.

    Raises:
        InputError: see there.
    """
    check_plaid(key)
    from fast_plaid.search import FastPlaid

    return FastPlaid
