"""The table of a run's phases: what each cost and where its student comes from."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from colbert_lab.results.cost import cost_of
from colbert_lab.results.layout import Table
from colbert_lab.results.lineage import PHASE_FILE
from colbert_lab.results.records import Record

COST = ("device-hours", "TFLOP", "MFU", "memory, GiB")
NONE = "-"


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
        cost = cost_of(done)
        reused, hours, mfu = cost.reused_from, cost.device_hours, cost.mfu
        rows.append(
            (
                name,
                parent,
                f"reused from {reused}" if reused else "this run",
                f"{done['steps']:,}",
                f"{done['queries']:,}",
                f"{done['tokens']:,}",
                f"{done['seconds']:.0f}",
                f"{cost.tokens / max(cost.seconds, 1e-9):,.0f}",
                NONE if hours is None else f"{hours:.4f}",
                NONE if cost.flops is None else f"{cost.flops / 1e12:,.2f}",
                NONE if mfu is None else f"{mfu:.1%}",
                NONE if cost.peak is None else f"{cost.peak / 2**30:.2f}",
            )
        )
        if done.get("prompt_mismatch"):
            notes.append(
                f"{name}: its prompts differ from its parent's ({done['prompt_mismatch']}), as was allowed."
            )
        parent = name
    if not rows:
        return None
    columns = ("phase", "parent", "trained in", "steps", "queries", "tokens", "seconds", "tokens/s", *COST)
    notes.append(
        "tokens: without padding; seconds: of training alone; TFLOP: of the encoder, without padding and "
        "recomputation; MFU: TFLOP a second as a share of a large matrix product's on this device; memory: the most "
        "that was in use, of the GPU where there is one."
    )
    return Table("Phases: cost and lineage", columns, tuple(rows), (), tuple(notes))
