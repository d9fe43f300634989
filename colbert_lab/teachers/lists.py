"""Candidate lists and their teacher scores: the training data of distillation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from colbert_lab.atomic import one_maker
from colbert_lab.teachers.list_candidates import Candidates
from colbert_lab.teachers.scorer import QUERIES_AT_ONCE, Scorer, indexed
from colbert_lab.text.examples import ScoredLists
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.scored_lists import read_scored_lists, write_scored_lists
from colbert_lab.types import Corpus

log = logging.getLogger(__name__)
BUILD_VERSION = "1"  # raise when the same settings would give other lists


def build_scored_lists(
    name: str,
    corpus: Corpus,
    queries: Mapping[str, str],
    *,
    teacher: Scorer,
    retrievers: Mapping[str, Scorer],
    top: int,
    random: int,
    seed: int,
    cache_dir: Path,
) -> ScoredLists:
    """Choose candidates for every query and score them with a teacher; cached on disk.

    The candidates are the ``top`` best documents of every retriever and ``random`` others, without
    repetition; they do not depend on the teacher, so runs that differ in the teacher read the same lists.

    Args:
        name: name of the collection, for tables and logs.
        corpus: the documents.
        queries: query id to text.
        teacher: scores the candidates (raw scores are stored).
        retrievers: name to scorer.
        top: documents taken from each retriever.
        random: documents drawn at random.
        seed: of the random documents.
        cache_dir: folder for finished lists.

    Raises:
        InputError: a number is below 0, a query could get fewer than 2 candidates (retrievers may agree), or
            more are asked for than the corpus holds.
    """
    candidates = Candidates(corpus, retrievers, top, random, seed)
    candidates.check("data")
    settings = {
        "teacher": describe(teacher),
        "retrievers": {key: describe(scorer) for key, scorer in sorted(retrievers.items())},
        "top": top,
        "random": random,
        "seed": seed,
    }
    key = fingerprint([BUILD_VERSION, corpus.fingerprint, repr(settings)], queries.keys(), queries.values())
    folder = cache_dir / "lists" / f"{name}-{key}"
    with one_maker(folder):
        if not folder.is_dir():
            documents, scores = _score(candidates, queries, teacher)
            built = ScoredLists(
                name, list(queries), list(queries.values()), corpus, documents, scores, key, settings
            )
            write_scored_lists(built, folder)
            log.info("scored %d lists of %s with %s: %s", len(queries), name, teacher.name, folder)
    lists = read_scored_lists(str(folder), cache_dir=cache_dir)
    return ScoredLists(
        name, lists.query_ids, lists.queries, lists.corpus, lists.documents, lists.scores, key, settings
    )


def describe(scorer: object) -> str:
    """A stable text of a scorer's settings (what decides its scores)."""
    members = getattr(scorer, "members", None)
    if members is not None:
        return "mean z-score of " + ", ".join(f"{key}={describe(member)}" for key, member in members.items())
    return repr(scorer)


def _score(
    candidates: Candidates, queries: Mapping[str, str], teacher: Scorer
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    judge = indexed(teacher, candidates.corpus)
    ids = list(queries)
    documents: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    bar = tqdm(total=len(ids), desc="teacher scores", unit="query", disable=None)
    for start in range(0, len(ids), QUERIES_AT_ONCE):
        block = {query: queries[query] for query in ids[start : start + QUERIES_AT_ONCE]}
        lists = candidates.choose(block)
        judged_BC = judge.scores(list(block.values())).numpy()
        documents += lists
        scores += [judged_BC[b, rows].astype(np.float32) for b, rows in enumerate(lists)]
        bar.update(len(block))
    bar.close()
    return documents, scores
