"""Tables as LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from colbert_lab.base.layout import Table, shown

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", "[": "{[}", "]": "{]}", "*": "{*}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


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
