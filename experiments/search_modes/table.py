"""Collect the runs of run.sh into results.jsonl and table.md beside this file.

    python experiments/search_modes/table.py outputs/search_modes

For each collection a table of the systems, and one of all ways to search; a way that several runs measured is shown
once, as in the first of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
NOTES = """
- [low, high]: 95% bootstrap interval over queries; against exact: minus exact search of the same float32 embeddings,
  paired by query.
- bytes/document: everything that is searched; index s: making it from the embeddings; ms/query: searching, without
  encoding the query. What several ways share counts in the first.
"""


def rows(text: str) -> list[str]:
    """The lines of a Markdown table."""
    return [line for line in text.splitlines() if line.startswith("|")]


def tables(runs: list[Path]) -> str:
    """What the runs on one collection found."""
    systems: list[str] = []
    ways: dict[str, str] = {}
    for run in runs:
        first, _, second = (run / "table.md").read_text(encoding="utf-8").partition("## Ways to search")
        title, found = first.splitlines()[0], rows(first)
        systems = found if len(found) > len(systems) else systems  # the run with all baselines
        for line in rows(second):
            _, _, name, rest = line.split("|", 3)
            ways.setdefault(name.strip(), f"|{name}|{rest}")
    return "\n".join([title, "", *systems, "", *ways.values(), ""])


def records(run: Path) -> list[str]:
    """The records of a run; of the collection's folder only the name is kept."""
    kept = []
    for line in (run / "results.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        record["factors"]["evaluation.path"] = Path(record["factors"]["evaluation.path"]).name
        kept.append(json.dumps(record))
    return kept


def main() -> None:
    """Write both files."""
    found: dict[str, list[Path]] = {}
    for status in sorted(Path(sys.argv[1]).glob("*/*/status.json"), key=lambda p: p.stat().st_mtime):
        run = status.parent
        if (
            not run.is_symlink()
            and run.name != "latest"
            and '"finished"' in status.read_text(encoding="utf-8")
        ):
            found.setdefault(run.parent.name, []).append(run)
    parts = [tables(runs) for runs in found.values()]
    (HERE / "table.md").write_text("\n".join(parts) + NOTES, encoding="utf-8")
    lines = [line for runs in found.values() for run in runs for line in records(run)]
    (HERE / "results.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
