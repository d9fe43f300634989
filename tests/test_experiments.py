"""The committed studies: their pages follow from their rows, and their commands compose."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.records.identity import config_hash
from colbert_lab.settings import checked
from colbert_lab.studies.answer import answer
from colbert_lab.studies.front import front
from colbert_lab.studies.pages import FIGURES, OVERVIEW, README, between, generated, overview
from colbert_lab.studies.reading import STUDY_FILE, read_study
from colbert_lab.studies.study import Places, overrides
from colbert_lab.studies.study_runs import PER_QUERY, RESULTS, RUNS
from colbert_lab.tasks.composing import CONF

EXPERIMENTS = Path(__file__).resolve().parent.parent / "experiments"
STUDIES = sorted(path.parent for path in EXPERIMENTS.glob(f"*/{STUDY_FILE}"))
studies = pytest.mark.parametrize("folder", STUDIES, ids=lambda path: path.name)


def test_all_eight_are_there() -> None:
    assert [re.match(r"\d{3}_[a-z_]+$", each.name) is not None for each in STUDIES] == [True] * 8


@studies
def test_page_and_figures_follow_from_the_rows(folder: Path) -> None:
    """``python experiments/study.py table`` would change nothing."""
    found = answer(read_study(folder))
    text = (folder / README).read_text(encoding="utf-8")
    assert between(text, generated(found), folder / README) == text
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in (folder / FIGURES).glob("*.svg")}
    assert drawn == {picture.name: picture.svg for picture in found.pictures}


def test_the_table_of_all_studies_and_the_front_page_follow_from_the_rows() -> None:
    root = EXPERIMENTS.parent
    answers = [answer(read_study(folder)) for folder in STUDIES]
    for page, part in ((root / OVERVIEW, overview), (root / README, front)):
        text = page.read_text(encoding="utf-8")
        assert between(text, part(answers, page.parent), page) == text


@studies
def test_no_row_names_a_place_of_a_machine(folder: Path) -> None:
    for name in (RESULTS, RUNS, PER_QUERY):
        path = folder / name
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            factors = json.loads(line).get("factors", {})
            assert not [value for value in factors.values() if re.search(r"(^|[:=,\[{'\" ])[/~]", str(value))]


@pytest.mark.slow
@studies
def test_every_cell_composes_and_is_another_one(folder: Path) -> None:
    study = read_study(folder)
    seen: dict[str, str] = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for cell in study.cells.values():
            given = overrides(study, cell, 1, Places(), f"STUDENT_OF_{cell.student_of}")
            config = OmegaConf.to_container(checked(compose("config", given)))
            hashed = config_hash(config)  # type: ignore[arg-type]
            assert seen.setdefault(hashed, cell.name) == cell.name
