"""An explanation as one HTML file that needs no script and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.pages import render, step_of
from colbert_lab.explain import matches
from colbert_lab.explain.matches import Explanation

TEMPLATE = Path(__file__).with_name("explanation.html.j2")


def to_html(
    explanation: Explanation, *, student: str, top: int, heatmap: int, notes: Sequence[str] = ()
) -> str:
    """The page: matches of the query tokens, the shaded document, and all similarities.

    Args:
        explanation: what to show.
        student: what to call the student.
        top: best document tokens to show for each query token.
        heatmap: most similarities (query tokens x document tokens) that are shown all together.
        notes: what the reader has to know first.
    """
    scoring = explanation.similarity_QL[explanation.query.scoring][:, explanation.document.scoring]
    low, high = float(scoring.min()), float(scoring.max())
    return render(
        TEMPLATE,
        finalize=_shown,
        explanation=explanation,
        student=student,
        notes=notes,
        top=top,
        heatmap=heatmap,
        signs=matches.signs(explanation),
        headline=matches.headline(explanation),
        counts=[matches.counts(reading) for reading in (explanation.query, explanation.document)],
        rows=_rows(explanation, top, low, high),
        cells=_cells(explanation, low, high) if explanation.similarity_QL.numel() <= heatmap else [],
        low=low,
        high=high,
        **_document(explanation),
    )


def _shown(value: Any) -> Any:
    """Characters that would not be seen, or that are not allowed on a page, as pictures of them."""
    return matches.visible(value) if type(value) is str else value


def _rows(explanation: Explanation, top: int, low: float, high: float) -> list[dict[str, Any]]:
    of_token = {match.token: match for match in explanation.matches}
    highest = max(match.best for match in explanation.matches)
    rows = []
    for position, token in enumerate(explanation.query.tokens):
        match = of_token.get(position)
        row: dict[str, Any] = {"token": token, "match": match}
        if match is not None:
            best = list(zip(match.documents, match.similarities, strict=True))[:top]
            row |= {
                "bar": round(100 * max(match.best, 0.0) / highest) if highest > 0 else 0,
                "share": matches.share(match),
                "best": [(explanation.document.tokens[n], s, step_of(s, low, high)) for n, s in best],
            }
        rows.append(row)
    return rows


def _document(explanation: Explanation) -> dict[str, Any]:
    """The document's own text in pieces, and the tokens around it."""
    document, weights, chosen_by = explanation.document, explanation.weights(), explanation.chosen_by()

    def title(n: int) -> str:
        token = document.tokens[n]
        parts = [token.label + (f" ({token.about})" if token.about else "")]
        if n in weights:
            names = ", ".join(f"{explanation.query.tokens[m.token].label} {m.best:.4f}" for m in chosen_by[n])
            parts.append(f"{weights[n]:.4f} from {names}")
        elif token.scores:
            parts.append("matched by no query token")
        return ": ".join(parts)

    heaviest = max(max(weights.values()), 0.0)
    around = [
        {
            "token": token,
            "weight": weights.get(n, 0.0),
            "shade": step_of(weights.get(n, 0.0), 0.0, heaviest),
            "title": title(n),
        }
        for n, token in enumerate(document.tokens)
        if token.start is None
    ]
    parts = [
        {
            "text": piece.text,
            "cut": piece.cut,
            "tokens": piece.tokens,
            "skipped": not any(document.tokens[n].scores for n in piece.tokens),
            "shade": step_of(sum(weights.get(n, 0.0) for n in piece.tokens), 0.0, heaviest),
            "title": "; ".join(title(n) for n in piece.tokens),
        }
        for piece in document.pieces()
    ]
    skipped = len(document.scoring) < len(document.tokens)
    return {"around": around, "parts": parts, "heaviest": heaviest, "skipped": skipped}


def _cells(explanation: Explanation, low: float, high: float) -> list[dict[str, Any]]:
    """One row for each document token, with one similarity for each query token."""
    chosen = {(match.token, match.documents[0]) for match in explanation.matches}
    values = explanation.similarity_QL.T.tolist()
    query = explanation.query.tokens
    return [
        {
            "token": token,
            "cells": [
                {
                    "shown": f"{value:z.2f}",
                    "shade": step_of(value, low, high) if token.scores and query[q].scores else None,
                    "best": (q, n) in chosen,
                }
                for q, value in enumerate(row)
            ],
        }
        for n, (token, row) in enumerate(zip(explanation.document.tokens, values, strict=True))
    ]
