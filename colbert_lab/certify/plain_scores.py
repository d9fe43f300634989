"""Scores as their formulas are written: MaxSim, pooled tokens, prefixes of embeddings; one pair of texts at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist
from torch import Tensor

from colbert_lab.base.types import Role
from colbert_lab.model.maxsim import MAXSIM, MEAN

TIE = 1e-5  # similarities nearer than this may swap in float32
Texts = Mapping[str, Tensor]


class PairScores:
    """Scores of pairs of texts, each computed once.

    Args:
        leaves: embeddings of the tokens that score, by role and text.
        near: see :meth:`colbert_lab.certify.reference.Reference.truth`.
        how: the student's score.
        dim: number of first dimensions that are scored; None for all.
    """

    def __init__(
        self,
        leaves: Mapping[tuple[Role, str], Tensor],
        near: tuple[Texts, Texts] | None,
        how: str,
        dim: int | None = None,
    ) -> None:
        self.leaves = leaves
        self.near = near
        self.how = how
        if dim is not None:
            self.leaves = {key: _cut(value, dim) for key, value in leaves.items()}
        if dim is not None and near is not None:
            queries, documents = ({text: _cut(emb, dim) for text, emb in side.items()} for side in near)
            self.near = queries, documents
        self.known: dict[tuple[str, str], Tensor] = {}

    def score(self, query: str, document: str) -> Tensor:
        """Of a query and a document."""
        pair = query, document
        if pair not in self.known:
            near_QL = self.near_similarities(query, document)
            choice = None if near_QL is None else near_QL.argmax(dim=1)
            sides = self.leaves["query", query], self.leaves["document", document]
            self.known[pair] = plain_maxsim(*sides, choice, self.how)
        return self.known[pair]

    def near_similarities(self, query: str, document: str) -> Tensor | None:
        """Similarities of tokens as another way computed them [Q, L]; None where that is not known."""
        if self.near is None:
            return None
        sides, like = zip(self.near, (query, document), strict=True), self.leaves["query", query]
        near_q, near_d = (side[text].to(like) for side, text in sides)
        return near_q @ near_d.T

    def similarities(self, query: str, document: str) -> tuple[Tensor, Tensor]:
        """See :attr:`colbert_lab.training.objectives.term.PlainQuery.tokens`.

        Rounding changes no number by more than :data:`TIE`.
        """
        exact_QL = self.leaves["query", query] @ self.leaves["document", document].T
        rounded_QL, near_QL = exact_QL.detach(), self.near_similarities(query, document)
        if near_QL is None or near_QL.shape != exact_QL.shape:
            return exact_QL, rounded_QL
        return exact_QL, rounded_QL + (near_QL - rounded_QL).clamp(-TIE, TIE)

    def table(self, rows: Iterable[tuple[str, Sequence[str]]]) -> Tensor:
        """Of queries, each with as many documents as the others, without gradients."""
        found = [torch.stack([self.score(query, text).detach() for text in texts]) for query, texts in rows]
        return torch.stack(found)


def _cut(emb_LD: Tensor, dim: int) -> Tensor:
    """The first dimensions of embeddings, each divided by its length."""
    kept_Ld = emb_LD[:, :dim]
    return kept_Ld / kept_Ld.square().sum(dim=1, keepdim=True).sqrt()


def plain_maxsim(
    query_QD: Tensor, document_LD: Tensor, choice_Q: Tensor | None = None, score: str = MAXSIM
) -> Tensor:
    """Khattab & Zaharia 2020, equation 3: sum over query tokens of the largest inner product with a document token.

    Args:
        query_QD: scoring tokens of the query.
        document_LD: scoring tokens of the document.
        choice_Q: document token of each query token that gets the gradient where it is within :data:`TIE` of the best.
        score: the student's; for MeanMaxSim it is the mean in place of the sum.
    """
    together = torch.mean if score == MEAN else torch.sum
    similarity_QL = query_QD @ document_LD.T
    best_Q, at_Q = similarity_QL.max(dim=1)
    if choice_Q is None or len(choice_Q) != len(at_Q) or bool((choice_Q >= similarity_QL.shape[1]).any()):
        return together(best_Q)
    chosen_Q = similarity_QL.gather(1, choice_Q[:, None])[:, 0]
    tied_Q = (choice_Q != at_Q) & (best_Q - chosen_Q < TIE)
    # The value of the best, with the gradient of the chosen.
    tied_best_Q = best_Q.detach() + chosen_Q - chosen_Q.detach()
    return together(torch.where(tied_Q, tied_best_Q, best_Q))


def plain_pooled(emb_LD: Tensor, factor: int, protected: int, like_LD: Tensor) -> Tensor:
    """Clavie et al. 2024: each of L // factor clusters of a document's tokens becomes their mean, here of length 1.

    Clusters are those of Ward linkage over cosine distances. The first tokens stay, and are not counted.

    Args:
        emb_LD: tokens of the document that score.
        factor: tokens a cluster; 1 leaves all as they are.
        protected: first tokens that stay.
        like_LD: the same tokens as another way computed them; they say what is together, which rounding may decide.
    """
    wanted = max(1, (len(emb_LD) - protected) // factor)
    if len(emb_LD) - protected <= wanted:
        return emb_LD
    distances = pdist(like_LD[protected:].double().cpu().numpy(), "cosine")
    labels = hierarchy.fcluster(hierarchy.ward(distances), wanted, "maxclust")
    rows = [torch.from_numpy(labels == label).to(emb_LD.device) for label in range(1, labels.max() + 1)]
    means = [emb_LD[protected:][together].mean(dim=0) for together in rows]
    return torch.cat([emb_LD[:protected], torch.stack([mean / mean.norm() for mean in means])])
