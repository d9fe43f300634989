"""The version of a teacher: what is behind its settings."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.evaluation.searching import _first_stage_identity
from colbert_lab.model.student import pick_device
from colbert_lab.settings.evaluation import EvaluationSettings, RerankSettings
from colbert_lab.sources.sources import build_scored_lists
from colbert_lab.teachers.bi_encoder import BiEncoder
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.teachers.colbert_teacher import ColBERTTeacher
from colbert_lab.teachers.cross_encoder import CrossEncoder
from colbert_lab.teachers.ensemble import Ensemble
from colbert_lab.teachers.llm_reranker import LLMReranker
from colbert_lab.teachers.revision import identified, revision
from colbert_lab.text.contents import code_id
from tests.teachers.support import Hashed, HashedIndex, make_corpus
from tests.tiny import make_tiny_bert


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


def test_the_code_of_a_head_is_a_part_of_a_teacher_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code, fetched = tmp_path / "own_teacher_head.py", []
    snapshot = tmp_path / "models--owner--headed" / "snapshots" / ("b" * 40)
    snapshot.mkdir(parents=True)
    monkeypatch.setattr("transformers.utils.hub.cached_file", lambda model, name: str(snapshot / name))

    def fetch(model: str, name: str, revision: str) -> None:
        fetched.append((model, revision))
        (snapshot / name).write_text('{"head": {"_target_": "own_teacher_head.Head"}}')

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    told = []
    for text in ("x = 1", "x = 22", "x = 1"):
        code.write_text(text)
        code_id.cache_clear()
        told.append(identified(ColBERTTeacher("owner/headed")))
    assert told[0] == told[2] != told[1]
    assert fetched == [("owner/headed", "b" * 40)]
    assert revision(ColBERTTeacher("owner/headed")) == f"commit {'b' * 40}"
    code_id.cache_clear()


def test_a_model_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match=r"teacher.model=nowhere/nothing: cannot be loaded"):
        revision(BiEncoder("nowhere/nothing"))


def test_a_scorer_is_identified_by_its_model_not_by_where_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "model.safetensors").write_bytes(b"weights")
    shutil.copytree(one, two)
    kinds: list[Any] = [BiEncoder, CrossEncoder, LLMReranker, ColBERTTeacher]
    for made in kinds:
        assert identified(made(str(one))) == identified(made(str(two)))
        assert identified(Ensemble({"a": BM25(), "b": made(str(one))})).endswith(identified(made(str(two))))
    assert identified(BiEncoder(str(one))) != identified(BiEncoder(str(one), max_length=9))
    assert identified(BM25()) == repr(BM25())
    before = identified(BiEncoder(str(one)))
    (one / "model.safetensors").write_bytes(b"Weights")
    assert identified(BiEncoder(str(one))) != before
    assert identified(BiEncoder("owner/not-there")) == identified(BiEncoder("owner/not-there"))
    here = pick_device("auto").type
    assert identified(BiEncoder(str(two), accelerator=here)) == before
    monkeypatch.setattr("colbert_lab.teachers.revision.pick_device", torch.device)
    assert identified(BiEncoder(str(two), accelerator="meta")) != before


@dataclass(frozen=True)
class Loaded(Hashed):
    """A scorer whose scores are in a folder."""

    model: str = ""

    def index(self, corpus: Corpus) -> HashedIndex:
        return HashedIndex((Path(self.model) / "config.json").read_text(), tuple(corpus.texts))


def test_lists_of_a_teacher_that_was_replaced_are_scored_anew(tmp_path: Path) -> None:
    corpus, queries = make_corpus(9), {"q": "query"}
    (tmp_path / "model").mkdir()
    teacher = Loaded("teacher", str(tmp_path / "model"))

    def scored(content: str) -> tuple[str, list[float]]:
        (tmp_path / "model" / "config.json").write_text(content)
        given = {"teacher": teacher, "retrievers": {"one": Hashed("one")}, "top": 3, "random": 2, "seed": 0}
        lists = build_scored_lists("toy", corpus, queries, cache_dir=tmp_path / "cache", **given)  # type: ignore
        return lists.fingerprint, lists.scores[0].tolist()

    first, other = scored("1"), scored("2")
    assert first[0] != other[0]
    assert first[1] != other[1]
    assert scored("1") == first


def test_a_first_stage_that_was_replaced_has_another_protocol(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    target = f"{BiEncoder.__module__}.{BiEncoder.__qualname__}"
    stage = RerankSettings(run=None, first_stage={"_target_": target, "model": str(tmp_path)})
    settings = EvaluationSettings(rerank=stage)
    before = _first_stage_identity(settings)
    assert _first_stage_identity(settings) == before
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    assert _first_stage_identity(settings) != before
