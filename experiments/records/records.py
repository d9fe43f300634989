"""A board of records: the least training, in seconds of two cores, that reaches the target from random weights.

    python experiments/records/records.py run first          its five seeds; with two entries, in turns
    python experiments/records/records.py run first second
    python experiments/records/records.py check second        makes seed 1 once more and compares every number
    python experiments/records/records.py table               README.md anew, from the rows alone

A finished run is not made again, and a killed one goes on. The rules stand in README.md, the entries in entries.yaml.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from scipy.stats import ttest_1samp

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, print_tables, to_markdown
from colbert_lab.base.yaml_files import read_yaml
from colbert_lab.records.records import EXACT, read_records
from colbert_lab.records.run_directory import RunDirectory
from colbert_lab.run.sweeping import finished_before
from colbert_lab.tasks.composing import CONF

HERE = Path(__file__).resolve().parent
ENTRIES, ROWS, README = HERE / "entries.yaml", HERE / "results.jsonl", HERE / "README.md"
BEGIN, END = "<!-- records -->", "<!-- end of records -->"
SPLIT, MEASURE = "out_of_domain", "ndcg@10"
SEEDS = (1, 2, 3, 4, 5)
LEVEL = 0.01
"""Below this p, the mean over seeds is above the target."""
SAME = 1e-9


@dataclass(frozen=True)
class Row:
    """One run of an entry.

    Attributes:
        entry: its name.
        seed: of the run.
        value: what it reached on the test.
        seconds: of training, all phases, with the wait for data and without evaluations.
        tokens: that training read, without padding.
        rate: floating-point operations per second of a large matrix product, the mean over phases; None where a phase
            does not say it.
        run_id: of the run.
        commit: of the code.
        hardware: where it ran.
        time: when its last record was written, in seconds since 1970.
    """

    entry: str
    seed: int
    value: float
    seconds: float
    tokens: int
    rate: float | None
    run_id: str
    commit: str
    hardware: str
    time: float


def board() -> dict[str, Any]:
    """``entries.yaml``: target, what all entries have, and the entries in their order."""
    found: dict[str, Any] = read_yaml(ENTRIES)
    return found


def overrides(entry: str, seed: int, outputs: str) -> list[str]:
    """What one run's command line sets.

    Raises:
        InputError: there is no such entry.
    """
    content = board()
    if entry not in content["entries"]:
        raise InputError(f"{ENTRIES}: no entry {entry}; there are {', '.join(content['entries'])}")
    of_entry = [*content["fixed"], *content["entries"][entry]["overrides"]]
    given = [*(each.replace("{outputs}", outputs) for each in of_entry), "name=records", f"seed={seed}"]
    return given if outputs == "outputs" else [*given, f"output_dir={outputs}"]


def finished(given: list[str]) -> Path | None:
    """The finished run of a command line on this machine."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return finished_before(compose("config", given))


def make(entry: str, seed: int, outputs: str) -> Row:
    """Run an entry with a seed, unless that is done, and read what it reached and took.

    Raises:
        InputError: the run failed.
    """
    given = overrides(entry, seed, outputs)
    if finished(given) is None:
        command = [sys.executable, "-m", "colbert_lab", *given, "tracking=off"]
        print(f"{entry}, seed {seed}: {shlex.join(command)}", flush=True)
        subprocess.run(command, check=False, cwd=HERE.parent.parent)
    folder = finished(given)
    if folder is None:
        raise InputError(f"{entry}, seed {seed}: left no finished run, see above")
    return read_row(entry, seed, folder)


