"""Tables on a terminal: one table at any width, whole words, a row's name above all that is said of it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from colbert_lab.analysis.ledger.columns import Columns
from colbert_lab.analysis.ledger.table import ledger_table
from colbert_lab.base.layout import STYLED, Table, print_tables, tables_text
from tests.analysis.ledger.made import entry

ENTRIES = [
    entry("aaaaaaaaaa-s1", name="colbert_zero_kd", factors={"phases.distill.optimizer.lr": "1e-5"}),
    entry("aaaaaaaaaa-s2", name="colbert_zero_kd", factors={"phases.distill.optimizer.lr": "1e-5"}),
    entry(
        "bbbbbbbbbb-s1-r2",
        name="colbert_zero_kd",
        status="killed",
        factors={
            "phases.distill.optimizer.lr": "3e-5",
            "phases.distill.objective.distillation.normalisation": "minmax",
        },
    ),
    entry("cccccccccc-s1", name="reason_mxbai", status="failed", error="ValueError: bad"),
]
COMPARED = Table(
    "nDCG@10: compared with colbert_zero_kd",
    ("system", "nDCG@10", "difference", "p", "p, Holm", "detectable", "n"),
    (
        ("installed_docs, test", "", "", "", "", "", ""),
        ("  colbert_zero_kd", "0.6697 [0.6455, 0.6932]", "reference", "-", "-", "-", "1,000"),
        (
            "  colbert_zero_kd, lr=1e-5, normalisation=minmax",
            "0.6869 [0.6630, 0.7107] ± 0.0030",
            "+0.0172 [+0.0086, +0.0259] higher",
            "<0.0001",
            "<0.0001",
            "0.0101",
            "1,001",
        ),
    ),
    (),
    ("a note",),
)


def printed(table: Table, width: int) -> list[str]:
    screen = io.StringIO()
    print_tables([table], Console(file=screen, width=width, highlight=False))
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_list_of_runs_is_one_table(width: int) -> None:
    table = ledger_table(Columns(ENTRIES, None), ENTRIES, None, "outputs")
    lines = printed(table, width)
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("run ") for line in lines) == 1
    begins = [n for n, line in enumerate(lines) if re.match(r"[abc]{10}-s\d(-r2)?  ", line)]
    assert len(begins) == len(ENTRIES)
    ends = [*begins[1:], lines.index("", begins[-1])]
    for row, start, end in zip(table.rows, begins, ends, strict=True):
        told = " ".join(lines[start:end])
        assert all(cell in told for cell in row)
        assert all(line.startswith("    ") for line in lines[start + 1 : end])
    below = lines[begins[0] + 1 : ends[0]]
    assert bool(below) == (width < 200)
    assert all(f"{name} " in " ".join(lines[: begins[0]] + below) for name in table.columns[1:])


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_comparison_keeps_words_and_numbers_whole(width: int) -> None:
    lines = printed(COMPARED, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert sum(line.startswith("system") for line in lines) == 1
    for word in (
        "normalisation=minmax",
        "colbert_zero_kd,",
        "[+0.0086, +0.0259]",
        "[0.6630, 0.7107]",
        "0.6869 ± 0.0030",
    ):
        assert word in text
    assert ("  colbert_zero_kd, lr=1e-5, normalisation=minmax  0.6869" in text) == (width == 200)
    assert ("n 1,001" in text) == (width < 100)
    assert text.index("1,000") < text.index("  colbert_zero_kd,") < text.index("1,001")


def test_a_word_of_any_length_does_not_make_a_table_wider_than_two_lines_of_it() -> None:
    lines = printed(Table("t", ("system", "n"), (("x" * 300, "1"),), (), ()), 80)
    assert max(map(len, lines)) <= 80
    assert "".join(line[:80].partition("  ")[0] for line in lines).count("x") == 300


def test_a_long_table_is_the_same_without_styles() -> None:
    row = ("aaaaaaaaaa-s1", "0.5000 [0.4000, 0.6000]", "x" * 40, "y" * 40)
    lines = printed(Table("t", ("run", "nDCG@10", "left", "right"), (row,) * (STYLED + 1), (), ()), 80)
    assert sum(line.startswith("aaaaaaaaaa-s1  0.5000 [0.4000, 0.6000]") for line in lines) == STYLED + 1
    assert sum(line == f"    right {'y' * 40}" for line in lines) == STYLED + 1
    assert max(map(len, lines)) <= 93  # of the first column and one more, which stay together


def test_text_of_tables_is_what_is_printed_at_a_hundred() -> None:
    assert tables_text([COMPARED]).splitlines() == [line.rstrip() for line in printed(COMPARED, 100)][1:]
