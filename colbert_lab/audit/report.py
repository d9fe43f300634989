"""An audit as tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from colbert_lab.audit.findings import DataFindings, Findings, PhaseFindings
from colbert_lab.audit.lengths import Lengths
from colbert_lab.audit.overlaps import Contamination, Found
from colbert_lab.base.layout import Table

SHOWN = 10  # matches of one kind and split that are listed; audit.json has all
LENGTHS = ("texts", "mean", "median", "p90", "p99", "longest", "room", "cut", "no prompt", "lost")


def audit_tables(findings: Findings, sentences: Sequence[str]) -> list[Table]:
    """The tables of an audit, the verdicts above the first.

    Args:
        findings: the audit.
        sentences: its verdicts.
    """
    tables = [_sources(findings), _lengths(findings), _duplicates(findings)]
    if any(data.contamination for data in findings.data):
        tables.append(_contamination(findings))
        if rows := [row for data in findings.data for row in _matches(data)]:
            title = f"Found in training text: the first {SHOWN} of each kind"
            columns = ("split", "kind", "id", "how", "runs", "in training text")
            tables.append(Table(title, columns, tuple(rows), (), ("all of them: audit.json",)))
    if any(phase.teachers for phase in findings.phases):
        tables += [_teachers(findings), *_alternatives(findings)]
    head, *rest = tables
    return [Table(head.title, head.columns, head.rows, tuple(sentences), head.notes), *rest]


def _sources(findings: Findings) -> Table:
    rows = []
    for phase in findings.phases:
        data = next(data for data in findings.data if phase.phase in data.phases)
        queries = {each.source: each.queries for each in data.duplicates}
        rows += _heading(findings, phase)
        for each in phase.sources:
            width = _range(each.fewest, each.most)
            weight = "by size" if each.weight is None else f"{each.weight:g}"
            cells = (f"{each.rows:,}", f"{queries[each.name]:,}", width, weight, f"{each.share:.1%}")
            rows.append((each.name, *cells))
    columns = ("source", "rows", "queries", "documents a row", "weight", "batches")
    return Table(f"Audit of {findings.title}", columns, tuple(rows), (), tuple(findings.notes))


def _lengths(findings: Findings) -> Table:
    rows: list[tuple[str, ...]] = []
    for phase in findings.phases:
        rows += _heading(findings, phase)
        rows += map(_length_row, phase.lengths)
    if findings.evaluation:
        rows += [("evaluation", *[""] * len(LENGTHS)), *map(_length_row, findings.evaluation)]
    notes = (
        "tokens of the text alone; room is what special tokens, marker and prompt leave of the configured length",
        "cut: share of texts longer than room; no prompt: the same without a prompt; lost: share of all tokens",
    )
    return Table("Lengths in tokens", ("text", *LENGTHS), tuple(_padded(rows)), (), notes)


def _length_row(each: Lengths) -> tuple[str, ...]:
    kind = "queries" if each.role == "query" else "documents"
    return (
        f"{each.name}: {kind}",
        f"{each.texts:,}",
        f"{each.mean:.1f}",
        *(f"{value:.0f}" for value in (each.median, each.p90, each.p99)),
        str(each.longest),
        f"{each.room} of {each.length}",
        f"{each.cut:.1%}",
        f"{each.cut_without_prompt:.1%}",
        f"{each.lost:.1%}",
    )


def _duplicates(findings: Findings) -> Table:
    rows = []
    for data in findings.data:
        for each in data.duplicates:
            cells = (
                f"{each.repeated_queries:,} of {each.queries:,}",
                f"{each.repeated_documents:,} of {each.documents:,}",
                f"{each.repeated_pairs:,} of {each.rows:,}",
                f"{each.repeated_in_row:,}",
                f"{each.own_negatives:,}",
            )
            rows.append((each.source, *cells))
    notes = (
        "texts are equal after NFKC and case folding, with single spaces and without punctuation at their ends",
        "pairs: rows that repeat the query and positive of an earlier one; in a row: documents that repeat one of "
        "their row; own negatives: rows in which a positive of the query is a negative (in a list: equals the "
        "teacher's best)",
        "documents of pairs and triples count as often as they occur, those of lists once",
    )
    columns = ("source", "queries", "documents", "pairs", "in a row", "own negatives")
    return Table("Duplicates", columns, tuple(dict.fromkeys(rows)), (), notes)


def _contamination(findings: Findings) -> Table:
    rows: list[tuple[str, ...]] = []
    several = len(findings.data) > 1
    for data in findings.data:
        if several:
            rows.append((data.label, *[""] * 6))
        rows += map(_split_row, data.contamination)
    ngram, near = findings.settings["ngram"], findings.settings["near"]
    notes = (
        f"exact: equal to a training query or document; near: at least {near:g} of the different runs of {ngram} words "
        "occur in training text (a shorter text is one run)",
    )
    kinds = ("queries", "documents", "relevant documents")
    columns = ("split", *(f"{kind} {how}" for kind in kinds for how in ("exact", "near")))
    return Table("Evaluation text found in training text", columns, tuple(rows), (), notes)


def _split_row(each: Contamination) -> tuple[str, ...]:
    kinds = (each.queries, each.documents, each.relevant)
    cells = [(f"{found.exact:,} of {found.looked_at:,}", f"{found.near:,}") for found in kinds]
    return (f"{each.split} ({each.dataset})", *chain.from_iterable(cells))


def _matches(data: DataFindings) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    listed: set[str] = set()  # splits of one corpus share its documents
    for each in data.contamination:
        kinds = {"query": each.queries, "relevant": each.relevant}
        if not each.shared_corpus:
            seen = listed | set(each.relevant.matches)
            others = {name: match for name, match in each.documents.matches.items() if name not in seen}
            kinds["document"] = Found(len(others), others)
            listed |= set(others)
        for kind, found in kinds.items():
            for name, match in list(found.matches.items())[:SHOWN]:
                source, role, place = match.places[0]
                more = f" and {match.count - 1} more" if match.count > 1 else ""
                how = "exact" if match.exact else "near"
                rows.append(
                    (each.split, kind, name, how, f"{match.share:.0%}", f"{source}: {role} {place}{more}")
                )
    return rows


def _teachers(findings: Findings) -> Table:
    rows: list[tuple[str, ...]] = []
    for phase in findings.phases:
        rows += _heading(findings, phase) if phase.teachers else []
        for each in phase.teachers:
            cells = (
                f"{each.normalisation} / {each.temperature:g}",
                f"{each.entropy:.4f}",
                f"{each.one_hot:.1%}",
                f"{each.uniform:.1%}",
                f"{each.lists:,} of {each.of:,}",
                _range(each.shortest, each.longest),
                "all" if each.n_way is None else str(each.n_way),
                str(len(each.constant)),
                f"{each.lowest:.4g} to {each.highest:.4g}",
            )
            rows.append((each.source, *cells))
    columns = (
        "source", "setting", "entropy", "one-hot", "uniform", "lists", "documents", "n_way", "constant", "scores",
    )  # fmt: skip
    notes = (
        "entropy: mean over lists, 0 is one-hot, 1 is uniform, of the documents that training draws (n_way); one-hot: "
        "lists whose top probability is above 0.99; uniform: entropy above 0.99; constant: all scores equal",
    )
    return Table("Teacher", columns, tuple(_padded(rows)), (), notes)


def _alternatives(findings: Findings) -> list[Table]:
    tables = []
    for phase in findings.phases:
        for each in phase.teachers:
            temperatures = list(dict.fromkeys(float(a["temperature"]) for a in each.alternatives))
            cells: dict[str, list[str]] = {}
            for a in each.alternatives:
                cells.setdefault(str(a["normalisation"]), []).append(f"{a['entropy']:.4f}")
            rows = [(name, *entropies) for name, entropies in cells.items()]
            title = f"Teacher entropy with other settings: {each.source}, {phase.phase}"
            columns = ("normalisation", *(f"temperature {t:g}" for t in temperatures))
            tables.append(Table(title, columns, tuple(rows), (), ()))
    return tables


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _heading(findings: Findings, phase: PhaseFindings) -> list[tuple[str, ...]]:
    """A line above the rows of a phase, where there are several."""
    return [(phase.phase, *[""] * 5)] if len(findings.phases) > 1 else []


def _padded(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    width = max(map(len, rows))
    return [(*row, *[""] * (width - len(row))) for row in rows]
