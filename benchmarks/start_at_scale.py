"""How long a phase's data takes to be ready, the first time and again, and what memory that takes.

    python benchmarks/start_at_scale.py --rows 20000000 --folder DIR

It writes pairs of made-up words in Parquet shards, opens them in a process of its own for each start, as a contrastive
phase does (rows checked and hashed, compared with evaluation queries, known positives, the order of an epoch), and
prints seconds and the largest anonymous memory (what a process has for itself; memory-mapped files are shared).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SHARD = 1_000_000
WORDS = 60_000
PUBLISHED = 235_000_000
"""Pairs of ColBERT-Zero's unsupervised phase."""


def write_pairs(folder: Path, rows: int) -> None:
    """Pairs with queries of 6 words and documents of 24, in shards."""
    (folder / "data").mkdir(parents=True)
    words = pa.array([f"w{n:x}" for n in range(WORDS)])
    shards = -(-rows // SHARD)
    for shard in range(shards):
        size = min(SHARD, rows - shard * SHARD)
        generator = np.random.default_rng(shard)
        columns = {}
        for name, length in (("query", 6), ("document", 24)):
            parts = [words.take(pa.array(generator.integers(0, WORDS, size))) for _ in range(length)]
            columns[name] = pc.binary_join_element_wise(*parts, " ")
        pq.write_table(pa.table(columns), folder / "data" / f"train-{shard:05d}-of-{shards:05d}.parquet")


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Seconds of a block, and the most anonymous memory of this process in it, in MiB."""
    found, ended = {"memory": 0.0}, threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("RssAnon"):
                    found["memory"] = max(found["memory"], int(line.split()[1]) / 1024)

    thread, begun = threading.Thread(target=look), time.perf_counter()
    thread.start()
    try:
        yield found
    finally:
        found["seconds"] = time.perf_counter() - begun
        ended.set()
        thread.join()


def start(folder: Path, cache: Path) -> None:
    """What a phase does before its first step, timed; a line of JSON."""
    from colbert_lab.run.contamination import overlaps
    from colbert_lab.text.collections.collection import build_corpus, build_split
    from colbert_lab.text.passes import remember_below
    from colbert_lab.text.rows.hub_triples import load_triples
    from colbert_lab.training.positives import KnownPositives
    from colbert_lab.training.sampler import SourceSampler

    remember_below(cache)
    queries = {f"q{n}": f"which w{n:x} is meant" for n in range(1000)}
    judged = {query: {"d": 1} for query in queries}
    split = build_split("made up", "test", build_corpus(["d"], ["a text"]), queries, judged, {})
    parts: dict[str, float] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        parts[name] = time.perf_counter() - begun

    with watched() as whole:
        with timed("rows"):
            sources = load_triples(str(folder), negatives=None, columns={})
        with timed("evaluation queries"):
            for source in sources:
                overlaps(source, {"test": split})
        with timed("known positives"):
            KnownPositives(sources)
        with timed("order"):
            SourceSampler([len(each) for each in sources], 256, None, 1).rows(0)
    print(json.dumps({**whole, "parts": parts, "rows": sum(map(len, sources))}))


def main() -> None:
    """Write, start twice, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000, help="pairs that are written")
    parser.add_argument("--folder", type=Path, required=True, help="where to; removed at the end")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.start is not None:
        import datasets

        datasets.disable_progress_bars()
        datasets.config.HF_DATASETS_CACHE = given.start / "datasets"
        start(given.folder, given.start)
        return
    if given.folder.exists():
        parser.error(f"--folder {given.folder}: is there already; name one that is not")
    try:
        begun = time.perf_counter()
        write_pairs(given.folder / "pairs", given.rows)
        print(f"{given.rows:,} pairs written in {time.perf_counter() - begun:.0f} s", flush=True)
        command = [sys.executable, __file__, "--folder", str(given.folder / "pairs")]
        for title in ("first start", "second start", "third start"):
            line = subprocess.run(
                [*command, "--start", str(given.folder / "cache")], check=True, capture_output=True, text=True
            ).stdout.splitlines()[-1]
            told = json.loads(line)
            parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in told["parts"].items())
            print(
                f"{title}: {told['seconds']:.1f} s ({parts}), {told['memory']:,.0f} MiB anonymous; "
                f"{told['seconds'] * PUBLISHED / told['rows']:,.0f} s for {PUBLISHED:,} pairs at this slope",
                flush=True,
            )
    finally:
        shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
