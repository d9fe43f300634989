"""What a page of runs puts together."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

from colbert_lab.report.content import Report, report
from tests.report.support import a_sweep, compared, one_run


def made(outputs: Path, *runs: Path) -> Report:
    return report(compared(*runs), [outputs / "study"])


def test_a_search_is_drawn_and_its_best_trial_told(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra 'optuna' is not installed")
    from colbert_lab.tuning.search import trials_in
    from tests.tuning.test_search import begun, run_to

    run = one_run(tmp_path)
    journal = tmp_path / "study" / "sweeps" / "search-abc.journal"
    journal.parent.mkdir()
    run_to(begun(journal))
    best = trials_in(journal).best
    assert best is not None
    (picture,) = made(tmp_path, run).search
    assert picture.caption.startswith(
        f"search-abc: trial {best.number} is the best of 8 finished and 0 pruned trials, dev/ndcg@10 "
        f"{best.value:.4f} with "
    )
    assert f"lr={best.tried['lr']:.4g}" in picture.caption
    assert "best so far" in picture.svg


def test_a_sweep_has_a_table_and_what_it_costs(tmp_path: Path) -> None:
    runs = a_sweep(tmp_path)
    found = made(tmp_path, *runs)
    assert [table.title for table in found.tables] == [
        "nDCG@10: compared with f0=0, f1=0",
        "nDCG@10: what each factor changes, averaged over the others",
    ]
    assert found.cost is not None
    assert len(found.cost[1].rows) == 4
    assert found.title == "study"
    assert found.search == ()


def test_curves_begin_with_what_the_page_is_about(tmp_path: Path) -> None:
    found = made(tmp_path, *a_sweep(tmp_path, factors=3))
    assert found.curves[0].alt.index("f0=0, f1=0, f2=0") < found.curves[0].alt.index("f0=1, f1=0, f2=0")
    assert found.curves[0].alt.index("f0=1, f1=0, f2=0") < found.curves[0].alt.index("f0=0, f1=1, f2=0")


def test_the_lineage_and_the_phases_are_those_of_the_runs(tmp_path: Path) -> None:
    found = made(tmp_path, *a_sweep(tmp_path))
    assert found.lineage is not None
    assert found.lineage.alt.count(": untrained, then distill") == 4
    assert found.phases is not None
    assert found.phases.rows[0][0] == "distill"
