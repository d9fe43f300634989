"""MaxSim taken apart: which document token each query token matched, what that adds to the score, and how to say it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError, NoScoringTokenError
from colbert_lab.base.types import Embeddings, Role, Tokens
from colbert_lab.explain.reading import Kind, ReadText, read
from colbert_lab.model.maxsim import MAXSIM, maxsim, scoring_queries
from colbert_lab.model.student import Student


@dataclass(frozen=True)
class Match:
    """What one query token matched.

    Attributes:
        token: its position in the query.
        documents: positions of the scoring document tokens, the most similar first; among equals the first one.
        similarities: dot products of unit vectors in the same order; the first one is the maximum of MaxSim.
        share: that maximum as a share of the score; None where the score is not positive.
    """

    token: int
    documents: tuple[int, ...]
    similarities: tuple[float, ...]
    share: float | None

    @property
    def best(self) -> float:
        """Its highest similarity: the score is the sum of these over the query, or their mean."""
        return self.similarities[0]


@dataclass(frozen=True)
class Explanation:
    """A query and a document, and where their score comes from.

    Attributes:
        query: the query as the student reads it.
        document: the document as the student reads it.
        score: the student's, MaxSim or MeanMaxSim.
        matches: one for each scoring query token, in order.
        similarity_QL: similarity of every query token with every document token, scoring or not, float64.
        mean: whether the score is MeanMaxSim, the mean in place of the sum.
    """

    query: ReadText
    document: ReadText
    score: float
    matches: tuple[Match, ...]
    similarity_QL: Tensor
    mean: bool = False

    def chosen_by(self) -> dict[int, list[Match]]:
        """For each document token that is the best of a query token: those query tokens' matches."""
        chosen: dict[int, list[Match]] = {}
        for match in self.matches:
            chosen.setdefault(match.documents[0], []).append(match)
        return chosen

    def weights(self) -> dict[int, float]:
        """For the same document tokens: the sum of those similarities. All together they are MaxSim."""
        return {n: sum(match.best for match in matches) for n, matches in self.chosen_by().items()}


def explain(student: Student, query: str, document: str) -> Explanation:
    """Score one document for one query and keep what the score is made of.

    The encoder works in float32 whatever the run's precision, similarities and their sum in float64.

    Args:
        student: model and tokenizer; its prompts, markers, lengths, expansion and skiplist are applied by role.
        query: the query, without prompt.
        document: the document, without prompt.

    Raises:
        InputError: a text is empty or leaves no token, or the student has one vector a text.
    """
    if student.model.pooling is not None:
        raise InputError(
            "student.output=single: a dense student has one vector a text, so no token matches another; "
            "give a student with one vector a token (student.output=multi)"
        )
    of_query, query_tokens = _read(student, query, "query")
    of_document, document_tokens = _read(student, document, "document")
    queries, documents = _embed(student, query_tokens), _embed(student, document_tokens)
    similarity_QL = queries.emb_NLD[0] @ documents.emb_NLD[0].T
    rule, total = student.tokenizer.rules.score, float(maxsim(queries, documents))
    score = float(maxsim(scoring_queries(queries, rule), documents))
    scoring = of_document.scoring
    matches = []
    for token in of_query.scoring:
        row = similarity_QL[token, scoring]
        order = row.argsort(descending=True, stable=True).tolist()
        values = row[order].tolist()
        share = values[0] / total if total > 0 else None
        matches.append(Match(token, tuple(scoring[n] for n in order), tuple(values), share))
    return Explanation(of_query, of_document, score, tuple(matches), similarity_QL, rule != MAXSIM)


def _read(student: Student, text: str, role: Role) -> tuple[ReadText, Tokens]:
    try:
        found, tokens = read(student.tokenizer, text, role)
    except NoScoringTokenError as error:
        raise InputError(
            f"{role}: none of its tokens scores (student.skiplist leaves them all out); give another text"
        ) from error
    if not any(token.start is not None for token in found.tokens):
        raise InputError(f"{role}={text!r}: the text is empty, or nothing of it is left for the student")
    return found, tokens


def _embed(student: Student, tokens: Tokens) -> Embeddings:
    """Embeddings [1, L, D] on the CPU in float64; dropout is off for the time of the call."""
    model = student.model
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            embeddings = model(tokens.to(next(model.parameters()).device))
    finally:
        model.train(training)
    return Embeddings(embeddings.emb_NLD.cpu().double(), embeddings.mask_NL.cpu())


UNSEEN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
UNSEEN |= dict.fromkeys((*range(128, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
UNSEEN |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
"""Control characters, changes of direction and halves of surrogate pairs, and pictures of them."""

NAMES: dict[Kind, str] = {
    "text": "of the text",
    "unknown": "of the text but unknown to the vocabulary",
    "prompt": "of the prompt",
    "marker": "marker",
    "special": "special",
    "expansion": "expansion",
}


def counts(reading: ReadText) -> str:
    """How many tokens a text has and what they are there for, what does not score, and what is cut."""
    kinds = [token.kind for token in reading.tokens]
    parts = [f"{kinds.count(kind)} {name}" for kind, name in NAMES.items() if kind in kinds]
    sentences = [f"{reading.role}: {_tokens(len(kinds))} of at most {reading.length}: {', '.join(parts)}"]
    skipped = len(kinds) - len(reading.scoring)
    if skipped:
        sentences.append(f"{_tokens(skipped)} skipped (not scoring)")
    if reading.cut:
        verb = "is" if reading.cut == 1 else "are"
        sentences.append(f"{_tokens(reading.cut)} of the {reading.role} {verb} cut{reading.cut_side}")
    return "; ".join(sentences)


def visible(text: str) -> str:
    """The text with pictures of control characters in their place, which a terminal would obey."""
    return text.translate(UNSEEN)


def headline(explanation: Explanation) -> str:
    """The score and what it is the sum or the mean of."""
    documents = len(explanation.document.scoring)
    together = "mean" if explanation.mean else "sum"
    return (
        f"score {explanation.score:.4f}: the {together} over {_tokens(len(explanation.matches))} of the query of the "
        f"highest similarity with one of {_tokens(documents)} of the document"
    )


def signs(explanation: Explanation) -> str:
    """What the signs in the labels mean, as far as there are any."""
    labels = [
        token.label for reading in (explanation.query, explanation.document) for token in reading.tokens
    ]
    meanings = {
        r"…": "… : the word goes on",
        r"\(\d+/\d+\)": "(1/3): the first of three tokens that share a character",
        r" #\d+$": "#2: the second token of this text with that name",
    }
    return "; ".join(meaning for sign, meaning in meanings.items() if any(re.search(sign, x) for x in labels))


def share(match: Match) -> str:
    """A token's part of the score in percent; a dash where the score is not positive."""
    return "–" if match.share is None else f"{match.share:.1%}"


def _tokens(number: int) -> str:
    return f"{number} token" if number == 1 else f"{number} tokens"
