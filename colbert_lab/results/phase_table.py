"""The table of a run's phases: what each cost and where its student comes from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from colbert_lab.results.layout import Table
from colbert_lab.results.lineage import PHASE_FILE
from colbert_lab.results.records import Record


def phase_table(
    run_dir: Path, records: Sequence[Record], phases: Collection[str] | None = None
) -> Table | None:
    """What each phase cost and where its student comes from.

    Args:
        run_dir: the run's folder.
        records: the run's records, for the order of the phases.
        phases: leave other phases out; None takes all.

    Returns:
        None when no phase is finished.
    """
    order = dict.fromkeys(record.phase for record in records if record.system == "student")
    found = {path.parent.name: path for path in sorted(run_dir.glob(f"*/{PHASE_FILE}"))}
    found = {name: path for name, path in found.items() if phases is None or name in phases}
    names = [*(name for name in order if name in found), *(name for name in found if name not in order)]
    rows, notes, parent = [], [], "untrained"
    for name in names:
        done = json.loads(found[name].read_text(encoding="utf-8"))
        reused = done.get("reused_from")
        seconds = max(done["seconds"], 1e-9)
        rows.append(
            (
                name,
                parent,
                f"reused from {reused}" if reused else "this run",
                f"{done['steps']:,}",
                f"{done['queries']:,}",
                f"{done['tokens']:,}",
                f"{done['seconds']:.0f}",
                f"{done['tokens'] / seconds:,.0f}",
            )
        )
        if done.get("prompt_mismatch"):
            notes.append(
                f"{name}: its prompts differ from its parent's ({done['prompt_mismatch']}), as was allowed."
            )
        parent = name
    if not rows:
        return None
    columns = ("phase", "parent", "trained in", "steps", "queries", "tokens", "seconds", "tokens/s")
    notes.append("tokens: without padding; seconds: of training alone.")
    return Table("Phases: cost and lineage", columns, tuple(rows), (), tuple(notes))
