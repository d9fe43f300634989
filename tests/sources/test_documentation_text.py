"""Documentation of packages as the data of phases and as evaluation splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.records.contents import contents_of
from colbert_lab.records.identity import config_hash
from colbert_lab.sources.documentation_text import DocumentationLists, DocumentationTriples
from colbert_lab.sources.to_score import has_lists, retrieved
from colbert_lab.teachers.bm25 import BM25
from colbert_lab.text.collections.splits import SplitRequest, load_splits
from colbert_lab.text.packages.package_docs import load_package_docs
from tests.records.test_contents import config_of
from tests.text.packages.made import module, page, write_wheel

BM = BM25(0.9, 0.4)
KINDS = {"summary": 1, "section": 1, "parameter": 2, "sentence": 0}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"toy/{name}.py": module(f"toy.{name}") for name in "bcdefghijklmnopqrst"}
    pages = {f"toy/{name}.md": page(f"{name}page") for name in "bcdefghijklmnopqrst"}
    return write_wheel(tmp_path_factory.mktemp("wheels"), "toy", files | pages)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def triples(wheel: Path, **changes: Any) -> DocumentationTriples:
    given: dict[str, Any] = {
        "packages": [str(wheel)],
        "path": None,
        "kinds": KINDS,
        "documents": None,
        "queries": None,
    }
    return DocumentationTriples(**(given | changes))


def test_each_kind_is_a_source_with_its_share(wheel: Path, cache: Path) -> None:
    source = triples(wheel)
    found = source.load(cache)
    assert [each.name for each in found] == [
        f"package_docs {kind}/train" for kind in ("summary", "section", "parameter")
    ]
    assert source.weights == [0.25, 0.25, 0.5]
    docs = load_package_docs([str(wheel)], cache)
    for each in found:
        assert len(each) > 5
        assert all(docs.split_of[name] == "train" for name, _ in each.training_queries())
    cut = triples(wheel, queries=8).load(cache)
    assert [len(each) for each in cut] == [2, 2, 4]
    (alone,) = triples(wheel, kinds={"section": 3}).load(cache)
    assert alone.name == "package_docs section/train"
    judged = triples(wheel).judged(cache)
    assert isinstance(judged, Split)
    assert len(judged.queries) == sum(map(len, found))


def test_triples_and_lists(wheel: Path, cache: Path) -> None:
    found = triples(wheel, negatives=3, retriever=BM, kinds={"summary": 1, "section": 1}).load(cache)
    assert [each.fewest for each in found] == [4, 4]
    assert has_lists(triples(wheel, negatives=3))
    assert not has_lists(triples(wheel))
    settings: dict[str, Any] = {"teacher": BM, "retrievers": {"bm25": BM}, "top": 3, "random": 2, "seed": 0}
    lists = DocumentationLists([str(wheel)], None, {"summary": 1, "parameter": 1}, None, 10, **settings)
    assert not has_lists(lists)
    loaded = lists.load(cache)
    assert [(each.name, len(each), each.fewest) for each in loaded] == [
        ("package_docs summary", 5, 5),
        ("package_docs parameter", 5, 5),
    ]
    made = retrieved(triples(wheel), cache, retrievers={"bm25": BM}, top=3, random=0, positives=True, seed=0)
    assert made.name == "package_docs/train"


def test_what_does_not_fit_is_one_line(wheel: Path, cache: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"kinds": {"heading": 1}}, r"data\.kinds\.heading: no such kind; there are summary, section"),
        ({"kinds": {"summary": 0}}, r"data\.kinds: every kind is left out; give one a share above 0"),
        ({"path": "DIR"}, r"data\.packages: has no effect with data\.path; set one of them to null"),
        ({"negatives": 2}, r"data\.retriever: hard negatives need a retriever"),
        (
            {"documents": 3, "queries": 1000},
            r"data: documents=1 is too few: the kept queries of package_docs summary",
        ),
    ):
        with pytest.raises(InputError, match=rf"^{message}[^\n]*$"):
            triples(wheel, **changes).load(cache)
    folder = tmp_path / "text"
    folder.mkdir()
    for n in range(20):
        (folder / f"{n}.md").write_text(page(f"{'abcdefghijklmnopqrst'[n]}page"))
    with pytest.raises(
        InputError, match=r"^data\.kinds\.parameter=2: the training text has no such pair; set it to 0$"
    ):
        triples(wheel, packages=None, path=str(folder), kinds={"section": 1, "parameter": 2}).load(cache)
    (sections,) = triples(wheel, packages=None, path=str(folder), kinds={"section": 1}).load(cache)
    assert sections.name == "text_folder section/train"
    with pytest.raises(InputError, match=r"^data\.teacher: scores of documentation need a teacher"):
        DocumentationLists([str(wheel)], None, {"summary": 1}, None, None, None).load(cache)


def test_evaluation_splits(wheel: Path, cache: Path, tmp_path: Path) -> None:
    listed = tmp_path / "mine.txt"
    listed.write_text(f"{wheel}\n")
    requests = {name: SplitRequest("package_docs", name, str(listed), 4) for name in ("test", "dev")}
    found = load_splits(requests, documents=20, cache_dir=cache)
    assert {name: (split.dataset, len(split.queries)) for name, split in found.items()} == {
        "test": ("package_docs", 4),
        "dev": ("package_docs", 4),
    }
    assert found["test"].corpus is found["dev"].corpus
    with pytest.raises(
        InputError, match=r"evaluation\.splits\.x\.split=held: package_docs has train, dev, test, out_of"
    ):
        load_splits({"x": SplitRequest("package_docs", "held")}, documents=None, cache_dir=cache)
    with pytest.raises(InputError, match=r"the split out_of_domain has no query"):
        load_splits(
            {"x": SplitRequest("package_docs", "out_of_domain", str(listed))}, documents=None, cache_dir=cache
        )
    with pytest.raises(InputError, match=r"evaluation\.splits\.x\.path: no folder given"):
        load_splits({"x": SplitRequest("text_folder", "test")}, documents=None, cache_dir=cache)
    with pytest.raises(InputError, match=r"evaluation\.splits\.x: path=gone: no such folder"):
        load_splits({"x": SplitRequest("text_folder", "test", "gone")}, documents=None, cache_dir=cache)


def test_a_run_is_known_by_the_packages_content(wheel: Path, tmp_path: Path) -> None:
    lists = []
    for name in ("one.txt", "two.txt"):
        lists.append(tmp_path / name)
        lists[-1].write_text(f"{wheel}\n")

    def hashed(file: Path) -> str:
        chosen = (
            "data=package_docs_pairs",
            f"data.packages={file}",
            "evaluation=package_docs",
            f"evaluation.path={file}",
        )
        config = config_of("+experiment=colbert_zero_kd", *chosen)
        contents = contents_of(config)
        assert str(contents["phases.distill.data.packages"]).startswith("packages:")
        assert contents["evaluation.splits.dev.path"] == contents["phases.distill.data.packages"]
        return config_hash(config, contents)

    first = hashed(lists[0])
    assert hashed(lists[1]) == first
    lists[1].write_text(f"{wheel} # held out\n")
    assert hashed(lists[1]) != first
