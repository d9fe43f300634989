"""Write triples as a folder that ``data=triples`` and ``datasets.load_dataset`` read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.text.triples import DOCUMENT, ID, NEGATIVE, QUERY

GROUP = 1000  # rows of a row group
COLUMNS = {
    ID: pa.string(),
    QUERY: pa.string(),
    DOCUMENT: pa.string(),
    "document_id": pa.string(),
    NEGATIVE: pa.list_(pa.string()),
    "negative_ids": pa.list_(pa.string()),
    "negative_from": pa.list_(pa.string()),
}
SCORES = {"positive_score": pa.float32(), "negative_scores": pa.list_(pa.float32())}


def write_triples(rows: Iterable[Mapping[str, Any]], folder: Path, *, scored: bool, title: str) -> None:
    """Write rows to ``folder/train/0.parquet``, with a README that names the file to the ``datasets`` library.

    Args:
        rows: with the columns ``COLUMNS``.
        folder: made here.
        scored: whether rows have the columns ``SCORES`` too.
        title: of the README.
    """
    (folder / "train").mkdir(parents=True)
    schema = pa.schema(COLUMNS | (SCORES if scored else {}))
    with pq.ParquetWriter(folder / "train" / "0.parquet", schema) as writer:
        source = iter(rows)
        while block := list(islice(source, GROUP)):
            writer.write_table(pa.Table.from_pylist(block, schema))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train/*.parquet\n---\n\n"
        f"# {title}\n",
        encoding="utf-8",
    )
