"""Everything that a study shows, put together once for its README and its page: tables, verdict, figures, commands."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from colbert_lab.analysis.rows import SYSTEM_TITLES
from colbert_lab.base.layout import NONE, Table
from colbert_lab.base.pages import Picture
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.studies.beside import beside_table
from colbert_lab.studies.curves import curve_tables, curves_picture, laws
from colbert_lab.studies.evidence import BASELINES, Finding, Value, findings, runs_of, value_of, verdict
from colbert_lab.studies.figures import pictures
from colbert_lab.studies.lineage import mean_cost, whole_cost
from colbert_lab.studies.rows import read_rows
from colbert_lab.studies.study import Cell, Study, Term, shown, student_folder
from colbert_lab.studies.study_runs import Key, StudyRun

RULE = (
    "difference: the tested number with its 95% paired bootstrap interval over queries, each query averaged over the "
    "seeds first; p: randomisation test over queries, corrected over the claims (Holm).",
    "margin: the smallest effect of interest. significant: corrected p below 0.05, and every seed's difference of the "
    "same sign. higher or lower holds when the difference is significant in that direction, even if it is smaller than "
    "the margin; it does not hold when it is significant in the other one, or when the whole interval and every seed "
    "fall short of the margin. alike holds when the whole interval and every seed lie within the margin; it does not "
    "hold when the difference is significant and beyond the margin. Otherwise, and as long as a seed is missing, the "
    "numbers cannot tell. Significance alone is corrected over the claims: what the margin decides rests on the "
    "interval as it is.",
    "detectable: the smallest true difference that so many queries find with power 0.8, before the correction.",
)


def value_cell(value: Value | None) -> str:
    """``0.6832 [0.6604, 0.7057] ± 0.0030``: mean, interval over queries, deviation over seeds."""
    if value is None:
        return NONE
    spread = "" if value.sd is None else f" ± {value.sd:.4f}"
    return f"{value.mean:.4f} {value.interval.bounds()}{spread}"


def p_text(p: float) -> str:
    """``0.0123``, or ``<0.0001``."""
    return NONE if p != p else "<0.0001" if p < 0.0001 else f"{p:.4f}"


def cells_table(study: Study, runs: Sequence[StudyRun]) -> Table:
    """Every cell: seeds, the value before and after training, other modes, and what training took."""
    title = measure_title(study.measure)
    main = study.main
    others = [mode for mode in study.modes if mode != main]
    columns = ["cell", "seeds", "before training", title if not others else f"{title}, {main}"]
    columns += [f"{title}, {mode}" for mode in others] + ["training s", "tokens"]
    rows = []
    for system, name, value in baselines(study, runs):
        called, blank = f"{SYSTEM_TITLES.get(system, system)} ({name})", [NONE] * (len(columns) - 4)
        rows.append((called, NONE, NONE, value_cell(value), *blank))
    for cell in study.cells.values():
        mine = runs_of(runs, cell.name)
        if not mine:
            rows.append((cell.title, "none yet", *[NONE] * (len(columns) - 2)))
            continue
        cost = mean_cost(study, runs, cell.name)
        seconds, tokens = (NONE, NONE) if cost is None else (f"{part:,.0f}" for part in cost)
        values = [value_cell(value_of(runs, Term(cell.name, None, mode))) for mode in (main, *others)]
        before = value_cell(value_of(runs, Term(cell.name, "before", main)))
        rows.append((cell.title, ", ".join(str(run.seed) for run in mine), before, *values, seconds, tokens))
    return Table("What each cell reaches", tuple(columns), tuple(rows), (), _cell_notes(study, runs))


def baselines(study: Study, runs: Sequence[StudyRun]) -> list[tuple[str, str, Value]]:
    """Baselines that were measured, each once: system, its own name, value."""
    found: dict[tuple[str, str], Value] = {}
    for system in BASELINES:
        for run in runs:
            record = run.record(Key(system, "baselines"), study.measure)
            value = None if record is None else value_of([run], Term(run.cell, system))
            if record is not None and value is not None:
                own = record.system_name.partition(" (")[2].rstrip(")") or record.system_name
                found.setdefault((system, own), value)
    return [(system, name, value) for (system, name), value in found.items()]


def _cell_notes(study: Study, runs: Sequence[StudyRun]) -> tuple[str, ...]:
    if not runs:
        return ()
    split = runs[0].facts.get("split", {})
    documents = f", {split['documents']:,} documents" if "documents" in split else ""
    where = split.get("dataset", "")
    return (
        f"{where}, split {study.split}: {len(runs[0].query_ids):,} queries{documents}; "
        f"fingerprint {runs[0].records[0].split_fingerprint}.",
        "[low, high]: 95% bootstrap interval over queries of the mean over seeds; ±: standard deviation over seeds.",
        "training s, tokens: of all phases behind the student, also those that another run trained; mean over seeds.",
    )


def claims_table(study: Study, found: Sequence[Finding]) -> Table:
    """Every claim with its number and verdict."""
    rows = []
    for number, each in enumerate(found, start=1):
        weights = " ".join(_weight(term, weight) for term, weight in each.claim.weights.items())
        expected = f"{each.claim.expect}, {each.claim.margin:g}"
        if each.interval is None:
            numbers = (NONE, NONE, NONE, NONE)
        else:
            i = each.interval
            numbers = (
                f"{i.mean:+.4f} [{i.low:+.4f}, {i.high:+.4f}]",
                ", ".join(f"{value:+.4f}" for value in (each.by_seed or {}).values()),
                p_text(i.p_holm),
                NONE if math.isnan(i.detectable) else f"{i.detectable:.4f}",
            )
        rows.append((f"{number}. {each.claim.claim}", weights, expected, *numbers, each.told))
    columns = ["claim", "tested number", "expected, margin", "difference", "seed by seed", "p, Holm"]
    columns += ["detectable", "verdict"]
    return Table("Claims and what the numbers say", tuple(columns), tuple(rows), (), RULE)


def finding_told(study: Study, found: Finding, runs: Sequence[StudyRun]) -> str:
    """A tested claim's number, how sure it is and of how much: ``nDCG@10 +0.0123 [+0.0040, +0.0210], p 0.0040 ...``.

    Args:
        study: the study.
        found: a claim that was tested.
        runs: the study's rows.
    """
    i = found.interval
    assert i is not None
    seeds = len(found.by_seed or {})
    return (
        f"{measure_title(study.measure)} {i.mean:+.4f} {i.bounds('+')}, p {p_text(i.p_holm)} (Holm), over "
        f"{len(runs[0].query_ids):,} queries and {seeds} seed{'s' if seeds > 1 else ''}."
    )


def _weight(term: Term, weight: float) -> str:
    sign = "−" if weight < 0 else "+"
    size = "" if abs(weight) == 1 else f"{abs(weight):g} × "
    return f"{sign} {size}{term}"


def phases_table(study: Study, runs: Sequence[StudyRun]) -> Table | None:
    """The value after each phase; None where no cell has two."""
    title, rows = measure_title(study.measure), []
    for cell in study.cells.values():
        mine = [run for run in runs_of(runs, cell.name) if len(run.phases) > 1]
        if not mine:
            continue
        for phase in ("before", *mine[0].phases):
            costs = [run.facts["phases"].get(phase) for run in mine]
            known = [cost for cost in costs if cost]
            whole = known and len(known) == len(costs)
            took = f"{statistics.fmean(c['seconds'] for c in known):,.0f}" if whole else NONE
            steps = str(known[0]["steps"]) if known else NONE
            rows.append((cell.title, phase, value_cell(value_of(runs, Term(cell.name, phase))), steps, took))
    if not rows:
        return None
    return Table("After each phase", ("cell", "phase", title, "steps", "training s"), tuple(rows), (), ())


def runs_table(study: Study, runs: Sequence[StudyRun]) -> Table:
    """Every run: its value, commit, and where it was made; which machine it was only where there were several."""
    title, machines = measure_title(study.measure), list(dict.fromkeys(_machine(run) for run in runs))
    rows = []
    for run in runs:
        found = [value_of([run], Term(run.cell, None, mode)) for mode in study.modes]
        values = [NONE if value is None else f"{value.mean:.4f}" for value in found]
        commit = str(run.facts.get("commit") or NONE)[:7] + ("+" if run.facts.get("dirty") else "")
        where = [str(machines.index(_machine(run)) + 1)] if len(machines) > 1 else []
        rows.append((study.cells[run.cell].title, str(run.seed), run.run_id, *values, commit, *where))
    heads = [title if len(study.modes) == 1 else f"{title}, {mode}" for mode in study.modes]
    last = ["machine"] if len(machines) > 1 else []
    columns = ("cell", "seed", "run", *heads, "commit", *last)
    return Table("Runs", columns, tuple(rows), (), _made_on(runs, machines))


def _machine(run: StudyRun) -> str:
    return str(run.facts.get("hardware"))


def _made_on(runs: Sequence[StudyRun], machines: Sequence[str]) -> tuple[str, ...]:
    """Machines and versions, each said once."""
    versions: dict[str, None] = {}
    for run in runs:
        packages = {"Python": run.facts.get("python"), **run.facts.get("packages", {})}
        versions[", ".join(f"{name} {version}" for name, version in packages.items())] = None
    heads = [f"Machine {n}" for n in range(1, len(machines) + 1)] if len(machines) > 1 else ["Hardware"]
    notes = [f"{head}: {name}." for head, name in zip(heads, machines, strict=False)]
    notes += [f"Versions: {each}." for each in versions]
    notes += whole_cost(runs)
    if any(run.facts.get("dirty") for run in runs):
        notes.append("+ after a commit: the code was changed since.")
    return tuple(notes)


@dataclass(frozen=True)
class CellCommands:
    """A cell with the commands that make its runs.

    Attributes:
        cell: the cell.
        stage: ``confirmed`` or ``screened``, with the number of seeds.
        commands: one for each seed, or one for all seeds as a sweep.
    """

    cell: Cell
    stage: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What a study says.

    Attributes:
        study: the study.
        runs: its rows.
        found: its claims, tested.
        verdict: in one sentence.
        tables: in the order in which they are shown.
        pictures: likewise.
        commands: of each cell.
    """

    study: Study
    runs: tuple[StudyRun, ...]
    found: tuple[Finding, ...]
    verdict: str
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    commands: tuple[CellCommands, ...]


