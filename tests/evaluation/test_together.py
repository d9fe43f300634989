"""What several processes encode and search together is what one of them finds alone, to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.base.types import Split, Variant
from colbert_lab.evaluation import together
from colbert_lab.evaluation.evaluator import Evaluator
from colbert_lab.evaluation.together import search_together
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.search import modes
from colbert_lab.search.corpus import Keeping
from colbert_lab.search.mode import STORED, SearchSettings, variants_of
from colbert_lab.search.shares import Part, merged, read_parts, write_part
from tests.evaluation.test_evaluator import make_evaluator, make_split
from tests.toy import new_student

TRAINER = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto"}


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(0)
    return new_student(**student_settings)


def splits() -> dict[str, Split]:
    first = make_split("dev", 6)
    own = replace(make_split("test", 4), excluded={"test0": {"d3", "d4"}})
    return {"dev": first, "test": own}


def evaluator_of(
    folder: Path,
    processes: int,
    modes_: Sequence[str] = ("exact",),
    storage: str = "float32",
    keep: bool = False,
) -> Evaluator:
    variants = variants_of(list(modes_), [storage], [1], list(STORED), [None])
    keeping = Keeping(2**30, folder, keep=keep, processes=processes, own=not keep)
    return make_evaluator(splits(), search=SearchSettings(variants), keeping=keeping)


def all_of(evaluator: Evaluator) -> dict[str, Sequence[Variant]]:
    return dict.fromkeys(evaluator.splits, evaluator.search.variants)


def rankings(evaluator: Evaluator, student: Student) -> dict[tuple[str, Variant], Any]:
    found = evaluator.evaluate_student(student, "test", progress=False)
    return {(each.key, each.variant): each.ranking for each in found}


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_what_all_found_is_what_one_finds(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    alone = rankings(evaluator_of(tmp_path / "alone", 3, storage=storage), student)
    evaluator = evaluator_of(tmp_path / "together", 3, storage=storage)
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    assert len(list((tmp_path / "together").rglob("found_*.npz"))) == 2 * 3  # splits and processes
    monkeypatch.delattr(modes, "search")  # nothing is searched again
    assert rankings(evaluator, student) == alone
    assert not (tmp_path / "together").exists()


def test_seconds_are_those_of_all_processes(student: Student, tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path / "together", 2)
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    for path in (tmp_path / "together").rglob("found_*.npz"):
        (part,) = read_parts([path]) or []
        write_part(path, part._replace(seconds=100.0))
    for result in evaluator.evaluate_student(student, "test", progress=False):
        assert result.seconds_search == 200.0
        assert 200.0 < result.seconds < 260.0


def test_other_ways_to_search_are_the_first_process_own(student: Student, tmp_path: Path) -> None:
    alone = rankings(evaluator_of(tmp_path / "alone", 2, ("exact", "muvera")), student)
    evaluator = evaluator_of(tmp_path / "together", 2, ("exact", "muvera"))
    wanted = all_of(evaluator)
    search_together(TRAINER, student, evaluator, wanted, progress=False)
    assert rankings(evaluator, student) == alone
    only_muvera = {key: [v for v in variants if v.mode == "muvera"] for key, variants in wanted.items()}
    search_together(TRAINER, student, evaluator, only_muvera, progress=False)
    assert not list((tmp_path / "together").rglob("found_*.npz"))


def test_what_a_process_did_not_write_is_searched_again_with_a_warning(
    student: Student, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = rankings(evaluator_of(tmp_path / "alone", 2), student)
    evaluator = evaluator_of(tmp_path / "together", 2)
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    first, *_, last = sorted((tmp_path / "together").rglob("found_*.npz"))
    first.unlink()
    last.write_bytes(last.read_bytes()[:40])
    caplog.clear()
    assert rankings(evaluator, student) == alone
    assert caplog.text.count("this one searches all of the corpus") == 2


def test_shards_of_a_machine_that_shares_no_folder_are_searched_by_the_first_process(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = rankings(evaluator_of(tmp_path / "alone", 2), student)
    evaluator = evaluator_of(tmp_path / "together", 2)
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    for path in (tmp_path / "together").rglob("found_*.npz"):
        path.unlink()
    (shard, *_) = sorted((tmp_path / "together").glob("*/*-*"))
    shutil.rmtree(shard)
    monkeypatch.setattr(
        together.CorpusEncoder, "missing", lambda *_: []
    )  # another machine has written it there
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    assert "the first process searches alone" in caplog.text
    assert rankings(evaluator, student) == alone


def test_kept_parts_are_not_searched_again(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = evaluator_of(tmp_path / "kept", 2, keep=True)
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    found = rankings(evaluator, student)
    monkeypatch.delattr(together, "search")
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    assert rankings(evaluator, student) == found


def test_more_processes_than_documents(student: Student, tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path / "many", 40)
    (shared,) = evaluator.corpora(student)
    assert len(shared.parts_of("dev")) == 25
    assert [len(shared.shards_of(process)) for process in (0, 24, 25)] == [1, 1, 0]
    search_together(TRAINER, student, evaluator, all_of(evaluator), progress=False)
    one = rankings(evaluator_of(tmp_path / "one", 40), student)
    assert rankings(evaluator, student) == one


def test_a_name_says_all_that_decides_what_is_found(student: Student, tmp_path: Path) -> None:
    (shared,) = evaluator_of(tmp_path, 2).corpora(student)
    name = shared.parts_of("dev")[0]
    longer = StudentTokenizer(student.tokenizer.tokenizer, replace(student.tokenizer.rules, query_length=13))
    students = {**shared.students, "dev": replace(student, tokenizer=longer)}
    others = [
        shared.parts_of("test"),
        replace(shared, depth=shared.depth + 1).parts_of("dev"),
        replace(shared, processes=3).parts_of("dev"),
        replace(shared, students=students).parts_of("dev"),
    ]
    assert all(other[0] != name for other in others)
    assert not replace(shared, processes=1).is_searched_together("dev")


def test_equal_scores_are_ordered_as_in_one_search(tmp_path: Path) -> None:
    ties = torch.tensor([2, 0, 3, 1])
    parts = [
        Part(torch.tensor([[1.0, 0.5]]), torch.tensor([[0, 1]]), 0.25),
        Part(torch.tensor([[1.0, 0.5]]), torch.tensor([[2, 3]]), 0.5),
    ]
    scores, rows = merged(parts, ties, 3)
    assert scores.tolist() == [[1.0, 1.0, 0.5]]
    assert rows.tolist() == [[2, 0, 3]]
    assert merged(parts[:1], ties, 9)[1].tolist() == [[0, 1]]
    write_part(tmp_path / "a.npz", parts[0])
    again = read_parts([tmp_path / "a.npz"])
    assert again is not None
    assert torch.equal(again[0].scores_BK, parts[0].scores_BK)
    assert again[0].seconds == 0.25
    assert read_parts([tmp_path / "a.npz", tmp_path / "b.npz"]) is None
