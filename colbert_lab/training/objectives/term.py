"""What every loss term is, and the scores that it gets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple, NoReturn

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings
from colbert_lab.settings.allowed import number
from colbert_lab.settings.groups import LEAST_TEMPERATURE
from colbert_lab.text.rows.examples import Example, Examples
from colbert_lab.training.data import Batch

Normalisation = Literal["none", "minmax", "zscore"]
Learned = Mapping[str, Tensor]
"""Values of a term's learned scalars, by name."""


@dataclass(frozen=True)
class Side:
    """How one side's scores become a distribution.

    Attributes:
        normalisation: ``none``; ``minmax`` to [0, 1]; ``zscore`` to mean 0 and (population) deviation 1.
        temperature: divides the normalised scores; below 1 sharpens.
    """

    normalisation: Normalisation = "none"
    temperature: float = number(LEAST_TEMPERATURE, default=1.0)


class Pairs(NamedTuple):
    """Every query of this process against the documents of all processes.

    Attributes:
        scores_BN: with gradients.
        keys_N: a hash of each document's text; equal documents have equal keys.
        rows_BK: columns of each query's own documents, the positive first.
    """

    scores_BN: Tensor
    keys_N: Tensor
    rows_BK: Tensor


class Texts(NamedTuple):
    """What scores are made of: the token embeddings of this process' queries and of the documents of all processes.

    Attributes:
        queries: of unit length [B, Q, D], with gradients.
        documents: chunks of all documents [N_i, L_i, D], N together, with gradients.
        keys_N: see :class:`Pairs`.
        rows_BK: see there.
    """

    queries: Embeddings
    documents: Sequence[Embeddings]
    keys_N: Tensor
    rows_BK: Tensor


def scores_alone(*_: object) -> NoReturn:
    """In the place of token embeddings, where a term's own code is computed on plain scores."""
    raise InputError("objective: a term that reads token embeddings needs a reference for task=certify")


class Scored:
    """A micro-batch with the student's scores; each kind is computed when a term first asks for it.

    Args:
        batch: teacher scores, keys, and known positives: all of the training data where a term has negatives, else each
            query's own alone.
        lists: computes each query against its own documents [B, K], column 0 the positive (or the teacher's best).
        pairs: computes each query against all documents.
        tokens: the embeddings that both are computed from, where there are some.
    """

    def __init__(
        self,
        batch: Batch,
        lists: Callable[[], Tensor],
        pairs: Callable[[], Pairs],
        tokens: Callable[[], Texts] = scores_alone,
    ) -> None:
        self.batch = batch
        self._lists = lists
        self._pairs = pairs
        self._tokens = tokens
        self.logged: dict[str, Tensor] = {}

    def log(self, part: str, values: Tensor) -> None:
        """Have the mean of some values logged beside the term's own curve.

        Args:
            part: one of the term's ``parts``; the curve is ``train/<term>_<part>``.
            values: such as one a query; not a number where there is none.
        """
        self.logged[part] = values

    @cached_property
    def lists_BK(self) -> Tensor:  # noqa: N802
        """Each query against its own documents [B, K]."""
        return self._lists()

    @cached_property
    def pairs(self) -> Pairs:
        """Each query against all documents."""
        return self._pairs()

    @property
    def tokens(self) -> Texts:
        """Token embeddings, for scores that are neither of both."""
        return self._tokens()

    @property
    def own_BK(self) -> Tensor:  # noqa: N802
        """Each query against its own documents, from what was computed already where that is possible [B, K]."""
        if "lists_BK" not in vars(self) and "pairs" in vars(self):
            return self.pairs.scores_BN.gather(1, self.pairs.rows_BK)
        return self.lists_BK