def answer(study: Study) -> Answer:
    """Read the rows of a study and follow its decision rule.

    Args:
        study: the study.

    Raises:
        InputError: its rows are damaged or do not belong together, or matplotlib is not installed.
    """
    runs = read_rows(study)
    found = findings(study, runs)
    tables = [claims_table(study, found)]
    fitted = laws(study, runs)
    if runs:
        more = [
            table for table in (beside_table(study, runs), phases_table(study, runs)) if table is not None
        ]
        tables += [*curve_tables(study, fitted), cells_table(study, runs), *more, runs_table(study, runs)]
    commands = tuple(
        CellCommands(cell, _stage(study, cell), _commands(study, cell, runs)) for cell in study.cells.values()
    )
    curves = curves_picture(study, fitted)
    drawn = [*([curves] if curves else []), *pictures(study, runs, found)]
    return Answer(study, tuple(runs), tuple(found), verdict(found), tuple(tables), tuple(drawn), commands)


def _stage(study: Study, cell: Cell) -> str:
    seeds = study.seeds_of(cell.name)
    kind = "confirmed" if cell.name in study.confirmed else "screened"
    return f"{kind}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _commands(study: Study, cell: Cell, runs: Sequence[StudyRun]) -> tuple[str, ...]:
    if cell.student_of is None:
        return (shown(study, cell, study.seeds_of(cell.name)),)
    made = []
    for seed in study.seeds_of(cell.name):
        parent = [run for run in runs_of(runs, cell.student_of.cell) if run.seed == seed]
        student = (
            student_folder(study, parent[0].run_id, cell.student_of.phase or parent[0].last) if parent else ""
        )
        made.append(shown(study, cell, [seed], student))
    return tuple(made)
