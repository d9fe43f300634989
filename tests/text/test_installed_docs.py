import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.text import installed_docs as subject
from colbert_lab.text.collections.cut import cut_together
from colbert_lab.text.documentation import (
    Documentation,
    documentation_of,
    documentation_splits,
    training_text,
)
from colbert_lab.text.fingerprint import TwinIndex, overlapping_queries, shingle_hashes
from colbert_lab.text.installed_docs import load_installed_docs
from colbert_lab.text.installed_docs_build import Row, build_rows, split_of_module
from colbert_lab.text.source_files import files_under

SPLITS = ("train", "dev", "test")


def body(seed: str) -> str:
    return " ".join(f"{seed}{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")


def modules_of(split: str, count: int) -> list[str]:
    names = (f"m{first}{second}" for first in "abcdefghijklmnop" for second in "abcdefghijklmnop")
    return [name for name in names if split_of_module(name) == split][:count]


def write_module(root: Path, module: str, documents: dict[str, str]) -> None:
    functions = [
        f'def {n}():\n    """Explain {n} of {module}.\n\n    {t}\n    """\n' for n, t in documents.items()
    ]
    (root / f"{module}.py").write_text("raise SystemExit('executed')\n" + "\n".join(functions))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for split in SPLITS:
        for module in modules_of(split, 3):
            write_module(root, module, {"one": body(f"{module}x"), "two": body(f"{module}y")})
    return root


def from_rows(rows: Sequence[Row], details: Mapping[str, Any]) -> Documentation:
    return documentation_of("installed_docs", rows, details)


def build(tree: Path) -> Documentation:
    rows, details = build_rows(files_under(tree), {"toy": "1"})
    return from_rows(rows, details)


def test_modules_are_assigned_in_the_stated_shares() -> None:
    names = [split_of_module(f"package.module{number}") for number in range(5000)]
    assert names.count("train") == pytest.approx(4000, abs=150)
    assert names.count("dev") == pytest.approx(500, abs=100)


def test_a_small_tree_becomes_queries_documents_and_splits(tree: Path) -> None:
    docs = build(tree)
    module = modules_of("dev", 1)[0]
    assert docs.queries[f"q:{module}:one"] == f"Explain one of {module}."
    assert docs.relevant[f"q:{module}:one"] == f"{module}:one"
    assert docs.split_of[f"q:{module}:one"] == "dev"
    texts = dict(zip(docs.corpus.ids, docs.corpus.texts, strict=True))
    assert texts[f"{module}:one"] == body(f"{module}x")
    assert docs.details["documents"] == {"all": 18, "train": 6, "dev": 6, "test": 6}
    assert docs.details["packages"] == {"toy": "1"}


def test_near_twins_do_not_cross_splits(tree: Path) -> None:
    train, dev, test = (modules_of(split, 4)[3] for split in SPLITS)
    (train_old, test_old) = (modules_of(split, 1)[0] for split in ("train", "test"))
    copy = body(f"{test_old}x") + " and a new end of"
    write_module(
        tree,
        train,
        {"copied": f"{copy} train", "kept": body("fresh"), "own": body(f"{train_old}x") + " changed"},
    )
    write_module(tree, dev, {"copied": f"{copy} dev"})
    write_module(tree, test, {"copied": f"{copy} test"})
    docs = build(tree)
    assert not {f"{train}:copied", f"{dev}:copied"} & set(docs.corpus.ids)
    assert {f"{train}:kept", f"{train}:own"} <= set(docs.corpus.ids)
    assert len({f"{test}:copied", f"{test_old}:one"} & set(docs.corpus.ids)) == 1
    dropped = {split: docs.details["dropped"][f"near-twin in {split}"] for split in SPLITS}
    assert dropped == {"train": 1, "dev": 1, "test": 1}


def test_fingerprint_covers_packages_splits_and_texts(tree: Path) -> None:
    rows, details = build_rows(files_under(tree), {"toy": "1"})
    base = from_rows(rows, details).fingerprint
    assert from_rows(rows, json.loads(json.dumps(details))).fingerprint == base
    changed = [
        from_rows(rows, details | {"packages": {"toy": "2"}}),
        from_rows(rows[:-1], details),
        from_rows([rows[0]._replace(query="other"), *rows[1:]], details),
        from_rows([rows[0]._replace(document="other"), *rows[1:]], details),
        from_rows([rows[0]._replace(split="other"), *rows[1:]], details),
    ]
    assert len({docs.fingerprint for docs in changed} | {base}) == 6


