"""The real fast-plaid, in the environment of the extra ``plaid``.

``docs/how-to/search.md`` has the command. With ``COLBERT_LAB_DATA=FOLDER`` the collection is FOLDER/scifact in BEIR
layout; where there is none, the installed documentation takes its place.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SHARED_DATA
from tests.search import plaid_checks

PYTHON = "COLBERT_LAB_PLAID_PYTHON"
DATA = Path(os.environ.get("COLBERT_LAB_DATA", SHARED_DATA))
DOCUMENTS = 1_000

pytestmark = [
    pytest.mark.plaid,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get(PYTHON), reason=f"{PYTHON} does not name a Python with fast-plaid"),
]


def facts(tmp_path: Path, what: str, *options: str) -> Any:
    """What ``plaid_checks.py`` saw in the other environment."""
    file = tmp_path / "facts.json"
    threads = {"OMP_NUM_THREADS": "2"}
    subprocess.run(
        [os.environ[PYTHON], plaid_checks.__file__, what, str(file), *options],
        check=True,
        env={**os.environ, **threads, "PYTHONPATH": str(ROOT)},
    )
    return json.loads(file.read_text())


def test_what_the_index_promises_holds_for_the_real_one(tmp_path: Path) -> None:
    seen = facts(tmp_path, "small")
    assert seen["random_state_kept"]
    assert seen["all_documents_found"] == [400] * 8
    assert seen["largest_score_error"] < 0.25  # of scores around 10: 8 bits a dimension, float16
    assert seen["scores_never_rise"]
    assert seen["equal_documents_in_order"] == seen["equal_documents_by_id"]
    assert seen["loaded_is_the_same"]
    assert seen["built_again_is_the_same"]
    assert 0 < seen["shortest_list_of_one_probe"] < 100
    assert "embeddings.npy" not in seen["files"]
    assert seen["nbytes"] > 400 * 3 * 16  # a byte a dimension


def test_generous_settings_reach_099_of_exact_search(tmp_path: Path) -> None:
    collection = ["--collection", str(DATA / "scifact")] if (DATA / "scifact").is_dir() else []
    seen = facts(tmp_path, "quality", *collection, "--documents", str(DOCUMENTS))
    print(json.dumps(seen, indent=2))
    assert seen["documents"] == DOCUMENTS
    assert seen["exact"] > 0.7  # the student ranks well, so the ratio means something
    assert seen["plaid"] >= 0.99 * seen["exact"]
    assert seen["plaid_bytes"] < seen["float32_bytes"] / 5
