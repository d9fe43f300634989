"""Small local copies of data sets in the layouts of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = Mapping[str, Any]


def write_splits(folder: Path, splits: Mapping[str, Sequence[Row]], *, card: bool = True) -> Path:
    """One config of several splits, as nomic-ai's data sets have them.

    Args:
        folder: where to.
        splits: name to rows.
        card: write the README.md that names the splits; without it, the file names tell.
    """
    (folder / "data").mkdir(parents=True)
    for name, rows in splits.items():
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / "data" / f"{name}-00000-of-00001.parquet")
    if card:
        files = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in splits)
        text = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
        (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


def write_configs(folder: Path, configs: Mapping[str, Sequence[Row]]) -> Path:
    """Several configs of one split ``train``, as lightonai's score lists have them."""
    text = "---\nconfigs:\n"
    for name, rows in configs.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(list(rows)), folder / name / "train-00000-of-00001.parquet")
        text += f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train-*\n"
    (folder / "README.md").write_text(f"{text}---\n", encoding="utf-8")
    return folder
