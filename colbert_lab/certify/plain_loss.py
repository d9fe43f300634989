"""The objective query by query, each term by its own reference.

A term without one is computed by its own code, on plain scores.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Example
from colbert_lab.training.data import Batch
from colbert_lab.training.objectives.term import (
    Learned,
    Objective,
    Pairs,
    PlainQuery,
    Scored,
    Term,
    scores_alone,
)


def plain_loss(
    objective: Objective,
    examples: Sequence[Example],
    score: Callable[[str, str], Tensor],
    learned: Mapping[str, Learned] | None = None,
    known: Mapping[str, Collection[str]] | None = None,
    batch: Batch | None = None,
    similarities: Callable[[str, str], tuple[Tensor, Tensor]] = scores_alone,
) -> Tensor:
    """The objective, query by query.

    Args:
        objective: its terms. One without a reference is computed by its own code, on these scores.
        examples: queries with their documents, the positive first.
        score: of a query and a document.
        learned: what terms learn, by their names.
        known: query to texts that are positives of it in the training data, and so no negatives.
        batch: the same micro-batch as training has it, for terms without a reference.
        similarities: of the tokens of a query and a document, see :attr:`PlainQuery.tokens`.
    """
    everything = list(dict.fromkeys(text for example in examples for text in example.documents))
    total = torch.zeros((), dtype=torch.float64)
    queries: list[PlainQuery] = []
    for example in examples:
        positives = (known or {}).get(example.query, ())
        own_score, own_tokens = partial(score, example.query), partial(similarities, example.query)
        queries.append(PlainQuery(example, everything, positives, own_score, queries, own_tokens))
    for name, term in objective.terms.items():
        own = (learned or {}).get(name, {})
        losses = [term.reference(query, own) for query in queries]
        plain = [loss for loss in losses if loss is not None]
        if len(plain) == len(losses):
            part = torch.stack(plain).mean()
        else:
            assert batch is not None
            part = term.loss(scored_plainly(batch, examples, score), own)
        total = total.to(part) + term.weight * part
    return total


def without_reference(objective: Objective) -> list[str]:
    """Names of the terms that bring no reference."""
    return [name for name, term in objective.terms.items() if type(term).reference is Term.reference]


def scored_plainly(batch: Batch, examples: Sequence[Example], score: Callable[[str, str], Tensor]) -> Scored:
    """Plain scores in the places where training has its own."""
    texts = {text_key(text): text for example in examples for text in example.documents}
    columns = [texts[int(key)] for key in batch.keys_N]

    def table(rows: Iterable[Sequence[str]]) -> Tensor:
        pairs = zip(examples, rows, strict=True)
        return torch.stack([torch.stack([score(each.query, text) for text in row]) for each, row in pairs])

    return Scored(
        batch,
        lambda: table(each.documents for each in examples),
        lambda: Pairs(table([columns] * len(examples)), batch.keys_N, batch.rows_BK),
    )
