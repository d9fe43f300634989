"""What trackers call tables and groups."""

from __future__ import annotations

import pytest

from colbert_lab.records.identity import OF_OTHER_TASKS
from colbert_lab.tracking.naming import group_of, panel, used


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("installed_docs, test: 800 queries, 1,000 documents", "installed_docs, test"),
        ("Ways to search: toy, dev: 1 query, 12 documents", "Ways to search: toy, dev"),
        ("Phases: cost and lineage", "Phases: cost and lineage"),
    ],
)
def test_a_panel_is_the_same_for_all_sizes(title: str, name: str) -> None:
    assert panel(title) == name


def test_seeds_and_repetitions_of_a_config_are_one_group() -> None:
    assert {group_of("kd", f"0123456789-s{end}") for end in ("1", "42", "1-r2")} == {"kd 0123456789"}


def test_what_no_run_reads_is_left_out() -> None:
    assert {"compare", "mine", "report", "runs", "out"} <= OF_OTHER_TASKS
    assert not {"student", "evaluation", "phases", "seed", "trainer"} & OF_OTHER_TASKS
    config = {"phases": {"a": {"steps": 1}, "b": {"steps": 2}}, "schedule": ["b"], "out": None, "seed": 1}
    assert used(config) == {"phases": {"b": {"steps": 2}}, "schedule": ["b"], "seed": 1}
