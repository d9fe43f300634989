"""A micro-batch computed the plain way: one text at a time, every formula as it is written, in float64.

Nothing here is shared with training but the weights, the backbone and the tokenizer: no batch, no padding, no chunk, no
mask over padding, no function of :mod:`colbert_lab.model.maxsim`; of a loss term its own reference, see
:meth:`colbert_lab.training.objectives.term.Term.reference`. Back-propagation goes by the chain rule through the
embeddings: first the loss to every embedding, then text by text to the parameters, so that memory holds the activations
of one text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from colbert_lab.base.types import Role, Tokens
from colbert_lab.certify.plain_scores import PairScores, Texts
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Example
from colbert_lab.training.data import Batch
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.term import Learned, Pairs, PlainQuery, Scored, Term, scores_alone

Pool = Callable[[str, Tensor], Tensor]
"""Pools the tokens of a document, which is given with its text."""


@dataclass(frozen=True)
class Truth:
    """What a micro-batch gives.

    Attributes:
        queries: text to the embeddings of its scoring tokens [Q, D].
        documents: the same of documents, pooled where they are [L, D].
        lists: scores of each query against its own documents [B, K].
        matrix: scores of each query against all different documents, in the order of ``documents`` [B, N]; None where
            the objective does not ask for it.
        loss: mean over queries.
        gradients: of every parameter that has one, by name; ``learned.<term>_<name>`` of what terms learn.
    """

    queries: Texts
    documents: Texts
    lists: Tensor
    matrix: Tensor | None
    loss: float
    gradients: dict[str, Tensor]


class Reference:
    """Computes micro-batches the plain way, without dropout and with eager attention.

    Args:
        model: the student's network; it is copied.

    Attributes:
        dtype: float64, or float32 where backbone or device cannot compute in float64.
    """

    def __init__(self, model: ColBERT) -> None:
        self.model = copy.deepcopy(model).eval()
        self.model.backbone.set_attn_implementation("eager")
        self.dtype = torch.float64
        ids = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
        one = Tokens(ids, torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool))
        try:
            self.model.double()
            with torch.no_grad():
                self.embed(one)
        except (RuntimeError, TypeError, NotImplementedError):
            self.model.float()
            self.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.model.parameters()).device

    def embed(self, text: Tokens) -> Tensor:
        """The embeddings of the scoring tokens of one text [T, D], of length 1."""
        hidden_LH = self.model.backbone(
            input_ids=text.input_ids_NL, attention_mask=text.attention_mask_NL
        ).last_hidden_state[0]
        if self.model.pooling is None:
            hidden_LH = hidden_LH[text.score_mask_NL[0]]
        elif self.model.pooling == "mean":
            hidden_LH = hidden_LH[text.attention_mask_NL[0].bool()].mean(dim=0, keepdim=True)
        else:
            hidden_LH = hidden_LH[:1]
        emb_LD: Tensor = self.model.head(hidden_LH)
        return emb_LD / emb_LD.square().sum(dim=-1, keepdim=True).sqrt()

    def truth(
        self,
        examples: Sequence[Example],
        tokenizer: StudentTokenizer,
        objective: Objective,
        near: tuple[Texts, Texts] | None = None,
        known: Mapping[str, Collection[str]] | None = None,
        batch: Batch | None = None,
        pool: Pool | None = None,
    ) -> Truth:
        """Embeddings, scores, loss and gradients of a micro-batch.

        Args:
            examples: queries with their documents.
            tokenizer: of the phase.
            objective: of the phase.
            near: embeddings of queries and documents as another way computed them. Where two document tokens are as
                good as equal for a query token, the gradient goes to the one that is best there: either is a
                gradient of the maximum.
            known: see :func:`plain_loss`.
            batch: see there.
            pool: pools the tokens of documents; None leaves them whole.
        """
        tokens: dict[tuple[Role, str], Tokens] = {}
        for example in examples:
            for role, text in (("query", example.query), *(("document", text) for text in example.documents)):
                key: tuple[Role, str] = (role, text)  # type: ignore[assignment]
                if key not in tokens:
                    tokens[key] = tokenizer([text], key[0]).to(self.device)
        leaves: dict[tuple[Role, str], Tensor] = {}
        with torch.no_grad():
            for key, text_tokens in tokens.items():
                leaves[key] = self.embed(text_tokens).requires_grad_()
        how = tokenizer.rules.score
        scored = {
            key: pool(key[1], leaf) if pool is not None and key[0] == "document" else leaf
            for key, leaf in leaves.items()
        }
        scores = PairScores(scored, near, how)
        cut = [
            scores if dim == self.model.dim else PairScores(scored, near, how, dim) for dim in self.model.dims
        ]
        logarithms = {
            (name, what): torch.tensor(start, dtype=self.dtype, device=self.device).log().requires_grad_()
            for name, what, start in objective.learned
        }
        learned: dict[str, dict[str, Tensor]] = {}
        for (name, what), logarithm in logarithms.items():
            learned.setdefault(name, {})[what] = logarithm.exp()
        more = learned, known, batch
        losses = [plain_loss(objective, examples, each.score, *more, each.similarities) for each in cut]
        loss = torch.stack(losses).mean()
        loss.backward()
        self.model.zero_grad(set_to_none=True)
        for key, text_tokens in tokens.items():
            if leaves[key].grad is not None:
                self.embed(text_tokens).backward(leaves[key].grad)
        gradients = {
            name: value.grad for name, value in self.model.named_parameters() if value.grad is not None
        }
        self.model.zero_grad(set_to_none=True)
        gradients |= {
            f"learned.{name}_{what}": logarithm.grad
            for (name, what), logarithm in logarithms.items()
            if logarithm.grad is not None
        }
        documents = {text: value.detach() for (role, text), value in scored.items() if role == "document"}
        return Truth(
            {text: value.detach() for (role, text), value in leaves.items() if role == "query"},
            documents,
            scores.table([(e.query, e.documents) for e in examples]),
            scores.table([(e.query, list(documents)) for e in examples]) if objective.all_pairs else None,
            float(loss.detach()),
            gradients,
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
    """Plain scores in the places where training has its own, and the teacher's as exact as they are.

    So a term of somebody's own sees one dtype on both sides, as in training; losses of torch refuse two.
    """
    if batch.teacher_BK is not None:
        first = score(examples[0].query, examples[0].documents[0])
        batch = replace(batch, teacher_BK=batch.teacher_BK.to(first.dtype))
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
