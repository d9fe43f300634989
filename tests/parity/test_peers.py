"""The committed numbers are what the peers compute: run them again in their own environments.

    python3.11 -m venv PEER && PEER/bin/pip install pylate==1.6.0
    COLBERT_LAB_PYLATE_PYTHON=PEER/bin/python pytest -m parity

and the same with sentence-transformers==6.2.0 (next to torch, datasets and accelerate) and
COLBERT_LAB_ST_PYTHON.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity import make_golden
from tests.parity.make_golden import VERSIONS, golden_file, read_golden

PYTHONS = {"pylate": "COLBERT_LAB_PYLATE_PYTHON", "sentence_transformers": "COLBERT_LAB_ST_PYTHON"}


def compare(new: Any, committed: Any, where: str) -> None:
    """Text is equal; a list of numbers is within 1e-5 of its norm."""
    if isinstance(committed, dict):
        assert new.keys() == committed.keys(), where
        for key in committed.keys() - {"torch"}:
            compare(new[key], committed[key], f"{where} / {key}")
    elif isinstance(committed, str):
        assert new == committed, where
    else:
        a, b = torch.tensor(new, dtype=torch.float64), torch.tensor(committed, dtype=torch.float64)
        assert float((a - b).norm()) <= 1e-5 * float(b.norm()), where


@pytest.mark.parity
@pytest.mark.parametrize("peer", VERSIONS)
def test_the_peer_computes_the_committed_numbers(peer: str, tmp_path: Path) -> None:
    python = os.environ.get(PYTHONS[peer])
    if not python:
        pytest.skip(f"{PYTHONS[peer]} does not name a Python with {peer} {VERSIONS[peer]}")
    file = tmp_path / "golden.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, make_golden.__file__, peer, str(file)], check=True, env=environment)
    compare(read_golden(file), read_golden(golden_file(peer)), peer)
