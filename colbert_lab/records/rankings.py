"""Per-query results as Parquet: what was retrieved for each query, and how good it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from colbert_lab.base.atomic import atomic_path
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import parse_json
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import PerQuery
from colbert_lab.records.records import EXACT

if TYPE_CHECKING:
    import numpy as np

RANKING_COLUMNS = ("query_id", "document_ids", "scores")
SAME = 1e-9
"""A recorded mean and the mean of the per-query file are the same number up to this."""
_METADATA = b"colbert_lab"


class Details(TypedDict):
    """What the file says of itself: its judged queries come first; ``unjudged`` counts the others."""

    judged: int
    unjudged: int


def ranking_path(run_dir: Path, system: str, phase: str, split: str, variant: str = EXACT) -> Path:
    """Where a run keeps a ranking.

    Args:
        run_dir: the run's folder.
        system: ``student``, ``bm25``, ``teacher`` or ``dense``.
        phase: for the student, ``before`` or the phase just trained; unused for other systems.
        split: name of the split in ``evaluation.splits``.
        variant: how a student searched, see :attr:`colbert_lab.records.records.Record.variant`.

    Returns:
        ``<phase>/rankings/<split>.parquet`` (with the variant before ``.parquet`` when it is not ``exact``), or
        ``baselines/rankings/<split>.<system>.parquet``.
    """
    if system == "student":
        name = split if variant == EXACT else f"{split}.{variant}"
        return run_dir / phase / "rankings" / f"{name}.parquet"
    return run_dir / "baselines" / "rankings" / f"{split}.{system}.parquet"


def write_ranking(path: Path, ranking: Ranking, per_query: PerQuery) -> None:
    """Write one row a query: query_id, document_ids (list of string), scores (list of float32), each measure.

    Judged queries come first, in their order; where the ranking does not hold one, its lists are null. Then
    come queries without judgments, whose measures are null. The file is written atomically.

    Args:
        path: the file to write; an old one is replaced.
        ranking: what was retrieved.
        per_query: measures of the judged queries.

    Raises:
        OSError: what the write raised; an old file is then intact.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = {query: number for number, query in enumerate(ranking.query_ids)}
    judged = set(per_query.query_ids)
    queries = [*per_query.query_ids, *(query for query in ranking.query_ids if query not in judged)]
    rows = [row.get(query) for query in queries]
    documents = [None if r is None else list(ranking.document_ids[r]) for r in rows]
    scores = [None if r is None else [float(score) for score in ranking.scores[r]] for r in rows]
    columns = {
        "query_id": pa.array(queries, pa.string()),
        "document_ids": pa.array(documents, pa.list_(pa.string())),
        "scores": pa.array(scores, pa.list_(pa.float32())),
    }
    missing = [None] * (len(queries) - len(per_query))
    for measure, values in per_query.values.items():
        columns[measure] = pa.array([*values.tolist(), *missing], pa.float64())
    metadata = {_METADATA: json.dumps({"judged": len(per_query), "unjudged": per_query.unjudged}).encode()}
    table = pa.table(columns).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_ranking(path: Path) -> tuple[Ranking, PerQuery]:
    """Read a file of :func:`write_ranking`.

    Args:
        path: the Parquet file.

    Returns:
        The ranking, in the file's order of queries (judged ones first), and the measures.

    Raises:
        InputError: the file is missing, cut or of another layout; the message names it.
    """
    table = _read(path)
    rows = zip(*(table.column(name).to_pylist() for name in RANKING_COLUMNS), strict=True)
    held = [found for found in rows if found[1] is not None]
    ranking = Ranking(
        [q for q, _, _ in held], [docs for _, docs, _ in held], [scores for _, _, scores in held]
    )
    return ranking, _per_query(table, path)


def read_per_query(path: Path) -> PerQuery:
    """The measures of a file of :func:`write_ranking`, without reading its lists.

    Args:
        path: the Parquet file.

    Raises:
        InputError: the file is missing, cut or of another layout; the message names it.
    """
    return _per_query(_read(path, lists=False), path)


def _read(path: Path, lists: bool = True) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    lists_of = pa.list_(pa.string()), pa.list_(pa.float32())
    kinds = dict(zip(RANKING_COLUMNS, (pa.string(), *lists_of), strict=True))
    try:
        # One file of some hundred rows: pyarrow's data sets and threads take longer than reading it.
        with pq.ParquetFile(path, pre_buffer=False) as file:
            schema = file.schema_arrow
            absent = [name for name in RANKING_COLUMNS if name not in schema.names]
            if absent or _METADATA not in (schema.metadata or {}):
                raise InputError(
                    f"{path}: not a ranking file of colbert_lab (missing: {absent or 'metadata'})"
                )
            for name in schema.names:
                kind = kinds.get(name, pa.float64())
                if schema.field(name).type != kind:
                    raise InputError(f"{path}: cannot be read as a ranking: {name} is not of type {kind}")
            names = [name for name in schema.names if lists or name not in RANKING_COLUMNS[1:]]
            return file.read(columns=names, use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(f"{path}: cannot be read as a ranking: {problem}") from problem


def _per_query(table: Any, path: Path) -> PerQuery:
    details = parse_json(table.schema.metadata[_METADATA].decode("utf-8", "replace"), Details, str(path))
    n = details["judged"]
    queries = tuple(table.column("query_id").to_pylist()[:n])
    if not 0 <= n == len(queries) or None in queries:
        raise InputError(f"{path}: cannot be read as a ranking: it has not as many queries as it says")
    measures = [name for name in table.schema.names if name not in RANKING_COLUMNS]
    values: dict[str, np.ndarray] = {name: table.column(name).slice(0, n).to_numpy() for name in measures}
    return PerQuery(queries, values, details["unjudged"])
