"""What files, folders, models and hub ids hold: read once, and again when it may have changed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from colbert_lab.text import file_hashes
from colbert_lab.text.contents import code_id, data_id, hub_commit, identity, model_id
from colbert_lab.text.file_hashes import collection_files, file_hash, remember_in


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hashes of files that were written just now are kept, as if they were old, in a folder of this test."""
    before = file_hashes._store.folder
    monkeypatch.setattr(file_hashes, "SETTLED_NS", -(10**18))
    new_process(tmp_path)
    yield
    remember_in(before)


def new_process(tmp_path: Path) -> None:
    file_hashes._store.known.clear()
    remember_in(None)
    remember_in(tmp_path / "hashes")


def rewrite(file: Path, data: bytes) -> None:
    """Other bytes, the same size and the same time of the last change."""
    before = file.stat()
    assert len(data) == before.st_size
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_is_read_once_by_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "big"
    file.write_bytes(b"one")
    first = file_hash(file)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert file_hash(file) == first
    new_process(tmp_path)
    assert file_hash(file) == first


def test_leftovers_of_killed_writes_go_when_hashes_are_read(tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(b"one")
    file_hash(file)
    (kept,) = (tmp_path / "hashes").iterdir()
    left = kept.with_name(f".{kept.name}.ab_12xyz.tmp")
    left.touch()
    os.utime(left, (time.time() - 600,) * 2)
    new_process(tmp_path)
    file_hash(file)
    assert not left.exists()


def test_a_change_is_noticed_although_size_and_time_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    first = file_hash(file)
    new_process(tmp_path)
    rewrite(file, b"two")
    assert file_hash(file) != first
    rewrite(file, b"one")
    assert file_hash(file) == first


def test_a_file_that_may_still_change_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_hashes, "SETTLED_NS", 60 * 10**9)
    file = tmp_path / "young"
    file.write_bytes(b"one")
    file_hash(file)
    assert not file_hashes._store.known
    assert not (tmp_path / "hashes").exists()


@pytest.mark.parametrize("damage", ["", "[]", '{"data": 3}', '{"data": [1, 2]}'])
def test_damaged_hashes_are_made_again(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"one")
    first = file_hash(file)
    (kept,) = (tmp_path / "hashes").iterdir()
    kept.write_text(damage)
    new_process(tmp_path)
    assert file_hash(file) == first


def test_a_place_for_hashes_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    remember_in(tmp_path / "taken" / "below")
    (tmp_path / "data").write_bytes(b"one")
    assert file_hash(tmp_path / "data") == file_hash(tmp_path / "data")


def test_a_model_counts_by_its_files_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    first = model_id(str(folder))
    (folder / "README.md").write_text("a card")
    assert model_id(str(folder)) == first
    shutil.copytree(folder, tmp_path / "site" / "some_package" / "model")
    (tmp_path / "site" / "some_package" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert model_id("package:some_package/model") == first
    rewrite(tmp_path / "site" / "some_package" / "model" / "model.safetensors", b"Weights")
    assert model_id("package:some_package/model") not in (first, None)
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert model_id(str(folder)) != first
    assert model_id("package:not_installed/model") is model_id(str(tmp_path / "nowhere")) is None


def test_data_count_by_content_not_by_name(tmp_path: Path) -> None:
    one, two = tmp_path / "[one]", tmp_path / "two"
    for folder in (one, two):
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "train.jsonl").write_text('{"query": "a"}\n')
        (folder / ".git").mkdir()
        (folder / ".git" / folder.name.strip("[]")).write_text(folder.name)
    assert data_id(str(one)) == data_id(str(two)) is not None
    assert data_id(str(one / "data" / "train.jsonl")) == data_id(str(two / "data" / "train.jsonl"))
    (two / "data" / "dev.jsonl").write_text("")
    assert data_id(str(one)) != data_id(str(two))


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (two / "train.jsonl").write_text("1")
    (one / "data").symlink_to(two)
    (one / "again").symlink_to(one)
    first = data_id(str(one))
    (two / "train.jsonl").write_text("2")
    assert data_id(str(one)) != first


