"""A micro-batch computed the plain way: one text at a time, every formula as it is written, in float64.

Nothing here is shared with training but the weights, the backbone and the tokenizer: no batch, no padding, no chunk, no
mask over padding, no function of :mod:`colbert_lab.scoring` or :mod:`colbert_lab.objectives`. Back-propagation goes by
the chain rule through the embeddings: first the loss to every embedding, then text by text to the parameters, so that
memory holds the activations of one text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from colbert_lab.objectives.distillation import Side
from colbert_lab.objectives.mix import Mix
from colbert_lab.student.colbert import ColBERT
from colbert_lab.text.examples import Example
from colbert_lab.tokens.tokenizer import StudentTokenizer
from colbert_lab.types import Role, Tokens

CONSTANT = 1e-6  # a list whose scores are nearer to each other than this has no order to normalise
TIE = 1e-5  # similarities nearer than this may swap in float32
Texts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Truth:
    """What a micro-batch gives.

    Attributes:
        queries: text to the embeddings of its scoring tokens [Q, D].
        documents: the same of documents [L, D].
        lists: scores of each query against its own documents [B, K].
        matrix: scores of each query against all different documents, in the order of ``documents`` [B, N]; None where
            the objective does not ask for it.
        loss: mean over queries.
        gradients: of every parameter that has one, by name; ``log_temperature`` where it is learned.
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
        objective: Mix,
        near: tuple[Texts, Texts] | None = None,
    ) -> Truth:
        """Embeddings, scores, loss and gradients of a micro-batch.

        Args:
            examples: queries with their documents.
            tokenizer: of the phase.
            objective: of the phase.
            near: embeddings of queries and documents as another way computed them. Where two document tokens are as
                good as equal for a query token, the gradient goes to the one that is best there: either is a
                gradient of the maximum.
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
        scores = _Scores(leaves, near)
        log_temperature = None
        if objective.contrastive_weight > 0 and objective.contrastive.learnable:
            start = torch.tensor(objective.contrastive.temperature, dtype=self.dtype, device=self.device)
            log_temperature = start.log().requires_grad_()
        loss = plain_loss(objective, examples, scores.score, log_temperature)
        loss.backward()
        self.model.zero_grad(set_to_none=True)
        for key, text_tokens in tokens.items():
            if leaves[key].grad is not None:
                self.embed(text_tokens).backward(leaves[key].grad)
        gradients = {
            name: value.grad for name, value in self.model.named_parameters() if value.grad is not None
        }
        self.model.zero_grad(set_to_none=True)
        if log_temperature is not None and log_temperature.grad is not None:
            gradients["log_temperature"] = log_temperature.grad
        documents = {text: value.detach() for (role, text), value in leaves.items() if role == "document"}
        wanted = objective.contrastive_weight > 0
        return Truth(
            {text: value.detach() for (role, text), value in leaves.items() if role == "query"},
            documents,
            scores.table([(e.query, e.documents) for e in examples]),
            scores.table([(e.query, list(documents)) for e in examples]) if wanted else None,
            float(loss.detach()),
            gradients,
        )


class _Scores:
    """Scores of pairs of texts, each computed once."""

    def __init__(self, leaves: Mapping[tuple[Role, str], Tensor], near: tuple[Texts, Texts] | None) -> None:
        self.leaves = leaves
        self.near = near
        self.known: dict[tuple[str, str], Tensor] = {}

    def score(self, query: str, document: str) -> Tensor:
        pair = query, document
        if pair not in self.known:
            choice = None
            if self.near is not None:
                like = self.leaves["query", query]
                near_q, near_d = (side[text].to(like) for side, text in zip(self.near, pair, strict=True))
                choice = (near_q @ near_d.T).argmax(dim=1)
            self.known[pair] = plain_maxsim(
                self.leaves["query", query], self.leaves["document", document], choice
            )
        return self.known[pair]

    def table(self, rows: Iterable[tuple[str, Sequence[str]]]) -> Tensor:
        found = [torch.stack([self.score(query, text).detach() for text in texts]) for query, texts in rows]
        return torch.stack(found)


def plain_maxsim(query_QD: Tensor, document_LD: Tensor, choice_Q: Tensor | None = None) -> Tensor:
    """Khattab & Zaharia 2020, equation 3: sum over query tokens of the largest inner product with a document token.

    Args:
        query_QD: scoring tokens of the query.
        document_LD: scoring tokens of the document.
        choice_Q: document token of each query token that gets the gradient where it is within :data:`TIE` of the best.
    """
    similarity_QL = query_QD @ document_LD.T
    best_Q, at_Q = similarity_QL.max(dim=1)
    if choice_Q is None or len(choice_Q) != len(at_Q) or bool((choice_Q >= similarity_QL.shape[1]).any()):
        return best_Q.sum()
    chosen_Q = similarity_QL.gather(1, choice_Q[:, None])[:, 0]
    tied_Q = (choice_Q != at_Q) & (best_Q - chosen_Q < TIE)
    # The value of the best, with the gradient of the chosen.
    tied_best_Q = best_Q.detach() + chosen_Q - chosen_Q.detach()
    return torch.where(tied_Q, tied_best_Q, best_Q).sum()


def plain_loss(
    objective: Mix,
    examples: Sequence[Example],
    score: Callable[[str, str], Tensor],
    log_temperature: Tensor | None = None,
) -> Tensor:
    """The objective, query by query.

    Args:
        objective: its settings.
        examples: queries with their documents, the positive first.
        score: of a query and a document.
        log_temperature: logarithm of the learned temperature.
    """
    everything = list(dict.fromkeys(text for example in examples for text in example.documents))
    losses = []
    for example in examples:
        loss = torch.zeros((), dtype=torch.float64)
        if objective.distillation_weight > 0:
            settings = objective.distillation
            own = torch.stack([score(example.query, text) for text in example.documents])
            teacher = torch.as_tensor(example.scores).to(own)
            log_p, log_q = _log_softmax(teacher, settings.teacher), _log_softmax(own, settings.student)
            if settings.direction == "student_teacher":
                log_p, log_q = log_q, log_p
            divergence = (log_p.exp() * (log_p - log_q)).sum()
            loss = loss.to(own) + objective.distillation_weight * divergence
        if objective.contrastive_weight > 0:
            negatives = _negatives(objective, example, everything)
            logits = torch.stack([score(example.query, text) for text in (example.documents[0], *negatives)])
            temperature = (
                objective.contrastive.temperature if log_temperature is None else log_temperature.exp()
            )
            infonce = -_log_shares(logits / temperature)[0]
            loss = loss.to(infonce) + objective.contrastive_weight * infonce
        losses.append(loss)
    return torch.stack(losses).mean()


def _log_softmax(scores_K: Tensor, side: Side) -> Tensor:
    """Logarithms of a list's distribution: normalised, over temperature."""
    if side.normalisation == "minmax":
        spread = scores_K.max() - scores_K.min()
        scores_K = (scores_K - scores_K.min()) / spread.clamp_min(CONSTANT)
    elif side.normalisation == "zscore":
        centred = scores_K - scores_K.mean()
        variance = centred.square().mean()
        scores_K = centred / variance.clamp_min(CONSTANT**2).sqrt()
    else:
        assert side.normalisation == "none"
    return _log_shares(scores_K / side.temperature)


def _log_shares(logits: Tensor) -> Tensor:
    """log(exp(x) / sum of exp), with the largest taken out so that nothing overflows."""
    shifted = logits - logits.detach().max()
    return shifted - shifted.exp().sum().log()


def _negatives(objective: Mix, example: Example, everything: Sequence[str]) -> list[str]:
    """The documents that a query's positive is contrasted with."""
    settings = objective.contrastive
    positive, own = example.documents[0], set(example.documents[1:])
    out = {positive}
    if not settings.own_negatives:
        out |= own
    if settings.false_negative_ratio is not None and example.scores is not None:
        limit = settings.false_negative_ratio * torch.as_tensor(example.scores[:1])
        above = torch.as_tensor(example.scores) > limit
        out |= {text for text, drop in zip(example.documents, above.tolist(), strict=True) if drop}
    allowed = set(everything) if settings.batch_negatives else own
    return [text for text in everything if text in allowed and text not in out]
