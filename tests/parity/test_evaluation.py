"""Exact search and PyLate's own evaluator give the same nDCG@10 for the same checkpoint and texts.

    python3.11 -m venv PEER && PEER/bin/pip install pylate==1.6.0
    COLBERT_LAB_PYLATE_PYTHON=PEER/bin/python COLBERT_LAB_DATA=FOLDER pytest -m parity tests/parity/test_evaluation.py

FOLDER holds the collection ``scifact`` in BEIR layout. The whole of it takes about 10 minutes on two cores;
COLBERT_LAB_PARITY_DOCUMENTS=600 cuts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SHARED_DATA

PYTHON = "COLBERT_LAB_PYLATE_PYTHON"
DATA = Path(os.environ.get("COLBERT_LAB_DATA", SHARED_DATA))
DOCUMENTS = os.environ.get("COLBERT_LAB_PARITY_DOCUMENTS")


@pytest.mark.parity
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.environ.get(PYTHON), reason=f"{PYTHON} does not name a Python with pylate 1.6.0")
@pytest.mark.skipif(not (DATA / "scifact").is_dir(), reason=f"no collection scifact in {DATA}")
def test_the_evaluator_and_pylates_give_the_same_ndcg(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "suite.py"), "--out", str(tmp_path)]
    command += ["--workloads", "evaluate", "--sides", "colbert_lab", "pylate", "--precisions", "fp32"]
    command += ["--pylate", os.environ[PYTHON], "--evaluation", str(DATA / "scifact"), "--repeats", "1"]
    command += ["--documents", DOCUMENTS] if DOCUMENTS else []
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    measured = json.loads((tmp_path / "results.json").read_text())["measurements"]
    ours, theirs = (
        next(line["value"] for line in measured if line["kind"] == "round" and line["side"] == side)
        for side in ("colbert_lab", "pylate")
    )
    assert ours > 0.5  # both sides find something
    assert ours == pytest.approx(theirs, abs=1e-4)
