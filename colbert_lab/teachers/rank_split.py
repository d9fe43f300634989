"""Rankings of a whole split by a teacher or baseline, as the split wants them."""

from __future__ import annotations

from colbert_lab.retrieval.closed import list_rows
from colbert_lab.retrieval.exact import tie_ranks, top_k
from colbert_lab.retrieval.exclusion import search_depth
from colbert_lab.teachers.scorer import QUERIES_AT_ONCE, Scorer, indexed, rank
from colbert_lab.types import Ranking, Split


def rank_split(scorer: Scorer, split: Split, depth: int, progress: str | None = None) -> Ranking:
    """Search a split's queries; ties by document id descending, as in trec_eval.

    Args:
        scorer: the system.
        split: the queries and what they search: the whole corpus, or each its own candidates. Candidates keep the
            scores they have in the corpus of all candidates.
        depth: documents that a ranking keeps; excluded documents are still in it, and are searched for on top.
        progress: title of a progress bar; None shows none.
    """
    if not split.candidates:
        return rank(scorer, split.corpus, dict(split.queries), search_depth(split, depth), progress)
    index, ties_C, rows = indexed(scorer, split.corpus), tie_ranks(list(split.corpus.ids)), list_rows(split)
    texts, ids = list(split.queries.values()), split.corpus.ids
    scores: list[list[float]] = []
    documents: list[list[str]] = []
    for start in range(0, len(texts), QUERIES_AT_ONCE):
        end = start + QUERIES_AT_ONCE
        for scores_C, rows_K in zip(index.scores(texts[start:end]), rows[start:end], strict=True):
            values, columns = top_k(scores_C[rows_K][None], ties_C[rows_K], depth)
            scores.append(values[0].tolist())
            documents.append([ids[row] for row in rows_K[columns[0]].tolist()])
    return Ranking(list(split.queries), documents, scores)
