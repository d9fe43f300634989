"""Exact search over a corpus that is larger than the memory it may use.

    python benchmarks/exact_million.py                     1,000,000 documents of 64 tokens: 17 GB of files
    python benchmarks/exact_million.py --documents 20000   a small one

Random unit vectors of 128 dimensions are written as float16 shards, then searched for 32 queries of 32 tokens. Prints
peak anonymous memory (RssAnon of /proc, without the pages of files), seconds and rate, and checks the best document
of a few queries against a plain loop over the shard it came from.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from anonymous_memory import PeakMemory, anonymous_mib

from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.records.environment import hardware_label
from colbert_lab.search.corpus import COPIES, write_shards
from colbert_lab.search.exact import search
from colbert_lab.search.storage import Float
from colbert_lab.search.store import Shard, TokenStore, make_shard

DIM, QUERY_TOKENS = 128, 32


def random_unit(n: int, seed: int) -> torch.Tensor:
    """Random unit vectors [n, DIM]."""
    values = torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def write_corpus(folder: Path, documents: int, tokens: int, memory: int) -> TokenStore:
    """Write random documents in shards that keep to the memory, and open them."""
    codec = Float("float16")

    def make(rows: range, _: str | None) -> Shard:
        print(f"\rwriting {rows.stop:,} of {documents:,} documents", end="", file=sys.stderr, flush=True)
        emb_TD = random_unit(len(rows) * tokens, seed=1 + rows.start)
        lengths = torch.full((len(rows),), tokens)
        return make_shard(PackedEmbeddings(emb_TD, lengths), torch.arange(rows.start, rows.stop), codec)

    size = max(1, memory // (COPIES * tokens * DIM * 4))
    store = TokenStore(codec, write_shards(folder, documents, size, codec, make, None))
    print(file=sys.stderr)
    return store


def main() -> None:
    """Write, search, check, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument(
        "--memory", type=float, default=1.0, help="GiB that shards may take while they are written"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files go")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    needed = given.documents * given.tokens * DIM * 2
    free = shutil.disk_usage(given.folder).free
    if free < 1.2 * needed:
        sys.exit(
            f"{given.folder} has {free / 1e9:.0f} GB free and {1.2 * needed / 1e9:.0f} GB are needed: see --folder"
        )
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, PeakMemory() as memory:
        at_start = anonymous_mib()
        start = time.perf_counter()
        store = write_corpus(Path(folder), given.documents, given.tokens, int(given.memory * 2**30))
        written, peak_written = time.perf_counter() - start, memory.peak
        memory.peak = 0.0
        query_TD = random_unit(given.queries * QUERY_TOKENS, seed=0)
        queries = PackedEmbeddings(query_TD, torch.full((given.queries,), QUERY_TOKENS))
        start = time.perf_counter()
        scores, rows = search(queries, store, torch.arange(given.documents), 100, progress="search")
        searched = time.perf_counter() - start
        largest = 0.0
        for q, query in enumerate(query_TD.view(given.queries, QUERY_TOKENS, DIM)[:3]):
            found = store.documents(rows[q])
            plain = [
                float((query @ d.T).amax(dim=1).sum()) for d in found.emb_TD.split(found.lengths_N.tolist())
            ]
            largest = max(largest, max(abs(a - b) for a, b in zip(plain, scores[q].tolist(), strict=True)))
    result = {
        "documents": given.documents,
        "tokens": given.tokens,
        "queries": given.queries,
        "file_gigabytes": round(store.nbytes / 1e9, 2),
        "seconds_writing": round(written, 1),
        "seconds_search": round(searched, 1),
        "documents_per_second": round(given.documents / searched),
        "anonymous_mib_at_start": round(at_start),
        "peak_anonymous_mib_writing": round(peak_written),
        "peak_anonymous_mib_search": round(memory.peak),
        "largest_difference_to_a_plain_loop": largest,
        "hardware": hardware_label(),
        "threads": given.threads,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
