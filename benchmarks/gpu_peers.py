"""The part of ``gpu_check.py`` that compares steps with PyLate and sentence-transformers, by ``suite.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_book import Line, impossible, line
from gpu_process import HERE, Check
from gpu_texts import collection
from suite_cells import OURS
from suite_workers import PINNED

SIDES = ("pylate", "sentence_transformers")
LEFT = 10.0  # seconds before the part's limit at which the suite is ended, so that its table is read
KERNELS = "late-interaction-kernels"


def peers(check: Check) -> Iterator[Line]:
    """Distillation and GradCache steps of each peer in turns with colbert_lab's, on the same weights and texts."""
    sides = {}
    for side in SIDES:
        name, version, _ = PINNED[side]
        python = check.pythons.get(side) or Path(sys.executable)
        found = _version(python, name)
        if found == version:
            sides[side] = python
        else:
            said = "not installed" if found is None else f"there as {found}, and {version} is compared with"
            yield impossible(f"{name} {version}", f"{name} is {said}")
    if not sides:
        return
    yield from _measured(check, sides)


def _version(python: Path, name: str) -> str | None:
    """Which version of a distribution a Python has."""
    code = f"from importlib.metadata import version; print(version({name!r}))"
    asked = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def _measured(check: Check, sides: dict[str, Path]) -> Iterator[Line]:
    from suite_texts import write_weights

    sizes, out = check.sizes, check.work / "suite"
    write_weights(out / "weights", str(check.work / "modernbert"), kinds=("same",))
    command = [
        sys.executable, str(HERE / "suite.py"), "--out", str(out), "--device", check.device, "--precisions", "bf16",
        "--workloads", "distill", "gradcache", "--sides", OURS, *sides, "--variants", "default",
        "--batch", str(sizes.distill[0]), "--ways", str(sizes.distill[1]), "--lengths", str(sizes.length),
        "--pairs", str(sizes.peers_pairs), "--repeats", str(sizes.peers_rounds), "--threads", str(check.threads),
        "--collection", str(collection(check.work)), "--backbone", str(check.work / "modernbert"),
        *(part for side, python in sides.items() for part in ("--" + side.replace("_", "-"), str(python))),
        *(["--quick"] if check.quick else []),
    ]  # fmt: skip
    late = None
    try:
        subprocess.run(command, check=True, timeout=max(1.0, check.seconds - LEFT))
    except subprocess.TimeoutExpired:
        late = f"stopped after {check.seconds - LEFT:.0f} s"
    results = out / "results.json"
    whole = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    versions = {
        each["side"]: each["versions"] for each in whole.get("measurements", []) if "versions" in each
    }
    for row in whole.get("rows", []):
        what = f"{row['workload']}, {row['case']}, {row['side']} ({row['variant']})"
        if "failed" in row:
            gone = "not available here" in row["failed"]
            yield impossible(what, row["failed"]) if gone else line(what, row["failed"], ok=False)
            continue
        said = f"{row['seconds']:.3g} s ({row['low']:.3g} to {row['high']:.3g}, n={row['n']})"
        if "peak of the device" in row:
            said += f", peak {row['peak of the device'] / 2**30:.1f} GiB"
        if "ratio" in row:
            said += f", **{row['ratio']:.2f}** times colbert_lab's"
        kernels = versions.get("pylate", {}).get(KERNELS)
        if row["side"] == "pylate" and kernels:
            said += f", with {KERNELS} {kernels}"
        if "difference" in row:
            said += f", loss differs by {row['difference']:.1g}"
        yield line(what, said, **{key: row[key] for key in ("seconds", "ratio", "ratios") if key in row})
    if late is not None:
        raise TimeoutError(late)
