"""The suite's measurements as a summary and a markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

OURS = "colbert_lab"
NAMES = {"pylate": "PyLate 1.6.0", "sentence_transformers": "sentence-transformers 6.2.0"}
GIB = 2**30
UNITS = {"loss": "loss, relative", "value": "NDCG@10", "embeddings": "coordinate"}
Line = dict[str, Any]


def group_of(line: Line) -> tuple[str, str, str]:
    """Which group a measurement belongs to."""
    return line["workload"], line["case"], line["precision"]


def cell_of(line: Line) -> tuple[str, str]:
    """Which cell of its group a measurement belongs to."""
    return line["side"], line["variant"]


def whole_rounds(
    lines: Sequence[Line], pair: Sequence[tuple[str, str]]
) -> dict[int, dict[tuple[str, str], Line]]:
    """Rounds that both of a pair took part in, by number; the newest measurement of each counts.

    Args:
        lines: measurements of one group.
        pair: the group's first cell and another one, or the first alone.
    """
    rounds: dict[int, dict[tuple[str, str], Line]] = {}
    for line in lines:
        if line["kind"] == "round" and tuple(line["pair"]) == pair[-1]:
            rounds.setdefault(line["round"], {})[cell_of(line)] = line
    return {n: found for n, found in sorted(rounds.items()) if set(pair) <= set(found)}


def failures(lines: Sequence[Line]) -> dict[tuple[str, str], str]:
    """Why cells have no measurement: what was said of them last, unless they were measured after that."""
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        if line["kind"] == "failed":
            found[cell_of(line)] = line["error"]
        elif line["kind"] == "round":
            found.pop(cell_of(line), None)
    return found


def summary(lines: Sequence[Line]) -> list[Line]:
    """One row for each cell that was measured or failed, in the order of the measurements.

    ``ratio`` is the median over rounds of the cell's seconds over those of colbert_lab's first cell in the same round:
    above 1, colbert_lab is faster. That first cell took turns with each other one and has the rounds of all of them.
    The processes of ``startup`` do not do the same and have no ratio. ``share`` is the floor (operations of the encoder
    without padding, over the measured rate of a large matrix product) over the median.
    """
    rows: list[Line] = []
    for group in dict.fromkeys(map(group_of, lines)):
        mine = [line for line in lines if group_of(line) == group]
        # Sides in a fixed order; a cell that failed at once was written before the others.
        cells = sorted(dict.fromkeys(map(cell_of, mine)), key=lambda cell: [OURS, *NAMES].index(cell[0]))
        failed = failures(mine)
        first = next((cell for cell in cells if cell[0] == OURS), cells[0])
        whole = {cell: whole_rounds(mine, (first,) if cell == first else (first, cell)) for cell in cells}
        for cell in cells:
            row: Line = dict(
                zip(("workload", "case", "precision", "side", "variant"), (*group, *cell), strict=True)
            )
            rows.append(row)
            if cell in failed:
                row["failed"] = failed[cell]
                continue
            checks = [line for line in mine if line["kind"] == "check" and cell_of(line) == cell]
            if checks and "difference" in checks[-1]:
                row["difference"], row["checked"] = checks[-1]["difference"], checks[-1]["checked"]
            mates = whole.values() if cell == first else [whole[cell]]
            found = [each[cell] for rounds in mates for each in rounds.values()]
            if not found:
                continue
            row |= _measured(found)
            if cell != first and first[0] == OURS and group[0] != "startup":
                ratios = [each[cell]["seconds"] / each[first]["seconds"] for each in whole[cell].values()]
                row["ratio"], row["ratios"] = statistics.median(ratios), ratios
    return rows


def _measured(found: Sequence[Line]) -> Line:
    """Medians of a cell's rounds."""
    seconds = [line["seconds"] for line in found]
    row: Line = {
        "seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "n": len(found),
    }
    if all("tokenising" in line for line in found):
        row["without tokenising"] = statistics.median(line["seconds"] - line["tokenising"] for line in found)
    if all("encoding" in line for line in found):
        row["encoding"] = statistics.median(line["encoding"] for line in found)
    peaks = [line["peak"] for line in found if line.get("peak")]
    if peaks:
        row["peak"] = max(peaks)
    on_device = [line["peak of the device"] for line in found if line.get("peak of the device")]
    if on_device:
        row["peak of the device"] = max(on_device)
    floors = [line["flops"] / line["rate"] for line in found if line.get("flops") and line.get("rate")]
    if floors:
        row["floor"] = statistics.median(floors)
        row["share"] = row["floor"] / row["seconds"]
    return row


def markdown(rows: Sequence[Line], about: Sequence[str]) -> str:
    """The table, a section for each workload.

    Args:
        rows: of :func:`summary`.
        about: lines above it: machine, versions, command.
    """
    text = ["# Benchmark suite", "", *about]
    for workload in dict.fromkeys(row["workload"] for row in rows):
        text += ["", f"## {workload}", ""]
        text += [
            "| case | precision | side | variant | seconds (lowest to highest) | without tokenising | peak, GiB "
            "| time over colbert_lab's | differs by | floor, s (share reached) |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        text += [_line(row) for row in rows if row["workload"] == workload]
    return "\n".join([*text, ""])


def _line(row: Line) -> str:
    side = NAMES.get(row["side"], row["side"])
    start = f"| {row['case']} | {row['precision']} | {side} | {row['variant']} | "
    if "failed" in row:
        return start + f"{' '.join(row['failed'].split()).replace('|', '/')} | | | | | |"
    if "seconds" not in row:
        return start + "not measured yet | | | | | |"
    peak = f"{row['peak'] / GIB:.2f}" if "peak" in row else ""
    if "peak of the device" in row:
        peak += f" (device {row['peak of the device'] / GIB:.2f})"
    cells = [
        f"{row['seconds']:.3g} ({row['low']:.3g} to {row['high']:.3g}, n={row['n']})"
        + (f", encoding {row['encoding']:.3g}" if "encoding" in row else ""),
        f"{row['without tokenising']:.3g}" if "without tokenising" in row else "",
        peak,
        f"**{row['ratio']:.2f}**" if "ratio" in row else "",
        f"{row['difference']:.1g} ({UNITS[row['checked']]})" if "difference" in row else "",
        f"{row['floor']:.3g} ({row['share']:.0%})" if "floor" in row else "",
    ]
    return start + " | ".join(cells) + " |"
