"""What importing the package does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = "import colbert_lab, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_are_told_to_sleep_before_torch_is_imported(given: dict[str, str], found: str) -> None:
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run(
        [sys.executable, "-S", "-c", SHOW], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [found, "False"]
