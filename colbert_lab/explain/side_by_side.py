"""What two students matched: one table of the tokens behind a difference between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colbert_lab.base.layout import NONE, Table, escaped
from colbert_lab.explain import matches
from colbert_lab.explain.matches import Explanation, Match, explain
from colbert_lab.explain.reading import Token
from colbert_lab.model.student import Student


@dataclass(frozen=True)
class Seen:
    """A relevant document and a rival as one student sees them.

    Attributes:
        label: what to call the student, in short.
        relevant: its score of the relevant document, taken apart.
        rival: the same of a document that is not relevant.
    """

    label: str
    relevant: Explanation
    rival: Explanation

    @property
    def margin(self) -> float:
        """How much higher the relevant document scores; below 0 where the rival does."""
        return self.relevant.score - self.rival.score


def see(label: str, student: Student, query: str, relevant: str, rival: str) -> Seen:
    """Score both documents for a query and keep what the scores are made of.

    Args:
        label: what to call the student, in short.
        student: model and tokenizer.
        query: the query, without prompt.
        relevant: a document.
        rival: another one.

    Raises:
        InputError: see :func:`colbert_lab.explain.matches.explain`.
    """
    return Seen(label, explain(student, query, relevant), explain(student, query, rival))


def side_by_side(title: str, students: Sequence[Seen]) -> Table:
    """For each query token, what every student matched in the relevant document and in its rival.

    A token's margin is its similarity in the relevant document minus that in the rival; all margins together are the
    margin of the scores. Where students read the query as different tokens (another tokenizer or prompt), each has
    the tokens that are its own.

    Args:
        title: of the table.
        students: what they saw, of the same query and documents.
    """
    by_label = [_by_label(each) for each in students]
    labels = dict.fromkeys(label for found in by_label for label in found)
    columns, rows = ["query token"], []
    for each in students:
        columns += [f"{each.label}: relevant", f"{each.label}: rival", f"{each.label}: margin"]
    for label in labels:
        cells = [label]
        for found, each in zip(by_label, students, strict=True):
            cells += _cells(found[label], each) if label in found else [NONE] * 3
        rows.append(tuple(cells))
    sums = ["**score**"]
    for each in students:
        sums += [f"**{each.relevant.score:.4f}**", f"**{each.rival.score:.4f}**", f"**{each.margin:+.4f}**"]
    return Table(title, tuple(columns), (*rows, tuple(sums)), (), tuple(_notes(students)))


def _by_label(each: Seen) -> dict[str, tuple[Match, Match]]:
    """The matches of each query token in both documents; labels differ within a text."""
    tokens = each.relevant.query.tokens
    pairs = zip(each.relevant.matches, each.rival.matches, strict=True)
    return {_named(tokens[one.token]): (one, other) for one, other in pairs}


def _cells(both: tuple[Match, Match], each: Seen) -> list[str]:
    cells = []
    for match, explanation in zip(both, (each.relevant, each.rival), strict=True):
        cells.append(f"{_named(explanation.document.tokens[match.documents[0]])} {match.best:.4f}")
    return [*cells, f"{both[0].best - both[1].best:+.4f}"]


def _named(token: Token) -> str:
    label = escaped(matches.visible(token.label))
    return f"{label} *({token.about})*" if token.about else label


def _notes(students: Sequence[Seen]) -> list[str]:
    notes = [
        "A cell is the document token that the query token matched and their similarity; margin: relevant minus rival. "
        "Scores are computed anew in float32."
    ]
    for each in students:
        for name, explanation in (("relevant", each.relevant), ("rival", each.rival)):
            notes.append(f"{each.label}, {name}: {escaped(matches.counts(explanation.document))}.")
    signs = dict.fromkeys(
        part
        for each in students
        for explanation in (each.relevant, each.rival)
        for part in matches.signs(explanation).split("; ")
        if part
    )
    return [*notes, f"{escaped('; '.join(signs))}."] if signs else notes