def test_what_lies_beside_a_collection_does_not_count(tmp_path: Path) -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "lists.jsonl", "README.md"):
        (tmp_path / name).write_text("")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("")
    assert set(collection_files(tmp_path, judgments=False)) == {"corpus.jsonl", "queries.jsonl"}
    assert "qrels/test.tsv" in collection_files(tmp_path, judgments=True)


def test_a_hub_id_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert model_id("owner/name") is data_id("owner/name") is None
    for kind, commit in (("models", "a" * 40), ("datasets", "b" * 40)):
        refs = tmp_path / f"{kind}--owner--name" / "refs"
        refs.mkdir(parents=True)
        (refs / "main").write_text(commit)
    assert (model_id("owner/name"), data_id("owner/name")) == (f"commit:{'a' * 40}", f"commit:{'b' * 40}")
    assert data_id("owner/name", "some-branch") is None
    assert hub_commit("owner/name", "dataset", "c" * 40) == f"commit:{'c' * 40}"
    assert hub_commit("/no/hub id", "model") is None


def test_the_code_of_a_head_is_a_part_of_a_student_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.syspath_prepend(tmp_path)
    code, model = tmp_path / "own_hub_head.py", tmp_path / "hub" / "models--owner--name"
    code.write_text("x = 1")
    snapshot = model / "snapshots" / ("a" * 40)
    for folder in (snapshot, model / "refs"):
        folder.mkdir(parents=True)
    (model / "refs" / "main").write_text("a" * 40)
    (snapshot / "colbert_lab.json").write_text('{"head": [{"inputs": 2, "outputs": 1}]}')
    assert model_id("owner/name") == f"commit:{'a' * 40}"
    (snapshot / "colbert_lab.json").write_text(json.dumps({"head": {"_target_": "own_hub_head.Head"}}))
    code_id.cache_clear()
    before = model_id("owner/name")
    assert before == f"commit:{'a' * 40} {code_id('own_hub_head.Head')}"
    code.write_text("x = 22")
    code_id.cache_clear()
    assert model_id("owner/name") not in (None, before)
    code_id.cache_clear()


def test_no_setting_takes_the_place_of_class_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    code = tmp_path / "own_named.py"
    code.write_text(
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    code: str = 'x'\n    _target_: str = 'y'\n"
    )
    thing = resolve_name("own_named.A")()
    code_id.cache_clear()
    before = identity(thing)
    assert before["_target_"] == "own_named.A"
    assert before["code"] == code_id("own_named.A")
    thing.code = "z"
    assert identity(thing) != before
    thing.code = "x"
    assert identity(thing) == before
    code.write_text(code.read_text() + "# another")
    code_id.cache_clear()
    assert identity(thing) != before
    code_id.cache_clear()


def test_code_of_the_users_own_is_known_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for folder in ("own_plain", "own_package"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "losses.py").write_text("x = 1")
    (tmp_path / "own_package" / "__init__.py").write_text("")
    (tmp_path / "own_file.py").write_text("x = 1")
    targets = {"own_plain.losses.A": "own_plain/losses.py", "own_package.losses.A": "own_package/losses.py"}
    targets["own_file.A"] = "own_file.py"
    for target, file in targets.items():
        code_id.cache_clear()
        before = code_id(target)
        assert before is not None
        assert before.startswith("sha256:")
        (tmp_path / file).write_text("x = 22")
        code_id.cache_clear()
        assert code_id(target) not in (None, before), target
    assert code_id("torch.optim.AdamW") is None
    assert code_id("colbert_lab.teachers.bm25.BM25") is None
    assert code_id("json.JSONDecoder") is None
    assert code_id("nowhere_at_all.A") is None
    assert code_id("numpy.ndarray") == f"version:{importlib.metadata.version('numpy')}"
