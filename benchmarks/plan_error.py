"""How far ``task=plan`` is from the runs that it predicts: time and peak memory.

    python benchmarks/plan_error.py --out DIR                      three experiments, three times each
    python benchmarks/plan_error.py --out DIR --cases kd --repeats 1
    python benchmarks/plan_error.py --out DIR --cases kd -- evaluation=none phases.distill.steps=4

Plan and run take turns, each in a process of its own; the run trains and evaluates everything anew (a folder of its
own, which is removed), with the text and teacher scores of the cache. Every measurement is added to
``measurements.jsonl`` as it is made, and what is there is not measured again. ``table.md`` compares the medians:
seconds of training steps and peak memory while training with ``phase.json``, the whole run with its wall time and the
highest resident memory of its process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CASES = {
    "kd": ["+experiment=colbert_zero_kd", "size=full"],
    "gradcache": [
        "+experiment=colbert_zero",
        "schedule=[unsupervised]",
        "phases.unsupervised.batch_size=1024",
        "phases.unsupervised.recompute=true",
        "phases.unsupervised.epochs=null",
        "phases.unsupervised.steps=2",
    ],
    "supervised": ["+experiment=colbert_zero", "schedule=[supervised]"],
}
TARGETS = {"training seconds": 0.25, "training peak": 0.20, "whole run seconds": 0.25, "whole run peak": 0.20}
GIB = 2**30


def spent(arguments: Sequence[str]) -> tuple[float, int]:
    """Wall seconds and the highest resident bytes of one command.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "colbert_lab", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{said[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - begun, usage.ru_maxrss * unit


def planned(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """What the plan says, and what it took."""
    out = folder / "plan.json"
    seconds, _ = spent(["task=plan", *arguments, f"output_dir={folder / 'outputs'}", f"out={out}"])
    plan = json.loads(out.read_text(encoding="utf-8"))
    return {
        "training seconds": sum(phase["seconds_training"] for phase in plan["phases"]),
        "training peak": max(phase["peak_memory_bytes"] for phase in plan["phases"]),
        "whole run seconds": plan["seconds"],
        "whole run peak": plan["peak_memory_bytes"],
        "tokens": sum(phase["tokens"] for phase in plan["phases"]),
        "measurements": {e["name"]: e["seconds"] for e in plan["evaluations"]},
        "hardware": plan["hardware"],
        "took": seconds,
    }


def run(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """What the run took."""
    outputs = folder / "outputs"
    seconds, peak = spent([*arguments, f"output_dir={outputs}"])
    results = {path.resolve() for path in outputs.glob("*/*/results.jsonl")}  # latest is a link
    lines = [line for path in results for line in path.read_text(encoding="utf-8").splitlines()]
    records = [json.loads(line) for line in lines]
    measurements: dict[str, dict[str, float]] = {}
    for record in records:
        student = record["system"] == "student"
        key = record["split"] + ("/" + record["mode"] if student else "")
        name = key if student else f"{record['system']}/{key}"
        measurements.setdefault(record["phase"], {})[name] = record["seconds_eval"]
    found = {path.resolve() for path in outputs.glob("*/*/*/phase.json")}
    phases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(found)]
    return {
        "training seconds": sum(phase["seconds"] for phase in phases),
        "training peak": max(phase["peak_memory_bytes"] for phase in phases),
        "whole run seconds": seconds,
        "whole run peak": peak,
        "tokens": sum(phase["tokens"] for phase in phases),
        "measurements": measurements,
        "took": seconds,
    }


def table(measurements: Sequence[dict[str, Any]]) -> str:
    """Medians and ratios, in Markdown."""
    lines = [
        "| experiment | what | predicted | real | predicted / real | target |",
        "|---|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(each["case"] for each in measurements):
        plans = [m["values"] for m in measurements if (m["case"], m["kind"]) == (case, "plan")]
        runs = [m["values"] for m in measurements if (m["case"], m["kind"]) == (case, "run")]
        if not plans or not runs:
            continue
        for what, target in TARGETS.items():
            ratios = [plan[what] / real[what] for plan, real in zip(plans, runs, strict=False)]
            ratio = statistics.median(ratios)
            unit, digits = (GIB, 2) if "peak" in what else (1, 0)
            cells = [
                f"{statistics.median(each[what] for each in some) / unit:.{digits}f}"
                for some in (plans, runs)
            ]
            kept = "within" if abs(ratio - 1) <= target else "missed"
            several = ", ".join(f"{each:.2f}" for each in ratios)
            what = f"{what} ({'GiB' if 'peak' in what else 's'})"
            lines.append(
                f"| {case} | {what} | {cells[0]} | {cells[1]} | {ratio:.2f} (of {several}) | {kept} {target:.0%} |"
            )
        took = statistics.median(plan["took"] for plan in plans)
        lines.append(f"| {case} | the plan itself (s) | | {took:.0f} | | |")
    hardware = {m["values"]["hardware"] for m in measurements if m["kind"] == "plan"}
    return "\n".join([*lines, "", f"Medians; measured on {', '.join(sorted(hardware))}.", ""])


def main() -> None:
    """Measure what is missing and write the table."""
    given, extra = sys.argv[1:], []
    if "--" in given:
        place = given.index("--")
        given, extra = given[:place], given[place + 1 :]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(given)
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "measurements.jsonl"
    found = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    )
    for repeat in range(asked.repeats):
        for case in asked.cases:
            for kind, measure in (("plan", planned), ("run", run)):
                key = {"case": case, "repeat": repeat, "kind": kind, "extra": extra}
                if any(key == {name: each[name] for name in key} for each in found):
                    continue
                folder = asked.out / f".{case}-{kind}-{repeat}"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                arguments = [*CASES[case], "tracking=off", "progress=false", *extra]
                measured = {**key, "values": measure(arguments, folder)}
                shutil.rmtree(folder)
                with file.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(measured) + "\n")
                found.append(measured)
                print(f"{case} {kind} {repeat + 1}: {measured['values']['took']:.0f} s", flush=True)
    text = table([each for each in found if each["extra"] == extra])
    (asked.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
