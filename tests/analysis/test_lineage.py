"""Which phases trained which student, as a tree."""

from __future__ import annotations

from pathlib import Path

from colbert_lab.analysis.lineage import Link, lineage, lineage_svg, run_chain
from colbert_lab.records.cost import PhaseCost
from colbert_lab.records.runs import read_runs
from tests.records.run_folders import write_run
from tests.report.support import a_sweep


def link(name: str, identity: str, seconds: float = 10.0) -> Link:
    return Link(name, identity, PhaseCost(5, seconds, 100, None), "x")


def test_students_that_share_a_phase_share_its_box() -> None:
    root = lineage(
        {
            "short": [[link("first", "a1")]],
            "long": [
                [link("first", "a1"), link("second", "b1")],
                [link("first", "a2", 20.0), link("second", "b2")],
            ],
            "other": [[link("first", "c1")]],
            "nothing": [[]],
        }
    )
    assert [(node.name, node.cells) for node in root.children.values()] == [
        ("first", ["short"]),
        ("first", ["other"]),
    ]
    shared = next(iter(root.children.values()))
    assert shared.seconds == [10.0, 20.0, 10.0]
    assert [(node.name, node.cells) for node in shared.children.values()] == [("second", ["long"])]
    svg, told = lineage_svg(root)
    assert told == (
        "Lineage. short: untrained, then first; long: untrained, then first, then second; other: untrained, then first."
    )
    assert svg.count("<rect ") == 4
    assert "13 s" in svg


def test_titles_are_texts(tmp_path: Path) -> None:
    svg, _ = lineage_svg(lineage({"<b>&": [[link("<i>", "a")]]}))
    assert "<b>" not in svg
    assert "&lt;b&gt;&amp;" in svg


def test_a_run_has_the_phases_that_say_what_they_took(tmp_path: Path) -> None:
    run = read_runs([a_sweep(tmp_path)[0]]).runs[0]
    (found,) = run_chain(run, "title")
    assert (found.name, found.identity, found.cost.seconds) == ("distill", f"phase of {run.run_id}", 20.0)
    unknown = write_run(tmp_path / "old", "bb", 1, {}, {"distill": {"test": 0.1}})
    assert run_chain(read_runs([unknown]).runs[0], "title") == []
