"""Collect the finished runs of run.sh into results.jsonl and table.md beside this file.

    python experiments/recipes/table.py outputs

For each run its command and its own tables.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "colbert_zero", "colbert_zero_noprompts", "supervised_kd", "colbert_zero_kd", "colbert_az", "colbert_v2",
    "reason_mxbai", "muvera_nano",
)  # fmt: skip


def finished(outputs: Path) -> list[Path]:
    """The finished runs of the recipes, in order of name and time."""
    found = []
    for name in NAMES:
        states = sorted((outputs / name).glob("*/status.json"), key=lambda path: path.stat().st_mtime)
        found += [
            state.parent
            for state in states
            if not state.parent.is_symlink()
            and json.loads(state.read_text(encoding="utf-8"))["status"] == "finished"
        ]
    return found


def section(run: Path) -> str:
    """The tables of a run below its command."""
    first = json.loads((run / "results.jsonl").read_text(encoding="utf-8").splitlines()[0])
    factors = {key: value for key, value in first["factors"].items() if key not in ("experiment", "tracking")}
    command = " ".join(
        [f"+experiment={first['name']}", *(f"{key}={value}" for key, value in factors.items())]
    )
    tables = (run / "table.md").read_text(encoding="utf-8").replace("\n## ", "\n### ").removeprefix("## ")
    return f"## `{command}`\n\n### {tables.strip()}\n"


def main() -> None:
    """Write both files."""
    runs = finished(Path(sys.argv[1]))
    (HERE / "table.md").write_text("\n".join(map(section, runs)), encoding="utf-8")
    lines = [run.joinpath("results.jsonl").read_text(encoding="utf-8").strip() for run in runs]
    (HERE / "results.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
