"""``higher``, ``lower``, ``unclear`` and ``same`` mean one thing wherever they stand, and one query has no interval."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from colbert_lab.analysis.ablation import ablation_table, conclusions
from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables, to_latex
from colbert_lab.analysis.configurations import group
from colbert_lab.analysis.difference_views import difference_sentences
from colbert_lab.analysis.differences import query_differences, side
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.records.runs import find_runs
from tests.records import run_folders
from tests.records.run_folders import MEASURE, write_run

FIVE, SIX, ALL = (np.array([0.1] * n + [0.0] * (8 - n)) for n in (5, 6, 8))
"""Better on so many of 8 queries: p is 2 / 2 ** n, and each interval excludes 0."""
CASES = {
    "no test finds it": ({"test": FIVE}, {"test": "unclear"}),
    "one split": ({"test": SIX}, {"test": "higher"}),
    "two splits": ({"test": SIX, "dev": SIX}, {"test": "unclear", "dev": "unclear"}),
    "one of two splits": ({"test": -ALL, "dev": FIVE}, {"test": "lower", "dev": "unclear"}),
    "nothing": ({"test": 0 * ALL, "dev": ALL}, {"test": "same", "dev": "higher"}),
}
OPPOSITE = {"higher": "lower", "lower": "higher"}


def cell(table_rows: tuple[tuple[str, ...], ...], name: str, column: int = 1) -> str:
    (found,) = (row[column] for row in table_rows if row[0].strip() == name)
    return found


@pytest.mark.parametrize("name", CASES)
def test_every_table_calls_a_difference_the_same(name: str, tmp_path: Path) -> None:
    gains, expected = CASES[name]
    path = write_run(tmp_path, "1a", 1, {"n": "a"}, {"distill": gains})
    plain = write_run(tmp_path, "2a", 1, {"n": "b"}, {"distill": dict.fromkeys(gains, 0.0)})
    tables = run_tables(path)
    for table in tables:
        split = "test" if "test" in table.title else "dev"
        if table.columns[0] != "system":
            continue
        mark = expected.pop(split)
        assert cell(table.rows, "distill vs before").endswith(f"] {mark}")
        told = {"same": "no query differs", "unclear": "unclear, no difference is shown"}.get(mark, mark)
        assert table.verdicts[0].endswith(f": {told}.")
        assert any("Holm's correction over the splits" in note for note in table.notes)
        # task=compare, with the trained student as the reference: the same the other way round.
        comparison = compare_runs([path], systems=["student", "before"])
        (row,) = (
            each
            for place, rows in comparison.compared.items()
            for each in rows
            if place.split == split and not each.reference
        )
        assert row.mark == OPPOSITE.get(mark, mark)
        # The notebooks: two configurations, and query by query.
        one, other = group(find_runs(tmp_path, "study").runs)
        assert (one.runs[0].path, other.runs[0].path) == (path, plain)
        (shown,) = (r for r in ablation_table([other, one], other, split, MEASURE).rows if r[0] == "a")
        assert any(each.endswith(f"] {mark}") for each in shown)
        (sentence,) = (s for s in conclusions([other, one], other, split, MEASURE) if "against n=b" in s)
        assert f": {mark}, " in sentence
        sides = [side([one, other], {"n": each}) for each in ("a", "b")]
        assert f"] {mark} (8 queries" in " ".join(
            difference_sentences(query_differences(sides[0], sides[1], split, MEASURE))
        )
    assert not expected


def test_one_query_has_no_interval_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folders, "BASE", np.array([0.5]))
    monkeypatch.setattr(run_folders, "QUERIES", ("q0",))
    one = write_run(tmp_path, "1a", 1, {"n": "a"}, {"distill": {"test": 0.1}})
    other = write_run(tmp_path, "2a", 1, {"n": "b"}, {"distill": {"test": 0.2}})
    first = run_tables(one)[0]
    assert cell(first.rows, "student before") == "0.5000 (one query: no interval)"
    assert cell(first.rows, "distill vs before") == "+0.1000 (one query: no interval)"
    assert first.verdicts[0].endswith(
        "+0.1000 (one query: no interval) over before on test (1 query): not tested."
    )
    comparison = compare_runs([one, other])
    tables = [first, *comparison_tables(comparison)]
    (row,) = (row for row in tables[1].rows if row[0] == "  n=b")
    assert row[1:] == (
        "0.7000 (one query: no interval)", "+0.1000 (one query: no interval)", "-", "-", "-", "1",
    )  # fmt: skip
    (line,) = (r for r in csv.DictReader(io.StringIO(comparison_csv(comparison))) if r["label"] == "n=b")
    empty = ("low", "high", "difference_low", "difference_high", "p", "p_holm", "mark", "smallest_detectable")
    assert {line[key] for key in empty} == {""}
    assert float(line["difference"]) == pytest.approx(0.1)
    configurations = group(find_runs(tmp_path, "study").runs)
    tables.append(ablation_table(configurations, configurations[0], "test", MEASURE))
    screen = io.StringIO()
    print_tables(tables, Console(file=screen, width=200))
    sides = [side(configurations, {"n": name}) for name in "ab"]
    told = [
        screen.getvalue(), to_markdown(tables), to_latex(tables),
        *conclusions(configurations, configurations[0], "test", MEASURE),
        *difference_sentences(query_differences(sides[0], sides[1], "test", MEASURE)),
    ]  # fmt: skip
    assert not [text for text in told if "nan" in text]
    assert sum("one query: no interval" in text for text in told) >= 5
