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
    output = tmp_path / "facts"
    command = [sys.executable, str(ROOT / "benchmarks" / "evaluation_vs_pylate.py"), "--runs", "1"]
    command += ["--pylate-python", os.environ[PYTHON], "--collection", str(DATA / "scifact")]
    command += ["--output", str(output), *(["--documents", DOCUMENTS] if DOCUMENTS else [])]
    # Embeddings that differ by more than 1e-5 end the script with an error.
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    facts = json.loads(output.with_suffix(".json").read_text())
    (run,) = facts["runs"]
    assert facts["documents"] == int(DOCUMENTS or 5_183)
    assert run["colbert_lab"]["ndcg@10"] > 0.5  # both sides find something
    assert run["colbert_lab"]["ndcg@10"] == pytest.approx(run["pylate"]["ndcg@10"], abs=1e-4)
