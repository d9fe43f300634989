"""The golden folders and numbers are what the peers write and compute: make them again in their environments.

    python3.11 -m venv PEER && PEER/bin/pip install pylate==1.6.0
    COLBERT_LAB_PYLATE_PYTHON=PEER/bin/python pytest -m parity tests/parity/test_format_peers.py

and in the same way COLBERT_LAB_ST_PYTHON with torch, sentence-transformers==6.2.0, datasets and accelerate,
COLBERT_LAB_STANFORD_PYTHON with torch, colbert-ai==0.2.22 and then transformers==4.48.3, and
COLBERT_LAB_TXTAI_PYTHON with torch and txtai==9.14.0. The three cases of Stanford have to lie there before the
peers that also read them.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.parity.formats_golden import EXPECTED_FILE, GOLDENS, Encoded, Golden, goldens, maxsim_of
from tests.parity.formats_make import VERSIONS

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = {
    "pylate": "COLBERT_LAB_PYLATE_PYTHON",
    "sentence_transformers": "COLBERT_LAB_ST_PYTHON",
    "stanford": "COLBERT_LAB_STANFORD_PYTHON",
    "flag_embedding": "COLBERT_LAB_FLAG_EMBEDDING_PYTHON",
    "txtai": "COLBERT_LAB_TXTAI_PYTHON",
}
CLOSE = 1e-5
OF_THE_LIBRARIES = ("__version__", "transformers_version", "libraries")  # change with what is installed


def run_peer(peer: str, script: str, *arguments: str) -> None:
    """Run a script in the peer's environment; skip the test when there is none."""
    python = os.environ.get(PYTHONS[peer])
    if not python:
        pytest.skip(f"{PYTHONS[peer]} does not name a Python with {peer}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [python, "-m", f"tests.parity.{script}", peer, *arguments],
        check=True,
        cwd=ROOT,
        env=environment | {"HF_HUB_OFFLINE": "1"},
    )


def encode_by(peer: str, folder: Path, case: Golden, work: Path) -> Encoded:
    """Texts of a case, encoded by a peer with some folder."""
    texts, out = work / "texts.json", work / f"{peer}.safetensors"
    texts.write_text(json.dumps(asdict(case.texts)), encoding="utf-8")
    run_peer(peer, "formats_encode", str(folder), str(texts), str(out))
    return Encoded.load(out)


def check_encoded(new: Encoded, committed: Encoded) -> None:
    """The same tokens, and vectors and scores within 1e-5."""
    for name in ("query", "document"):
        pairs = zip(getattr(new, f"{name}_ids"), getattr(committed, f"{name}_ids"), strict=True)
        assert all(a.tolist() == b.tolist() for a, b in pairs)
        for a, b in zip(getattr(new, f"{name}_emb"), getattr(committed, f"{name}_emb"), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=CLOSE)
    torch.testing.assert_close(new.scores_QN, committed.scores_QN, rtol=0, atol=CLOSE)


def values(file: Path) -> dict[str, Any] | list[Any]:
    """A JSON file without what tells versions."""
    content: dict[str, Any] | list[Any] = json.loads(file.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        return {name: value for name, value in content.items() if name not in OF_THE_LIBRARIES}
    return content


def check_folder(new: Path, committed: Path) -> None:
    """The same files with the same settings and weights; tokenizers are checked by the ids of texts."""
    files = sorted(file.relative_to(committed) for file in committed.rglob("*") if file.is_file())
    assert sorted(file.relative_to(new) for file in new.rglob("*") if file.is_file()) == files
    for file in files:
        if file.suffix == ".safetensors" and file.name != EXPECTED_FILE:
            torch.testing.assert_close(load_file(new / file), load_file(committed / file), rtol=0, atol=0)
        if file.suffix in (".json", ".metadata") and not file.name.startswith("tokenizer"):
            assert values(new / file) == values(committed / file), file


@pytest.mark.parity
@pytest.mark.parametrize("peer", VERSIONS)
def test_the_peer_makes_the_committed_cases(peer: str, tmp_path: Path) -> None:
    run_peer(peer, "formats_make", str(tmp_path))
    committed = goldens(peer)
    made = tmp_path / f"{peer}-{VERSIONS[peer]}"
    assert sorted(folder.name for folder in made.iterdir()) == [case.name for case in committed]
    for case in committed:
        check_folder(made / case.name, case.folder)
        check_encoded(Encoded.load(made / case.name / EXPECTED_FILE), case.expected)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("sentence_transformers", "pylate-1.6.0/bert"),
        ("sentence_transformers", "pylate-1.6.0/bert_prompts"),
        ("sentence_transformers", "stanford-0.2.22/bert"),
        ("pylate", "stanford-0.2.22/bert"),
        ("pylate", "stanford-0.2.22/bert_old"),
    ],
)
def test_peers_that_read_each_other_agree(peer: str, source: str, tmp_path: Path) -> None:
    case = Golden.load(GOLDENS / source)
    check_encoded(encode_by(peer, case.model_folder, case, tmp_path), case.expected)


@pytest.mark.parity
def test_txtai_has_the_vectors_of_pylate_without_expansion(tmp_path: Path) -> None:
    """And of documents without punctuation; it has no skiplist, and its score is a mean."""
    case = Golden.load(GOLDENS / "pylate-1.6.0" / "bert_no_expansion")
    case = replace(case, texts=replace(case.texts, documents=("the old bridge", "a [MASK] boat", "çay")))
    theirs = encode_by("txtai", case.model_folder, case, tmp_path)
    pylate = encode_by("pylate", case.model_folder, case, tmp_path)
    lengths = torch.tensor([len(row) for row in theirs.query_emb])
    check_encoded(replace(theirs, scores_QN=theirs.scores_QN * lengths[:, None]), pylate)
    means_QN = (maxsim_of(theirs.query_emb, theirs.document_emb) / lengths[:, None]).float()
    torch.testing.assert_close(theirs.scores_QN, means_QN, rtol=0, atol=CLOSE)
