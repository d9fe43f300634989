"""Read, check and write teacher score lists, the training data of distillation."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.text.list_layouts import list_layout
from colbert_lab.text.list_store import open_lists, open_texts
from colbert_lab.text.rows.examples import ScoredLists

CONFIGS = ("train", "queries", "documents")
_log = logging.getLogger(__name__)


def read_scored_lists(
    path: str | Path,
    scores: str | Path | None = None,
    *,
    cache_dir: Path,
    columns: Mapping[str, str] | None = None,
    skip_empty: bool = False,
) -> ScoredLists:
    """Read score lists and join them to their texts.

    They are converted once (ids looked up, everything checked) into files below ``cache_dir`` and read from there, a
    row when it is asked for; the files are found again as long as the source has not changed.

    Args:
        path: with ``scores``, a folder in BEIR layout (``beir.load_beir``), or one with ``collection.tsv`` and
            ``queries.tsv`` as MS MARCO and Stanford's ColBERT have. Without, a folder or hub id in
            the layout of lightonai/ms-marco-en-bge-gemma: the configs ``train`` (query_id, document_ids,
            scores), ``queries`` (query_id, text) and ``documents`` (document_id, text).
        scores: a file of lists, relative to ``path`` or absolute; see
            :mod:`colbert_lab.text.list_rows`.
        cache_dir: where converted files are kept.
        columns: our column name to the source's.
        skip_empty: leave out (and count in the log) lists with an empty query or document instead of stopping.

    Returns:
        The lists in the order in which they were read; scores are the teacher's own, unscaled. Lists whose
        scores are all equal teach nothing; they are kept, counted in ``details`` and logged.

    Raises:
        InputError: a file or config is missing or malformed, an id is unknown or repeated, a list has fewer
            than 2 documents or not one finite score for each, or a text is empty; one line with the config key, the
            place, the number of offenders and the first ids.
    """
    layout = list_layout(str(path), None if scores is None else Path(path) / scores, columns or {})
    corpus, texts = open_texts(cache_dir, layout.text_mark, layout.documents_key, layout.documents)
    lists, new = open_lists(
        cache_dir,
        layout.row_mark,
        layout.key,
        corpus,
        texts,
        layout.queries,
        layout.rows,
        skip_empty=skip_empty,
    )
    details = dict(lists.details)
    for what, said in (
        ("constant", "lists whose scores are all equal: {}; they teach nothing"),
        ("skipped", "lists left out (data.skip_empty), as a text of theirs is empty: {}"),
    ):
        ids, count = details.pop(f"{what}_ids"), details[f"{what}_lists"]
        if count:
            first = ", ".join(ids)
            shown = f"{count} ({first})" if count == len(ids) else f"{count} (first: {first})"
            _log.warning("%s: %s", layout.key, said.format(shown))
    if new:
        _log.info(
            "%s: %s lists over %s documents, converted below %s",
            layout.name,
            f"{len(lists):,}",
            f"{len(corpus):,}",
            cache_dir,
        )
    return replace(lists, name=layout.name, details={"source": layout.source, **details})


def write_scored_lists(lists: ScoredLists, path: Path) -> None:
    """Write lists with their queries and documents, in the layout that ``read_scored_lists`` reads.

    ``datasets.load_dataset(path, "train")`` reads it too. The folder is either whole or not there.

    Args:
        lists: what to write.
        path: the folder; an earlier folder of lists is replaced.

    Raises:
        InputError: ``path`` exists and is not a folder of lists.
        OSError: the write failed; an existing folder is then untouched.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not (path / "train").is_dir():
        raise InputError(f"{path}: exists and is not a folder of score lists; choose another path")
    documents = [[lists.corpus.ids[row] for row in rows.tolist()] for rows in lists.documents]
    tables = {
        "train": {
            "query_id": pa.array(lists.query_ids, pa.string()),
            "document_ids": pa.array(documents, pa.list_(pa.string())),
            "scores": pa.array([values.tolist() for values in lists.scores], pa.list_(pa.float32())),
        },
        "queries": {
            "query_id": pa.array(lists.query_ids, pa.string()),
            "text": pa.array(lists.queries, pa.string()),
        },
        "documents": {
            "document_id": pa.array(lists.corpus.ids, pa.string()),
            "text": pa.array(lists.corpus.texts, pa.string()),
        },
    }
    with atomic_folder(path) as temporary:
        for config in CONFIGS:
            (temporary / config).mkdir()
            pq.write_table(
                pa.table(tables[config]), temporary / config / "part-0.parquet", compression="zstd"
            )
        (temporary / "README.md").write_text(_readme(lists), encoding="utf-8")


def _readme(lists: ScoredLists) -> str:
    configs = [
        f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/*.parquet\n"
        for config in CONFIGS
    ]
    about = f"{len(lists)} lists of teacher scores over {len(lists.corpus)} documents."
    return f"---\nconfigs:\n{''.join(configs)}---\n\n# {lists.name}\n\n{about}\n"
