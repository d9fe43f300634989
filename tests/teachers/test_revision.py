"""The version of a teacher: what is behind its settings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from colbert_lab.errors import InputError
from colbert_lab.teachers.bi_encoder import BiEncoder
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.ensemble import Ensemble
from colbert_lab.teachers.revision import revision
from tests.conftest import make_tiny_bert
from tests.teachers.support import Hashed


def test_a_folder_is_known_by_the_hash_of_its_weights(tmp_path: Path) -> None:
    one, two = (make_tiny_bert(tmp_path / name) for name in ("one", "two"))
    digest = hashlib.sha256((one / "model.safetensors").read_bytes()).hexdigest()
    assert f"weights sha256:{digest} " in revision(BiEncoder(str(one)))
    (two / "tokenizer.json").write_text((two / "tokenizer.json").read_text() + " ")
    assert f"weights sha256:{digest} " in revision(BiEncoder(str(two)))
    assert revision(BiEncoder(str(one))) != revision(BiEncoder(str(two)))


def test_others_are_known_by_version_and_members() -> None:
    assert revision(BM25()).startswith("bm25s 0.3")
    both = revision(Ensemble({"a": BM25(), "b": Hashed("x")}))
    assert both == f"a={revision(BM25())}, b=built in"


def test_a_hub_model_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "a" * 40
    file = tmp_path / "models--owner--name" / "snapshots" / commit / "config.json"
    monkeypatch.setattr("transformers.utils.hub.cached_file", lambda model, name: str(file))
    assert revision(BiEncoder("owner/name")) == f"commit {commit}"


def test_a_model_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match=r"teacher.model=nowhere/nothing: cannot be loaded"):
        revision(BiEncoder("nowhere/nothing"))
