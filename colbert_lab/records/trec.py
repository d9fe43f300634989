"""Rankings and judgments as TREC's text files, which trec_eval, ir_measures, ranx and others read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Ranking
from colbert_lab.evaluation.measures import trec_order

if TYPE_CHECKING:
    import numpy as np


def write_run(path: Path, ranking: Ranking, tag: str, source: Path) -> None:
    """Write a ranking as a run file, one ``query Q0 document rank score tag`` a line.

    Tools order documents by score, and equal scores each in their own way (trec_eval by id, the largest first). So the
    lines are in the order that is measured here, and a score that is not below the one before it is written as the
    next smaller number of float32: every tool then sees one order.

    Args:
        path: the file to write.
        ranking: what was retrieved.
        tag: name of the system, without white space.
        source: where the ranking is from, for messages.

    Raises:
        InputError: an id that cannot stand in such a file, or a score that is no finite number.
    """
    import numpy as np

    check_ids((*ranking.query_ids, *(each for ids in ranking.document_ids for each in ids)), source)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for query, documents, scores in zip(
            ranking.query_ids, ranking.document_ids, ranking.scores, strict=True
        ):
            if not np.isfinite(scores).all():
                raise InputError(f"{source}: query {query} has a score that is no finite number")
            order = trec_order(documents, scores)
            written = falling(np.asarray(scores, dtype=np.float32)[order])
            for rank, (place, score) in enumerate(zip(order, written, strict=True), 1):
                file.write(f"{query} Q0 {documents[place]} {rank} {score!s} {tag}\n")


def write_qrels(path: Path, grades: Mapping[str, Mapping[str, int]], source: Path) -> None:
    """Write judgments as a qrels file, one ``query 0 document grade`` a line.

    A grade below 0 is written as 0, as which it counts here: trec_eval gives such grades meanings of their own.

    Args:
        path: the file to write.
        grades: query id to {document id: grade}.
        source: where they are from, for messages.

    Raises:
        InputError: an id that cannot stand in such a file.
    """
    check_ids((*grades, *(each for judged in grades.values() for each in judged)), source)
    lines = (f"{q} 0 {d} {max(grade, 0)}\n" for q, judged in grades.items() for d, grade in judged.items())
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def falling(scores: np.ndarray) -> np.ndarray:
    """Scores that do not rise, with each that equals the one before it lowered by as little as float32 can."""
    import numpy as np

    found = scores.copy()
    if (found[1:] >= found[:-1]).any():
        for n in range(1, len(found)):
            if found[n] >= found[n - 1]:
                found[n] = np.nextafter(found[n - 1], np.float32(-np.inf))
    return found


def check_ids(ids: Iterable[str], source: Path) -> None:
    """Whether ids can be columns of a file whose columns are separated by white space.

    Args:
        ids: of queries and documents.
        source: where they are from, for messages.

    Raises:
        InputError: some cannot.
    """
    if wrong := list(_split_up(ids)):
        raise InputError(
            f"{source}: ids that hold white space, or are empty, cannot stand in TREC's files: "
            f"{some_ids([repr(each) for each in wrong])}; give them others in the collection, and measure anew"
        )


def _split_up(ids: Iterable[str]) -> Iterator[str]:
    return (each for each in dict.fromkeys(ids) if each.split() != [each])
