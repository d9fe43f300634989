"""Commands of a study: to execute and to show."""

from __future__ import annotations

from pathlib import Path

from colbert_lab.studies.reading import read_study
from colbert_lab.studies.study import Places, preparations, shown
from tests.studies.made_up import CONTENT, write_study


def test_an_environment_is_shown_as_a_shell_variable(tmp_path: Path) -> None:
    cells = {**CONTENT["cells"], "look": {"title": "x", "overrides": [], "environment": "plaid"}}
    study = read_study(write_study(tmp_path / "001_x", cells=cells))
    assert shown(study, study.cells["look"], [1]).startswith("$PLAID_PYTHON -m colbert_lab +experiment=")
    assert shown(study, study.cells["one"], [1]).startswith("python -m colbert_lab +experiment=")


def test_places_with_spaces_stay_one_word(tmp_path: Path) -> None:
    prepare = [{"makes": "{work}/a", "command": "python make.py {collections}/b {work}/a"}]
    study = read_study(write_study(tmp_path / "001_x", prepare=prepare))
    ((made, words),) = preparations(study, Places("my outputs", "/my data"), "py")
    assert made == Path("my outputs/001_x_data/a")
    assert words == ["py", "make.py", "/my data/b", "my outputs/001_x_data/a"]
