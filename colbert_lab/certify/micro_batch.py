"""A micro-batch of a phase, computed as training does it and the plain way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from torch import Tensor

from colbert_lab.certify import as_trained
from colbert_lab.certify.as_trained import FULL, Embedded, Step
from colbert_lab.certify.reference import Reference, Truth
from colbert_lab.model.colbert import ColBERT
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.prepare import PreparedPhase


def positives_of(queries: Sequence[str], sources: Sequence[Examples]) -> dict[str, set[str]]:
    """Texts of the positives of some queries in all training data, without the index that training has of them."""
    found: dict[str, set[str]] = {query: set() for query in queries}
    query_of = {text_key(query): query for query in queries}
    for source in sources:
        keys = source.query_keys()
        pairs = np.flatnonzero(np.isin(keys, list(query_of)))
        for key, text in zip(keys[pairs].tolist(), source.positive_texts(pairs), strict=True):
            found[query_of[key]].add(text)
    return found


class MicroBatch:
    """A micro-batch of a phase, and what the checks compute of it; each thing once.

    Args:
        phase: as :func:`~colbert_lab.certify.as_trained.cut_phase` made it.
        k: number of the micro-batch.
        model: the student's network.
        reference: the same, computed the plain way.
        precision: what the config trains in, Lightning's name.
        recompute: whether the phase computes activations again.
    """

    def __init__(
        self,
        phase: PreparedPhase,
        k: int,
        model: ColBERT,
        reference: Reference,
        precision: str,
        recompute: bool,
    ) -> None:
        self.phase = phase
        self.k = k
        self.model = model
        self.reference = reference
        self.precision = precision
        self.recompute = recompute
        self.examples = phase.batches.examples(k)
        self.batch = phase.batches[k].to(next(model.parameters()).device)
        self.matrix = phase.objective.all_pairs
        self.lists = phase.objective.lists
        self._steps: dict[str, Step] = {}

    @cached_property
    def dropout(self) -> bool:
        """Whether training draws random numbers."""
        return as_trained.dropout_matters(self.phase, self.model, self.batch)

    @cached_property
    def embedded(self) -> Embedded:
        """In float32."""
        return self.embed(FULL)

    @cached_property
    def truth(self) -> Truth:
        """The plain way."""
        near = self.embedded.texts(self.batch, self.examples)
        known = positives_of([example.query for example in self.examples], self.phase.batches.sources)
        return self.reference.truth(
            self.examples, self.phase.tokenizer, self.phase.objective, near, known, self.batch
        )

    def embed(self, precision: str) -> Embedded:
        """As training does it."""
        return as_trained.embed(self.model, self.batch, self.phase.settings.token_budget, precision)

    def step(self, precision: str) -> Step:
        """As training does it, without dropout."""
        if precision not in self._steps:
            self._steps[precision] = self.step_with(precision, self.recompute)
        return self._steps[precision]

    def step_with(self, precision: str, recompute: bool, dropout_seed: int | None = None) -> Step:
        """A step anew, with or without recomputation and dropout."""
        return as_trained.train_step(
            self.phase, self.model, self.batch, precision, recompute=recompute, dropout_seed=dropout_seed
        )

    def scores(self, embedded: Embedded) -> list[Tensor]:
        """The scores that the objective asks for: lists, everything against everything, or both."""
        found = [as_trained.list_scores(embedded, self.batch)] if self.lists else []
        if self.matrix:
            found.append(as_trained.matrix_scores(embedded, self.batch, self.examples, self.phase.all_pairs))
        return found

    @property
    def true_scores(self) -> list[Tensor]:
        """The same of the reference."""
        found = [self.truth.lists] if self.lists else []
        return found if self.truth.matrix is None else [*found, self.truth.matrix]
