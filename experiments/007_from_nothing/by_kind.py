"""Split mined triples of package documentation by the kind of their pair, so that each kind is a source of its own.

    python experiments/007_from_nothing/by_kind.py MINED OUT [CACHE_DIR]

``OUT`` has a split for each kind; ``data=triples data.path=OUT`` takes each as a source. Micro-batches of one kind
have harder negatives than mixed ones, which a student tells apart by their kind.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.text.packages.package_docs import load_package_docs
from colbert_lab.text.packages.pair_kinds import KINDS


def main(mined: Path, out: Path, cache: Path) -> None:
    """Write the files."""
    kind_of = load_package_docs(None, cache).kind_of
    table = pq.read_table(sorted((mined / "train").glob("*.parquet")))
    kinds = [kind_of[query] for query in table["query_id"].to_pylist()]
    with atomic_folder(out) as part:
        for kind in KINDS:
            own = table.filter(pa.array([each == kind for each in kinds]))
            (part / "data").mkdir(exist_ok=True)
            pq.write_table(own, part / "data" / f"{kind}-00000-of-00001.parquet")  # the hub's name of a split
            print(f"{kind}: {own.num_rows} rows")


if __name__ == "__main__":
    given = [Path(each).expanduser() for each in sys.argv[1:]]
    usual = Path(os.environ.get("COLBERT_LAB_CACHE", "~/.cache/colbert_lab")).expanduser()
    main(given[0], given[1], given[2] if len(given) > 2 else usual)