def read_row(entry: str, seed: int, folder: Path) -> Row:
    """What a finished run reached on the test, and what its training took."""
    phases = RunDirectory(folder, folder.name).status()["run"]["schedule"]
    records = read_records(folder / "results.jsonl")
    last = [
        r
        for r in records
        if (r.system, r.phase, r.split, r.measure, r.variant)
        == ("student", phases[-1], SPLIT, MEASURE, EXACT)
    ][-1]
    costs = [json.loads((folder / phase / "phase.json").read_text(encoding="utf-8")) for phase in phases]
    return Row(
        entry,
        seed,
        last.value,
        round(sum(cost["seconds"] for cost in costs), 2),
        sum(cost["tokens"] for cost in costs),
        mean_of([cost["matmul_rate"] for cost in costs]),
        folder.name,
        str(last.commit),
        str(last.hardware),
        round(last.time),
    )


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is not known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def read_rows() -> list[Row]:
    """The rows of all runs."""
    if not ROWS.is_file():
        return []
    return [Row(**json.loads(line)) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def keep(row: Row) -> None:
    """Put a row among the others; one of the same entry and seed takes the place of the older one."""
    rows = [each for each in read_rows() if (each.entry, each.seed) != (row.entry, row.seed)]
    order = list(board()["entries"])
    rows = sorted([*rows, row], key=lambda each: (order.index(each.entry), each.seed))
    write_text(ROWS, "".join(json.dumps(asdict(each)) + "\n" for each in rows))


def p_above(values: Sequence[float], target: float) -> float:
    """One-sided p of Student's t test over seeds that the mean is above the target; 1 with fewer than two seeds."""
    if len(values) < 2:
        return 1.0
    return float(ttest_1samp(values, target, alternative="greater").pvalue)


def records_table(rows: Sequence[Row], content: dict[str, Any]) -> Table:
    """One row an entry, in their order, and whether it is a record."""
    target, best, made = content["target"], float("inf"), []
    for name, entry in content["entries"].items():
        mine = [row for row in rows if row.entry == name]
        if not mine:
            made.append((name, entry["change"], "none yet", *["-"] * 5))
            continue
        values, seconds = [row.value for row in mine], [row.seconds for row in mine]
        p = p_above(values, target)
        reached = p < LEVEL and len(mine) >= len(SEEDS)
        mean = statistics.fmean(seconds)
        record = reached and mean < best
        best = mean if record else best
        spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        made.append(
            (
                name,
                entry["change"],
                f"{statistics.fmean(values):.4f}{spread} ({len(values)})",
                f"{p:.4f}" if p >= 0.0001 else "<0.0001",
                f"{mean:.1f}" + (f" ± {statistics.stdev(seconds):.1f}" if len(seconds) > 1 else ""),
                f"{statistics.fmean(row.tokens for row in mine):,.0f}",
                "-" if (rate := mean_of([row.rate for row in mine])) is None else f"{mean * rate / 1e12:.1f}",
                "record" if record else "slower" if reached else "target not reached",
            )
        )
    commits = sorted({row.commit[:7] for row in rows})
    notes = [
        f"Target: nDCG@10 above {target} on {SPLIT}, mean over seeds, p below {LEVEL} (Student's t test over seeds).",
        "seconds: of training on two cores; x rate: TFLOP that a large matrix product would do in that time.",
        *(f"Hardware: {each}." for each in dict.fromkeys(row.hardware for row in rows)),
        *([f"Commits: {', '.join(commits)}."] if commits else []),
    ]
    columns = ("entry", "one change", "nDCG@10 (seeds)", "p", "seconds", "tokens", "x rate", "verdict")
    return Table("Records", columns, tuple(made), (), tuple(notes))


def write_table() -> None:
    """The table between the marks of README.md."""
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    table = to_markdown([records_table(read_rows(), board())])
    write_text(README, f"{head}{BEGIN}\n\n{table.strip()}\n\n{END}{rest.split(END)[1]}")


def check(entry: str, outputs: str) -> int:
    """Make seed 1 of an entry once more in another folder, and compare what it reaches.

    Returns:
        0 where the numbers came out again.
    """
    known = {(row.entry, row.seed): row for row in read_rows()}
    if (row := known.get((entry, SEEDS[0]))) is None:
        raise InputError(f"{entry}: no row to compare with; run it first")
    again = make(entry, SEEDS[0], f"{outputs}_again")
    gap = abs(again.value - row.value)
    same = gap <= SAME and again.tokens == row.tokens
    told = (
        "came out again" if same else f"is {again.value:.6f} now ({again.hardware}; the row: {row.hardware})"
    )
    print(
        f"{entry}, seed {row.seed}: {row.value:.6f} {told}; {row.seconds:.1f} s in the row, {again.seconds:.1f} s now"
    )
    return 0 if same else 1


def main() -> int:
    """The command line; bad input ends in one line and exit status 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "check", "table"))
    parser.add_argument("entries", nargs="*", help="names in entries.yaml")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--outputs", default="outputs", help="output_dir of the runs")
    given = parser.parse_args()
    try:
        if given.action == "check":
            return max((check(entry, given.outputs) for entry in given.entries), default=0)
        if given.action == "run":
            for seed in given.seeds:
                for entry in given.entries:
                    keep(make(entry, seed, given.outputs))
        write_table()
        print_tables([records_table(read_rows(), board())])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
