"""Read relevance judgments."""

from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.text.lines import read_lines

Qrels = dict[str, dict[str, int]]


def read_qrels(path: Path) -> Qrels:
    """Read a tab-separated file of judgments with the columns query-id, corpus-id, score.

    Args:
        path: the file; its first line is a header when its third column holds no digit.

    Returns:
        Query id to {document id: grade}, in the order of the file.

    Raises:
        InputError: the file has no judgment, is not UTF-8, a row has not three columns or no whole number as
            grade, or a pair has two different grades; the message names the file and the line.
    """
    qrels: Qrels = {}
    for number, where, line in read_lines(path):
        _add(qrels, line.split("\t"), number, where)
    if not qrels:
        raise InputError(f"{path}: no judgments; rows with query-id, corpus-id and score are expected")
    return qrels


def _add(qrels: Qrels, columns: list[str], number: int, where: str) -> None:
    if len(columns) != 3:
        raise InputError(
            f"{where}: {len(columns)} columns; 3 separated by tabs are expected (query-id, corpus-id, score)"
        )
    query_id, document_id, score = (column.strip() for column in columns)
    try:
        grade = int(score)
    except ValueError:
        if number == 1 and not any(character.isdigit() for character in score):
            return
        raise InputError(f"{where}: the score must be a whole number, not {score!r}") from None
    if not query_id or not document_id:
        raise InputError(f"{where}: the query id or the document id is empty")
    grades = qrels.setdefault(query_id, {})
    if grades.setdefault(document_id, grade) != grade:
        raise InputError(
            f"{where}: query {query_id} and document {document_id} are judged {grade} here and "
            f"{grades[document_id]} before; keep one of the two rows"
        )
