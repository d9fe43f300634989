"""Put the finished runs of run.sh into results.jsonl and table.md beside this file.

    python experiments/recipes/table.py outputs

For each run its command and its own tables; for a search the table of its trials, whose picture is copied too. What is
there of experiments that have no run below ``outputs`` stays.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
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


def section(run: Path) -> str:
    """The tables of a run below its command."""
    first = json.loads((run / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    factors = {key: value for key, value in first["factors"].items() if key not in ("experiment", "tracking")}
    command = " ".join(
        [f"+experiment={first['name']}", *(f"{key}={value}" for key, value in factors.items())]
    )
    tables = (run / "table.md").read_text(encoding="utf-8").replace("\n## ", "\n### ").removeprefix("## ")
    return f"## `{command}`\n\n### {tables.strip()}\n"


def search_section(name: str, sweeps: Path) -> str:
    """The table of a search below its command; its picture goes beside this file."""
    shutil.copyfile(sweeps / "search.png", HERE / f"{name}.png")
    table = (sweeps / "table.md").read_text(encoding="utf-8")
    table = re.sub(r"\A## (.*), runs in .*", r"### \1", table.strip())
    picture = f"![history of the trials, their dev curves, a slice for each key, importance]({name}.png)"
    return f"## `-m +experiment={name}`\n\n{table}\n\n{picture}\n"


def sections_there(text: str) -> dict[str, list[str]]:
    """The sections of a table.md by experiment."""
    found: dict[str, list[str]] = {}
    for each in re.split(r"(?m)^(?=## `)", text):
        if named := re.match(r"## `.*?\+experiment=(\w+)", each):
            found.setdefault(named[1], []).append(each.rstrip() + "\n")
    return found


def main() -> None:
    """Write both files."""
    outputs, table, rows = Path(sys.argv[1]), HERE / "table.md", HERE / "results.jsonl"
    sections = sections_there(table.read_text(encoding="utf-8"))
    lines: dict[str, list[str]] = {}
    for line in rows.read_text(encoding="utf-8").splitlines():
        lines.setdefault(json.loads(line)["name"], []).append(line)
    for name in NAMES:
        if runs := finished(outputs, name):
            lines[name] = [
                line
                for run in runs
                for line in (run / "results.jsonl").read_text(encoding="utf-8").strip().splitlines()
            ]
            if name in SEARCHES:
                sections[name] = [search_section(name, outputs / name / "sweeps")]
            else:
                sections[name] = list(map(section, runs))
    table.write_text("\n".join(each for name in NAMES for each in sections.get(name, [])), encoding="utf-8")
    rows.write_text("".join(f"{line}\n" for name in NAMES for line in lines.get(name, [])), encoding="utf-8")


if __name__ == "__main__":
    main()
