"""Loss terms as their formulas are written, one query at a time, for ``task=certify``.

Nothing here is shared with what training computes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from colbert_lab.training.objectives.term import PlainQuery, Side

CONSTANT = 1e-6  # a list whose scores are nearer to each other than this has no order to normalise


def plain_divergence(query: PlainQuery, teacher: Side, student: Side, student_first: bool) -> Tensor:
    """KL(teacher || student), or KL(student || teacher), over the query's own documents."""
    own = torch.stack([query.score(text) for text in query.example.documents])
    given = torch.as_tensor(query.example.scores).to(own)
    log_p, log_q = _log_softmax(given, teacher), _log_softmax(own, student)
    if student_first:
        log_p, log_q = log_q, log_p
    return (log_p.exp() * (log_p - log_q)).sum()


def plain_infonce(
    query: PlainQuery,
    temperature: float | Tensor,
    false_negative_ratio: float | None,
    own_negatives: bool,
    batch_negatives: bool,
) -> Tensor:
    """-log(exp(positive) / sum of exp), over the positive and what it is contrasted with."""
    negatives = _negatives(query, false_negative_ratio, own_negatives, batch_negatives)
    logits = torch.stack([query.score(text) for text in (query.example.documents[0], *negatives)])
    return -_log_shares(logits / temperature)[0]


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


def _negatives(
    query: PlainQuery, false_negative_ratio: float | None, own_negatives: bool, batch_negatives: bool
) -> list[str]:
    """The documents that a query's positive is contrasted with."""
    example = query.example
    positive, own = example.documents[0], set(example.documents[1:])
    out = {positive, *query.known}
    if not own_negatives:
        out |= own
    if false_negative_ratio is not None and example.scores is not None:
        teacher = torch.as_tensor(example.scores)
        # A ratio of 0.9 asks for a tenth of the positive's score less: of -2 that is -2.2.
        limit = teacher[0] * (false_negative_ratio if teacher[0] > 0 else 2 - false_negative_ratio)
        above = teacher > limit
        out |= {text for text, drop in zip(example.documents, above.tolist(), strict=True) if drop}
    allowed = set(query.everything) if batch_negatives else own
    return [text for text in query.everything if text in allowed and text not in out]
