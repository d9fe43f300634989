"""Put the finished runs of run.sh into results.jsonl and table.md beside this file.

    python experiments/recipes/table.py outputs

For each run its command and its own tables; for a search the table of its trials, whose picture is copied too. What is
there of commands that have no run below ``outputs`` stays.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROWS = "results.jsonl"
NAMES = (
    "colbert_zero", "colbert_zero_noprompts", "supervised_kd", "colbert_zero_kd", "colbert_az", "colbert_v2",
    "reason_mxbai", "muvera_nano", "margin_mse", "matryoshka", "lora", "best_on_dev", "xtr", "search_lr",
)  # fmt: skip
SEARCHES = ("search_lr",)


def finished(outputs: Path, name: str) -> list[Path]:
    """The finished runs of an experiment, in order of time."""
    states = sorted((outputs / name).glob("*/status.json"), key=lambda path: path.stat().st_mtime)
    return [
        state.parent
        for state in states
        if not state.parent.is_symlink()
        and json.loads(state.read_text(encoding="utf-8"))["status"] == "finished"
    ]


def command(row: Mapping[str, Any]) -> str:
    """What was typed for the run of a record; of a search, what was typed for all its trials."""
    if row["name"] in SEARCHES:
        return f"-m +experiment={row['name']}"
    left_out = ("experiment", "tracking")
    factors = [f"{key}={value}" for key, value in row["factors"].items() if key not in left_out]
    return " ".join([f"+experiment={row['name']}", *factors])


def lines_of(file: Path) -> list[str]:
    """Records, each as it stands there."""
    return file.read_text(encoding="utf-8").splitlines()


def section(run: Path) -> str:
    """The tables of a run below its command."""
    tables = (run / "table.md").read_text(encoding="utf-8").replace("\n## ", "\n### ").removeprefix("## ")
    return f"## `{command(json.loads(lines_of(run / ROWS)[0]))}`\n\n### {tables.strip()}\n"


def search_section(name: str, sweeps: Path) -> str:
    """The table of a search below its command; its picture goes beside this file."""
    shutil.copyfile(sweeps / "search.png", HERE / f"{name}.png")
    table = (sweeps / "table.md").read_text(encoding="utf-8")
    table = re.sub(r"\A## (.*), runs in .*", r"### \1", table.strip())
    picture = f"![history of the trials, their dev curves, a slice for each key, importance]({name}.png)"
    return f"## `-m +experiment={name}`\n\n{table}\n\n{picture}\n"


def main() -> None:
    """Write both files."""
    outputs, table, rows = Path(sys.argv[1]), HERE / "table.md", HERE / ROWS
    there = re.split(r"(?m)^(?=## `)", table.read_text(encoding="utf-8"))
    sections = {each.split("`")[1]: each.rstrip() + "\n" for each in there if each.startswith("## `")}
    lines: dict[str, list[str]] = {}
    for line in lines_of(rows):
        lines.setdefault(command(json.loads(line)), []).append(line)
    for name in NAMES:
        new: dict[str, list[str]] = {}
        for run in finished(outputs, name):
            own = lines_of(run / ROWS)
            typed = command(json.loads(own[0]))
            new[typed] = [*new.get(typed, []), *own] if name in SEARCHES else own
            sections[typed] = (
                search_section(name, outputs / name / "sweeps") if name in SEARCHES else section(run)
            )
        lines |= new
    ordered = [typed for name in NAMES for typed in sections if f"+experiment={name}" in typed.split()]
    table.write_text("\n".join(sections[typed] for typed in ordered), encoding="utf-8")
    rows.write_text("".join(f"{line}\n" for typed in ordered for line in lines[typed]), encoding="utf-8")


if __name__ == "__main__":
    main()
