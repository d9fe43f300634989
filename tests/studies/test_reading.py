"""Mistakes in ``study.yaml`` end in one line that names file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.studies.reading import read_study
from colbert_lab.studies.study import Term
from tests.studies.made_up import CONTENT, write_study

ONE = CONTENT["cells"]["one"]
CLAIM = CONTENT["claims"][0]


def test_a_study_is_read(tmp_path: Path) -> None:
    study = read_study(write_study(tmp_path / "001_x"))
    assert study.name == "001_x"
    assert study.cells["again"].student_of == Term("two", "supervised")
    assert study.claims[0].weights == {Term("two"): 1.0, Term("one"): -1.0}
    assert [(cell.name, seed) for cell, seed in study.plan()] == [
        *(("one", 1), ("two", 1), ("look", 1), ("again", 1)),
        *(("one", 2), ("two", 2), ("again", 2), ("one", 3), ("two", 3), ("again", 3)),
    ]


def test_a_term_is_what_it_says() -> None:
    for text in ("a", "a/before", "a@muvera", "a/distill@muvera"):
        assert str(Term.parse(text)) == text
    assert Term.parse("a/distill@muvera") == Term("a", "distill", "muvera")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "study: unknown key 'colour'; there are title, question"),
        ({"title": None}, "study: title is missing"),
        ({"title": 3}, "title: must be text, not 3"),
        ({"factors": "one"}, "factors: must be a list"),
        ({"seeds": []}, "seeds: must be whole numbers"),
        ({"seeds": [1, "2"]}, "seeds: must be whole numbers"),
        ({"seeds": [1, 1]}, "seeds: one is there twice"),
        ({"cells": {}}, "cells: must be a mapping"),
        ({"cells": {"One": ONE}}, "cells: 'One' must be of small letters"),
        ({"cells": {"one": {"title": "x", "override": []}}}, "cells.one: unknown key 'override'"),
        ({"cells": {"one": {"title": "x", "overrides": [3]}}}, "cells.one.overrides: must be text, not 3"),
        ({"screened": []}, "confirmed, screened: look must be in one of them, once"),
        ({"screened": ["look", "one"]}, "confirmed, screened: one must be in one of them, once"),
        ({"screened": ["other"]}, "confirmed, screened: no cell other; there are one, two"),
        ({"measure": "ndcg"}, "measure: unknown measure 'ndcg'"),
        ({"cost": "money"}, "cost: must be one of device_hours, seconds"),
        ({"claims": []}, "claims: a study needs a decision rule"),
        ({"claims": [CLAIM | {"expect": "more"}]}, r"claims\[0\].expect: 'more' must be one of higher"),
        ({"claims": [CLAIM | {"margin": 0}]}, r"claims\[0\].margin: must be a number above 0, not 0"),
        ({"claims": [CLAIM | {"weights": {"two": 1}}]}, r"claims\[0\].weights: must name two cells"),
        ({"claims": [CLAIM | {"weights": {"two": 1, "one": 1}}]}, "and sum to 0"),
        ({"claims": [CLAIM | {"weights": {"look": 1, "one": -1}}]}, "claims: look: no confirmed cell look"),
        ({"claims": [CLAIM | {"weights": {"two@muvera": 1, "one": -1}}]}, "muvera is not in modes"),
        ({"fixed": ["a={there}"]}, "unknown placeholder {there}; there are collections, work, student"),
        ({"fixed": ["a={student}"]}, "student_of and {student} in overrides belong together"),
        ({"fixed": ["--config-dir=/x"]}, "--config-dir=/x: must be a setting"),
        ({"fixed": ["hydra.searchpath=[/x]"]}, "must be a setting; options of the program and of Hydra belong"),
        ({"fixed": ["+data._target_=os.system"]}, "os.system: _target_ must name a class of colbert_lab.teachers"),
        ({"fixed": ["data={'_target_': 'os.system'}"]}, "_target_ must name a class"),
        (
            {"fixed": ["data={_target_: torch.optim.optimizer.torch.hub._import_module, name: x, path: x.py}"]},
            "_target_ must name a class",
        ),
        ({"fixed": ["data._target_=torch.optim.functools.partial"]}, "_target_ must name a class"),
        ({"fixed": ["data._target_=torch.optim.lr_scheduler"]}, "_target_ must name a class"),
        ({"fixed": ["data._target_=colbert_lab.teachers.scorer.torch.load"]}, "_target_ must name a class"),
        ({"fixed": ["data._target_=colbert_lab.sources.sources.Path"]}, "_target_ must name a class"),
        ({"fixed": ["data._target_=colbert_lab.sources.....sources.Path"]}, "_target_ must name a class"),
        ({"fixed": ["student.trust_remote_code=true"]}, "trust_remote_code runs code that comes with a model"),
        ({"prepare": [{"makes": "x"}]}, r"prepare\[0\]: command is missing"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    folder = write_study(tmp_path / "x", **changes)
    with pytest.raises(InputError, match=said) as caught:
        read_study(folder)
    assert str(caught.value).startswith(f"{folder / 'study.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_a_study_may_name_what_the_groups_are_made_of(tmp_path: Path) -> None:
    fixed = ["data._target_=colbert_lab.sources.sources.ScoredListFiles", "student.trust_remote_code=false"]
    fixed.append("phases.distill.optimizer={_target_: torch.optim.SGD, lr: 0.1}")
    assert list(read_study(write_study(tmp_path / "x", fixed=fixed)).fixed) == fixed


def test_a_parent_needs_the_seeds_of_its_children(tmp_path: Path) -> None:
    cells = CONTENT["cells"] | {"again": CONTENT["cells"]["again"] | {"student_of": "look"}}
    with pytest.raises(InputError, match=r"again\.student_of: look has fewer seeds than again"):
        read_study(write_study(tmp_path / "x", cells=cells))
    cells = CONTENT["cells"] | {"again": CONTENT["cells"]["again"] | {"student_of": "again"}}
    with pytest.raises(InputError, match="must name a cell that does not start from another one"):
        read_study(write_study(tmp_path / "y", cells=cells))


def test_folders_and_files_that_are_none(tmp_path: Path) -> None:
    write_study(tmp_path / "001_x")
    with pytest.raises(InputError, match="no such folder; there are 001_x"):
        read_study(tmp_path / "002_y")
    (tmp_path / "002_y").mkdir()
    with pytest.raises(InputError, match=r"has no study\.yaml"):
        read_study(tmp_path / "002_y")
    (tmp_path / "002_y" / "study.yaml").write_text("title: [")
    with pytest.raises(InputError, match=r"study\.yaml, line \d+: no YAML"):
        read_study(tmp_path / "002_y")
    (tmp_path / "002_y" / "study.yaml").write_text("- 1")
    with pytest.raises(InputError, match="study: must be a mapping"):
        read_study(tmp_path / "002_y")