def test_splits_share_a_corpus_and_cut(tree: Path) -> None:
    docs = build(tree)
    whole = documentation_splits(docs, ["dev", "test"])
    assert whole["dev"].corpus is whole["test"].corpus is docs.corpus
    assert whole["test"].dataset == "installed_docs"
    assert {name.split(":")[0] for name in whole["dev"].corpus.ids} > set(modules_of("train", 3))
    cut = dict(zip(whole, cut_together(list(whole.values()), 10, [3, None]), strict=True))
    assert [len(cut["dev"].queries), len(cut["test"].queries), len(cut["dev"].corpus)] == [3, 6, 10]
    assert cut["dev"].corpus is cut["test"].corpus
    with pytest.raises(InputError, match=r"documents=8 is too few.* set documents to 9 or more"):
        cut_together(list(whole.values()), 8, [3, None])
    with pytest.raises(InputError, match="installed_docs: no split validation; it has train, dev, test"):
        documentation_splits(docs, ["validation"])


def test_training_text_is_the_training_split_only(tree: Path) -> None:
    corpus, queries = training_text(build(tree))
    assert len(corpus) == len(queries) == 6
    assert {name.split(":")[0] for name in corpus.ids} == set(modules_of("train", 3))


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="no usable docstring in 1 source files"):
        build_rows(files_under(tmp_path), {})


@pytest.fixture
def toy_installation(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subject, "required_distributions", lambda: {})
    monkeypatch.setattr(subject, "standard_library_files", lambda: files_under(tree))
    return tree


def test_the_cache_is_used_and_mended(
    toy_installation: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = tmp_path / "cache"
    first = load_installed_docs(cache)
    (folder,) = cache.iterdir()
    write_module(toy_installation, "unseen", {"late": body("late")})
    again = load_installed_docs(cache)
    assert again.fingerprint == first.fingerprint
    assert (again.queries, again.split_of, again.details) == (first.queries, first.split_of, first.details)
    parquet, about = folder / "documents.parquet", folder / "details.json"

    def falsify() -> None:
        text = about.read_text()
        about.write_text(text.replace(json.loads(text)["fingerprint"], "0" * 16))

    for damage in (
        lambda: parquet.write_bytes(parquet.read_bytes()[:-50]),
        falsify,
        lambda: about.write_text("{"),
        lambda: about.unlink(),
    ):
        damage()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            mended = load_installed_docs(cache)
        assert "building it anew" in caplog.text
        assert "q:unseen:late" in mended.queries
        caplog.clear()
        assert load_installed_docs(cache).fingerprint == mended.fingerprint
        assert not caplog.text


def test_other_versions_have_another_cache(
    toy_installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_installed_docs(tmp_path / "cache")
    monkeypatch.setattr(subject, "BUILD_VERSION", -1)
    load_installed_docs(tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_a_warning(
    toy_installation: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        docs = load_installed_docs(tmp_path / "file")
    assert len(docs.corpus) == 18
    assert "cannot be written" in caplog.text


@pytest.mark.slow
def test_the_real_installation(all_docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(subject, "build_rows")  # it is there already
    docs = load_installed_docs(all_docs)
    assert len(docs.corpus) >= 8000
    assert set(docs.corpus.ids) == set(docs.relevant.values())
    modules = {split: set[str]() for split in SPLITS}
    for query, document in docs.relevant.items():
        modules[docs.split_of[query]].add(document.split(":")[0].split("#")[0])
    assert all(
        modules[a].isdisjoint(modules[b]) for a, b in (("train", "dev"), ("train", "test"), ("dev", "test"))
    )
    whole = documentation_splits(docs, ["dev", "test"])
    splits = dict(zip(whole, cut_together(list(whole.values()), 3000, [200, 300]), strict=True))
    assert len(splits["test"].corpus) == 3000
    corpus, queries = training_text(docs)
    assert overlapping_queries(queries.items(), splits) == {key: [] for key in splits}
    hashes = shingle_hashes([*splits["test"].corpus.texts, *corpus.texts])
    judged = {document for grades in splits["test"].qrels.values() for document in grades}
    index = TwinIndex()
    for document, found in zip(splits["test"].corpus.ids, hashes, strict=False):
        if document in judged:
            index.add(found)
    assert not any(index.has_twin(found) for found in hashes[3000:])