@dataclass(frozen=True)
class PlainQuery:
    """A query of a micro-batch with nothing batched, for a term's reference.

    Attributes:
        example: the query, its documents (the positive first) and their teacher scores.
        everything: the different documents of the micro-batch.
        known: texts that are positives of the query in the training data, and so no negatives.
        score: of the query with a document, float64 where that can be had, with gradients.
        batch: the queries of the micro-batch, this one among them.
        tokens: the inner products of the query's scoring tokens with those of a document [Q, L], twice: as ``score``,
            and without gradients as training rounds them, to choose by between tokens that are as good as equal.
    """

    example: Example
    everything: Sequence[str]
    known: Collection[str]
    score: Callable[[str], Tensor]
    batch: Sequence[PlainQuery] = ()
    tokens: Callable[[str], tuple[Tensor, Tensor]] = scores_alone


def wide(scores: Tensor) -> Tensor:
    """The same scores in float32 or wider."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def check_lists(key: str, sources: Sequence[Examples], n_way: int | None) -> None:
    """Whether every query has two documents to compare.

    Args:
        key: where the term stands in the config, ``phases.<phase>.objective.<name>``.
        sources: the data.
        n_way: documents a query; None takes all.

    Raises:
        InputError: one has not.
    """
    phase = key.partition(".objective.")[0]
    if n_way == 1:
        raise InputError(f"{phase}.n_way=1: {key} compares at least 2 documents of a query")
    short = [source.name for source in sources if source.fewest == 1]
    if n_way is None and short:
        raise InputError(
            f"{phase}.data: {short[0]} has rows of only one document, and {key} compares at least 2 of a query; "
            "leave those rows out"
        )


def log_shares(logits: Tensor) -> Tensor:
    """log(exp(x) / sum of exp), for references, with the largest taken out so that nothing overflows."""
    shifted = logits - logits.detach().max()
    return shifted - shifted.exp().sum().log()


@dataclass(frozen=True, kw_only=True)
class Term:
    """A loss term. A subclass is a frozen dataclass whose fields are its settings, in ``objective.<name>``.

    Attributes:
        weight: of the term in the sum; 0 turns it off.
        teacher_scores: whether it needs teacher scores of each query's documents.
        all_pairs: whether it compares each query with the documents of all processes.
        tokens: whether it asks for :attr:`Scored.tokens`, which a student of one vector a text does not have.
        negatives: whether it takes documents for negatives, and so asks which others are positives of a query in the
            training data; who asks for all pairs does.
        parts: names of what :meth:`loss` logs beside itself with :meth:`Scored.log`.
    """

    weight: float = number(0, default=1.0)
    teacher_scores: ClassVar[bool] = False
    all_pairs: ClassVar[bool] = False
    tokens: ClassVar[bool] = False
    negatives: ClassVar[bool] = False
    parts: ClassVar[tuple[str, ...]] = ()

    def loss(self, scored: Scored, learned: Learned) -> Tensor:
        """The mean over this process' queries, a scalar.

        Args:
            scored: a micro-batch.
            learned: values of what :meth:`learned` names, with gradients.
        """
        raise NotImplementedError

    def learned(self) -> Mapping[str, float]:
        """Positive scalars to train too, by name, each with its start; training works on their logarithm."""
        return {}

    def side(self) -> Side | None:
        """How it reads teacher scores as a distribution, by its setting ``teacher``; None where it does not.

        A teacher that is almost uniform or one-hot in that way is refused before training.
        """
        return None

    def check(self, key: str, sources: Sequence[Examples], n_way: int | None, batch_size: int) -> None:
        """Whether a phase's data has what the term needs.

        Args:
            key: where the term stands in the config, ``phases.<phase>.objective.<name>``.
            sources: the data.
            n_way: documents a query; None takes all.
            batch_size: queries of a micro-batch over all processes.

        Raises:
            InputError: it has not.
        """
        unscored = [source.name for source in sources if not source.scored]
        if self.teacher_scores and unscored:
            raise InputError(
                f"{key}.weight: {unscored[0]} has no teacher scores, which this term needs; set it to 0, or choose "
                "data with scores"
            )
        if self.teacher_scores:
            check_lists(key, sources, n_way)

    def reference(self, query: PlainQuery, learned: Learned) -> Tensor | None:
        """The term for one query, each formula as it is written, for ``task=certify``; None where there is none."""
        return None
