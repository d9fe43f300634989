"""A comparison as text, LaTeX and CSV."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from colbert_lab.analysis.compare import compare_runs
from colbert_lab.analysis.compare_table import comparison_csv, comparison_tables, to_latex
from colbert_lab.base.layout import Table, print_tables, to_markdown
from tests.records.run_folders import MEASURE, write_run

MIXED = np.array([0.2, -0.1, 0.1, 0.0, 0.1, 0.0, 0.2, -0.1])


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """``a_1`` is the reference, ``a_2`` (two seeds) better on every query, ``a_3`` mixed and on other dev text."""
    found = [write_run(tmp_path, "1a", 1, {"n": "a_1"}, {"distill": {"test": 0.1, "dev": 0.1}})]
    for seed in (1, 2):
        gains = {"distill": {"test": 0.2 + 0.1 * seed, "dev": 0.3}}
        found.append(write_run(tmp_path, "2a", seed, {"n": "a_2"}, gains))
    gains_of_3 = {"distill": {"test": 0.1 + MIXED}}
    return [*found, write_run(tmp_path, "3a", 1, {"n": "a_3"}, gains_of_3, fingerprint="newer")]


def test_one_table_a_measure_with_the_splits_below_one_another(runs: list[Path]) -> None:
    (table,) = comparison_tables(compare_runs(runs, allow_different=True))
    assert table.title == "nDCG@10: compared with n=a_1"
    assert table.columns == ("system", "nDCG@10", "difference", "p", "p, Holm", "detectable", "n")
    first = [row[0] for row in table.rows]
    assert first == ["made, test", "  n=a_1", "  n=a_2", "  n=a_3", "made, dev", "  n=a_1", "  n=a_2"]
    assert table.rows[0][1:] == ("",) * 6
    assert table.rows[1][2:] == ("reference", "-", "-", "-", "8")
    value, difference, *rest = table.rows[2][1:]
    assert re.fullmatch(r"0\.7000 \[0\.\d{4}, 0\.\d{4}\] ± 0\.0707", value)
    assert difference == "+0.2500 [+0.2500, +0.2500] higher"
    assert rest == ["0.0078", "0.0156", "0.0000", "8"]
    assert table.rows[3][2:] == ("not compared", "-", "-", "-", "8")
    notes = " ".join(table.notes)
    assert "n=a_3 on made/test: not compared: other text than the reference: documents" in notes
    assert "± is the standard deviation of the seeds' means" in notes
    assert "detectable: the smallest true difference" in notes
    assert "(seeds 1, 2)" in notes


def test_the_table_fits_the_screen_and_nothing_is_cut(runs: list[Path]) -> None:
    screen = io.StringIO()
    tables = comparison_tables(compare_runs(runs, allow_different=True))
    print_tables(tables, Console(file=screen, width=100))
    shown = screen.getvalue()
    assert max(len(line) for line in shown.splitlines()) <= 100
    for cell in ("0.7000 ± 0.0707", "+0.2500 higher", "0.0156", "made, dev", "detectable"):
        assert shown.count(cell) >= 1
    assert to_markdown(tables).count("\n| ") == 8


def test_csv_holds_the_numbers_in_full(runs: list[Path]) -> None:
    comparison = compare_runs(runs, allow_different=True)
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert len(rows) == 5
    (row,) = [r for r in rows if (r["label"], r["split"]) == ("n=a_2", "dev")]
    assert (row["source"], row["dataset"], row["mode"], row["measure"]) == (
        "measured",
        "made",
        "exact",
        MEASURE,
    )
    assert row["split_fingerprint"] == "text"
    assert (row["run_ids"], row["seeds"]) == ("2a00000000-s1 2a00000000-s2", "1 2")
    (found,) = [
        each
        for place, compared in comparison.compared.items()
        for each in compared
        if place.split == "dev" and each.row.label == "n=a_2"
    ]
    assert float(row["value"]) == found.row.value
    assert float(row["p"]) == found.p == 2 / 256
    assert float(row["p_holm"]) == found.p_holm
    assert (row["mark"], row["reference"], row["n_queries"]) == ("higher", "n=a_1", "8")
    assert "not compared" in next(r["note"] for r in rows if r["label"] == "n=a_3")
    assert next(r["mark"] for r in rows if r["label"] == "n=a_1") == "reference"


def unescaped(text: str) -> str:
    """What a LaTeX cell says: the inverse of the escapes, written on its own."""
    for command, character in {
        r"\quad ": "", "{[}": "[", "{]}": "]", r"\pm": "±", r"\_": "_", r"\&": "&", r"\%": "%", r"\#": "#",
        r"\textless{}": "<", r"\textasciitilde{}": "~", r"\textbackslash{}": "\\",
    }.items():  # fmt: skip
        text = text.replace(command, character)
    return text.replace("$", "")


def test_latex_says_the_same_as_the_table(runs: list[Path]) -> None:
    (table,) = comparison_tables(compare_runs(runs, allow_different=True))
    text = to_latex([table])
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    rows = [line.removesuffix(r" \\").split(" & ") for line in body if " & " in line]
    wanted = [[c.strip() for c in row] for row in table.rows if any(row[1:])]
    assert [[unescaped(cell).replace("--", "-") for cell in row] for row in rows] == wanted
    assert text.count(r"\multicolumn{7}{l}{\textit{made, ") == 2
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\end{tabular}"):
        assert text.count(rule) == 1
    assert r"n=a\_2" in text
    assert "$+0.2500$ {[}$+0.2500$, $+0.2500${]} higher" in text


def test_latex_escapes_what_has_a_meaning_there() -> None:
    table = Table("100% of $a & b_c", ("x", "y"), (("#1 {~} ^ \\", "<0.0001"), ("-", "-0.5")), (), ())
    text = to_latex([table])
    assert r"\caption{100\% of \$a \& b\_c}" in text
    assert r"\#1 \{\textasciitilde{}\} \textasciicircum{} \textbackslash{} & \textless{}0.0001 \\" in text
    assert "-- & $-0.5$ \\\\" in text
    # Every brace that opens closes, escaped ones aside.
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
