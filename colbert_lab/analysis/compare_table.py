"""A comparison as tables to read, as LaTeX with booktabs, and as rows for a CSV file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from colbert_lab.analysis.compare import Comparison
from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.effects import effects_by_place, effects_tables
from colbert_lab.analysis.measured import Place, provenance
from colbert_lab.analysis.published import Beside
from colbert_lab.base.layout import NONE, Table, csv_text, shown
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.evaluation.significance import MARKS, Paired
from colbert_lab.records.runs import STUDENT

CSV_COLUMNS = (
    "source", "dataset", "split", "split_fingerprint", "mode", "measure", "system", "phase", "label",
    "run_ids", "seeds", "n_queries", "value", "low", "high", "sd_over_seeds", "reference", "difference",
    "difference_low", "difference_high", "p", "p_holm", "mark", "smallest_detectable",
    "note",
)  # fmt: skip
ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", "[": "{[}", "]": "{]}", "*": "{*}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


def comparison_tables(comparison: Comparison, beside: Sequence[Beside] = ()) -> list[Table]:
    """One table for each measure and search mode; in it, the rows of each split under its name. Then the effects.

    Args:
        comparison: what :func:`colbert_lab.analysis.compare.compare_runs` returned.
        beside: published numbers, see :func:`colbert_lab.analysis.published.set_beside`.
    """
    grouped: dict[tuple[str, str], dict[Place, tuple[Compared, ...]]] = {}
    for place, rows in comparison.compared.items():
        grouped.setdefault((place.measure, place.mode), {})[place] = rows
    tables = [
        _table(measure, mode, by_place, comparison, beside) for (measure, mode), by_place in grouped.items()
    ]
    return tables + effects_tables(comparison)


def _table(
    measure: str,
    mode: str,
    by_place: Mapping[Place, tuple[Compared, ...]],
    comparison: Comparison,
    beside: Sequence[Beside],
) -> Table:
    everything = [each for rows in by_place.values() for each in rows]
    seeds = any(_spread(each) for each in everything)
    columns = ("system", measure_title(measure), "difference", "p", "p, Holm", "detectable", "n")
    cells: list[tuple[str, ...]] = []
    said: dict[tuple[str, str], list[str]] = {}
    for place, rows in by_place.items():
        cells.append((f"{place.dataset}, {place.split}", *[""] * (len(columns) - 1)))
        for each in rows:
            cells.append(_cells(each))
            for note in [*each.row.notes, *([each.why] if each.why else [])]:
                said.setdefault((each.row.label, note), []).append(f"{place.dataset}/{place.split}")
        blank = [NONE] * (len(columns) - 3)
        for number, published in enumerate(beside, start=1):
            for value in published.at(place):
                cells.append((f"  {value.system}", f"{value.value:.4f}", f"published {number}", *blank))
    used = [
        f"published {number}: {' '.join(published.notes)}"
        for number, published in enumerate(beside, start=1)
        if any(published.at(place) for place in by_place)
    ]
    told = [f"{label} on {', '.join(splits)}: {note}." for (label, note), splits in said.items()]
    behind = [*provenance(comparison.configurations), *comparison.left_out]
    notes = (*_how_to_read(comparison, seeds), *told, *used, *behind)
    search = f", {mode} search" if mode != "exact" else ""
    title = f"{measure_title(measure)}{search}: compared with {comparison.reference}"
    return Table(title, columns, tuple(cells), (), notes)


def _cells(each: Compared) -> tuple[str, ...]:
    value = f"{each.row.value:.4f}"
    if each.interval is not None:
        value += f" {each.interval.bounds()}"
    value += _spread(each)
    return (
        f"  {each.row.label}",
        value,
        _difference(each),
        *(NONE if p is None else _p(p) for p in (each.p, each.p_holm)),
        NONE if each.detectable is None else f"{each.detectable:.4f}",
        f"{each.row.n_queries:,}",
    )


def _spread(each: Compared) -> str:
    """`` ± 0.0030`` for a student of several seeds; other systems have no seed."""
    return "" if each.row.sd is None or each.row.system != STUDENT else f" ± {each.row.sd:.4f}"


def _difference(each: Compared) -> str:
    if each.reference:
        return "reference"
    if each.gap is None:
        return "not compared"
    if each.difference is None:
        return f"{each.gap:+.4f} (not tested)"
    return str(each.difference)


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"


def _how_to_read(comparison: Comparison, seeds: bool) -> list[str]:
    notes = ["[low, high]: 95% bootstrap interval over queries; of a difference, paired by query."]
    if any(not each.reference for rows in comparison.compared.values() for each in rows):
        notes += [
            "p: two-sided randomisation test over queries. p, Holm: corrected for a row's being tested on several "
            "splits of this table; not for several rows or measures.",
            MARKS,
            "detectable: the smallest true difference that this many queries show with power 0.8 at level 0.05.",
        ]
    if seeds:
        notes.append(
            "Several seeds: each query's value is averaged over them first; ± is the standard deviation of the seeds' "
            "means. p and intervals say what other queries would change, not what other seeds would."
        )
    return notes


def comparison_csv(comparison: Comparison, beside: Sequence[Beside] = ()) -> str:
    """What :func:`comparison_rows` returns, as CSV."""
    return csv_text(comparison_rows(comparison, beside))


def comparison_rows(comparison: Comparison, beside: Sequence[Beside] = ()) -> list[Sequence[object]]:
    """Everything: the names of the columns, then one row for each row, split, measure and mode, numbers in full.

    Args:
        comparison: what :func:`colbert_lab.analysis.compare.compare_runs` returned.
        beside: published numbers; their ``source`` is the name of their table, for others it is ``measured``, and for
            what a factor changes (:mod:`colbert_lab.analysis.effects`) ``effect``.
    """
    lines: list[dict[str, object]] = []
    for place, rows in comparison.compared.items():
        where = {"dataset": place.dataset, "split": place.split, "mode": place.mode, "measure": place.measure}
        for each in rows:
            lines.append({**where, **_csv_row(each, comparison.reference)})
        for published in beside:
            for value in published.at(place):
                row = {"source": published.table.name, "system": value.system, "label": value.system}
                lines.append({**where, **row, "mode": "", "value": value.value})
    for place, effects in effects_by_place(comparison).items():
        where = {"dataset": place.dataset, "split": place.split, "mode": place.mode, "measure": place.measure}
        for effect in effects:
            told = {"source": "effect", "label": effect.told, "n_queries": effect.difference.n}
            lines.append({**where, **told, **_difference_columns(effect.difference)})
    return [CSV_COLUMNS, *([line.get(key) for key in CSV_COLUMNS] for line in lines)]


def _csv_row(each: Compared, reference: str) -> dict[str, object]:
    row = each.row
    low, high = each.interval.known if each.interval else (None, None)
    return {
        "source": "measured",
        "split_fingerprint": row.fingerprint,
        "system": row.system,
        "phase": row.phase,
        "label": row.label,
        "run_ids": " ".join(run.run_id for run in row.configuration.runs),
        "seeds": " ".join(str(seed) for seed in row.configuration.seeds),
        "n_queries": row.n_queries,
        "value": row.value,
        "low": low,
        "high": high,
        "sd_over_seeds": row.sd,
        "reference": reference,
        **({} if each.difference is None else _difference_columns(each.difference)),
        "difference": each.gap,
        **({"mark": "reference"} if each.reference else {}),
        "note": "; ".join([*row.notes, *([each.why] if each.why else [])]),
    }


def _difference_columns(found: Paired) -> dict[str, object]:
    low, high = found.known
    several = found.n > 1  # one query is no test
    return {
        "difference": found.mean,
        "difference_low": low,
        "difference_high": high,
        "p": found.p if several else None,
        "p_holm": found.p_holm if several else None,
        "mark": found.mark,
        "smallest_detectable": found.detectable if several and not math.isnan(found.detectable) else None,
    }


def to_latex(tables: Sequence[Table]) -> str:
    """The tables as ``table`` environments for a document that loads the package booktabs.

    Numbers keep their signs in math mode, and brackets and stars are protected from being read as options.

    Args:
        tables: what :func:`colbert_lab.analysis.compare_table.comparison_tables` returned.
    """
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_environment(shown(table)) for table in tables)


def _environment(table: Table) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        _row(table.columns),
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if any(row[1:]):
            lines.append(_row(row))
        else:
            lines += [r"\addlinespace"] if number else []
            lines.append(rf"\multicolumn{{{len(row)}}}{{l}}{{\textit{{{_escaped(row[0])}}}}} \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {_escaped(note)}" for note in (*table.verdicts, *table.notes)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(cell: str) -> str:
    """One cell; what stands below another row is indented, and signs are set as signs."""
    if cell == "-":
        return "--"
    indent = r"\quad " if cell.startswith(" ") else ""
    words = [_number(word) for word in cell.strip().split(" ")]
    return indent + " ".join(words)


def _number(word: str) -> str:
    bare = word.strip("[],")
    if bare[:1] in ("+", "-") and bare[1:].replace(".", "").isdigit():
        before, _, after = word.partition(bare)
        return f"{_escaped(before)}${bare}${_escaped(after)}"
    return _escaped(word)


def _escaped(text: str) -> str:
    return "".join(ESCAPES.get(character, character) for character in text)
