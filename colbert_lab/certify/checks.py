"""The checks: each computes a micro-batch in two ways and says how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from colbert_lab.base.types import Embeddings
from colbert_lab.certify import as_trained
from colbert_lab.certify.as_trained import FULL, Embedded, Step
from colbert_lab.certify.micro_batch import MicroBatch
from colbert_lab.certify.plain_scores import plain_maxsim
from colbert_lab.model.backends import maxsim_blocked

BLOCKS = 8  # that a micro-batch is scored in at least
DROPOUT_SEED = 7


@dataclass(frozen=True)
class Difference:
    """One comparison.

    Attributes:
        check: its name.
        what: which numbers.
        value: how far they are apart at most.
        tolerance: key below ``certify.tolerance``; None where they have to be the same bits.
    """

    check: str
    what: str
    value: float
    tolerance: str | None


def chunking(micro: MicroBatch) -> Iterator[Difference]:
    """Sorted, padded chunks against one text at a time."""
    name = "chunking"
    ours = micro.embedded.texts(micro.batch, micro.examples)
    theirs = micro.truth.queries, micro.truth.documents
    pairs = [(mine[text], side[text]) for mine, side in zip(ours, theirs, strict=True) for text in side]
    apart = largest_difference([a for a, _ in pairs], [b for _, b in pairs])
    yield Difference(name, "embeddings", apart, "float32.embeddings")
    found = zip(micro.scores(micro.embedded), micro.true_scores, strict=True)
    yield Difference(name, "scores", worst([relative(a, b) for a, b in found]), "float32.scores")
    yield from _steps(name, micro.step(FULL), Step(micro.truth.loss, micro.truth.gradients), "float32")


def _steps(name: str, ours: Step, theirs: Step, group: str, of: str = "") -> Iterator[Difference]:
    yield Difference(name, f"{of}loss", loss_difference(ours.loss, theirs.loss), f"{group}.loss")
    apart, turned = gradient_difference(ours.gradients, theirs.gradients)
    yield Difference(name, f"{of}gradient", apart, f"{group}.gradient")
    yield Difference(name, f"{of}gradient: 1 - cosine", turned, f"{group}.cosine")


def recomputation(micro: MicroBatch) -> Iterator[Difference]:
    """Activations computed again against kept ones, in the precision of the config: the same bits."""
    own, other = micro.step(micro.precision), micro.step_with(micro.precision, not micro.recompute)
    name, steps = "recomputation", {"": (own, other)}
    if micro.dropout:
        again, kept = (micro.step_with(micro.precision, each, DROPOUT_SEED) for each in (True, False))
        steps["dropout: "] = again, kept
    for of, (again, kept) in steps.items():
        yield Difference(name, f"{of}loss", float(again.loss != kept.loss), None)
        yield Difference(name, f"{of}gradient: other bits", same_bits(again.gradients, kept.gradients), None)


def maxsim(micro: MicroBatch) -> Iterator[Difference]:
    """The MaxSim of training against its formula, whatever ``trainer.maxsim`` is; ours also in many small blocks.

    The formula gets the embeddings that training scores, in float64; every score weighs differently in the gradient.
    """
    queries, documents = micro.embedded.texts(micro.batch, micro.examples)
    names, scoring = list(documents), micro.phase.scoring
    rows = [[names.index(text) for text in example.documents] for example in micro.examples]
    per_pair = micro.embedded.queries.mask_NL.numel() * sum(c.mask_NL.numel() for c in micro.embedded.chunks)
    ways: dict[str, tuple[Callable[[Embedded], Tensor], list[list[int]]]] = {}
    if micro.lists:
        ways["lists"] = partial(as_trained.list_scores, batch=micro.batch, scoring=scoring), rows
    everything = [list(range(len(names)))] * len(micro.examples)
    matrix = partial(as_trained.matrix_scores, batch=micro.batch, examples=micro.examples)
    ways["batch"] = partial(matrix, scoring=scoring), everything
    if scoring.all_pairs is maxsim_blocked:
        blocked = partial(maxsim_blocked, block_values=max(1, per_pair // BLOCKS))
        ways["batch in blocks"] = partial(matrix, scoring=replace(scoring, all_pairs=blocked)), everything
    for of, (way, wanted) in ways.items():
        embedded = _leaves(micro.embedded)
        scores = way(embedded)
        weights = torch.linspace(0.1, 1.0, scores.numel(), device=scores.device).view(scores.shape)
        (scores * weights).sum().backward()
        dtype = micro.reference.dtype
        plain_q = [queries[e.query].to(dtype, copy=True).requires_grad_() for e in micro.examples]
        plain_d = [documents[text].to(dtype, copy=True).requires_grad_() for text in names]
        pairs = zip(plain_q, wanted, strict=True)
        formula = partial(plain_maxsim, score=scoring.score)
        plain = torch.stack([torch.stack([formula(q, plain_d[n]) for n in row]) for q, row in pairs])
        (plain * weights.to(dtype)).sum().backward()
        apart = relative(scores.detach(), plain.detach())
        yield Difference("maxsim", f"{of}: scores", apart, "float32.scores")
        ours = _gradients(embedded, as_trained.columns(micro.batch, micro.examples))
        turned, _ = gradient_difference(ours, _numbered("q", plain_q) | _numbered("d", plain_d))
        yield Difference("maxsim", f"{of}: gradient", turned, "float32.gradient")


def _leaves(embedded: Embedded) -> Embedded:
    """The same embeddings, each with a gradient of its own."""
    parts = (embedded.queries, *embedded.chunks)
    made = [Embeddings(each.emb_NLD.detach().clone().requires_grad_(), each.mask_NL) for each in parts]
    return Embedded(made[0], made[1:])


def _gradients(embedded: Embedded, places: list[int]) -> dict[str, Tensor]:
    """Gradients of the scoring tokens of each text, and of everything else together."""
    texts: list[Tensor] = []
    rest = []
    for each in (embedded.queries, *embedded.chunks):
        gradient = torch.zeros_like(each.emb_NLD) if each.emb_NLD.grad is None else each.emb_NLD.grad
        rest.append(gradient[~each.mask_NL].flatten())
        texts += [row[mask] for row, mask in zip(gradient, each.mask_NL, strict=True)]
    n_queries = len(embedded.queries.mask_NL)
    found = {f"q{n}": text for n, text in enumerate(texts[:n_queries])}
    found |= {f"d{n}": texts[n_queries + place] for n, place in enumerate(places)}
    return found | {"padding": torch.cat(rest)}  # the formula has none, so this has to be zero


def _numbered(letter: str, texts: list[Tensor]) -> dict[str, Tensor]:
    return {f"{letter}{n}": text.grad for n, text in enumerate(texts) if text.grad is not None}


def attention(micro: MicroBatch) -> Iterator[Difference]:
    """Implementations of attention that the backbone can take here against eager attention."""
    others = as_trained.implementations(micro.model, micro.precision, micro.batch.keys_N.device)
    for name, precision in others.items():
        group = "float32" if precision == FULL else "precision"
        found = []
        for implementation in ("eager", name):
            # Some implementations find out only here what they cannot do.
            with suppress(NotImplementedError), as_trained.attention(micro.model, implementation) as there:
                if there:
                    embedded = micro.embed(precision)
                    step = micro.step_with(precision, micro.recompute)
                    found.append((embedded.texts(micro.batch, micro.examples), step))
        if len(found) < 2:
            continue
        (plain_texts, plain), (texts, ours) = found
        pairs = [(b[text], a[text]) for a, b in zip(plain_texts, texts, strict=True) for text in a]
        apart = largest_difference([a for a, _ in pairs], [b for _, b in pairs])
        if group == "float32":
            yield Difference("attention", f"{name}: embeddings", apart, "float32.embeddings")
        yield from _steps("attention", ours, plain, group, f"{name}: ")


def precision(micro: MicroBatch) -> Iterator[Difference]:
    """The precision of the config against float32."""
    name = group = "precision"
    embedded = micro.embed(micro.precision)
    ours, full = (each.texts(micro.batch, micro.examples) for each in (embedded, micro.whole))
    pairs = [(a[text], b[text]) for a, b in zip(ours, full, strict=True) for text in b]
    most, mean = token_cosines([a for a, _ in pairs], [b for _, b in pairs])
    yield Difference(name, "worst token: 1 - cosine", most, f"{group}.worst_token")
    yield Difference(name, "mean token: 1 - cosine", mean, f"{group}.mean_token")
    both = list(zip(micro.scores(micro.pooled(embedded)), micro.scores(micro.embedded), strict=True))
    yield Difference(name, "scores", worst([relative(*each) for each in both]), f"{group}.scores")
    yield Difference(name, "order: pairs swapped", worst([swapped(*each) for each in both]), f"{group}.order")
    yield from _steps(name, micro.step(micro.precision), micro.step(FULL), group)


def gathering(one: Step, two: Step) -> Iterator[Difference]:
    """Two processes that share a micro-batch against one that has it all."""
    yield from _steps("gathering", two, one, "float32")


ALONE: dict[str, Callable[[MicroBatch], Iterator[Difference]]] = {
    check.__name__: check for check in (chunking, recomputation, maxsim, attention, precision)
}
"""Checks that one process makes of one micro-batch."""
CHECKS = (*ALONE, "gathering")


def largest(found: list[Difference]) -> list[Difference]:
    """The largest of each kind, in the order in which they were first met."""
    kinds: dict[tuple[str, str], Difference] = {}
    for each in found:
        before = kinds.get((each.check, each.what))
        if before is None or not (each.value <= before.value or math.isnan(before.value)):
            kinds[each.check, each.what] = each
    return list(kinds.values())


def relative(ours: Tensor, truth: Tensor) -> float:
    """Largest difference as a share of the largest true value; infinite where the shapes differ."""
    if ours.shape != truth.shape:
        return math.inf
    apart = _wide(ours) - _wide(truth)
    return _share(float(apart.abs().max()), float(truth.abs().max()))


def loss_difference(ours: float, truth: float) -> float:
    """Difference of losses in nats, as a share of the true one where that is above 1."""
    return abs(ours - truth) / max(1.0, abs(truth))


def gradient_difference(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> tuple[float, float]:
    """How far a whole gradient is from the true one.

    Args:
        ours: gradient of each parameter; those without one are zero.
        truth: the same, on the same device.

    Returns:
        The norm of the difference as a share of the true norm, and 1 - the cosine of the two.
    """
    apart = norm = own = product = 0.0
    for name in ours.keys() | truth.keys():
        a, b = (_wide(side[name]) if name in side else None for side in (ours, truth))
        if a is not None:
            own += float(a.square().sum())
        if b is not None:
            norm += float(b.square().sum())
        if a is not None and b is not None:
            apart += float((a - b).square().sum())
            product += float((a * b).sum())
        else:
            apart += float((a if a is not None else b).square().sum())  # type: ignore[union-attr]
    cosine = product / math.sqrt(own * norm) if own * norm != 0 else float(own == norm)
    return _share(math.sqrt(apart), math.sqrt(norm)), 1 - cosine


def same_bits(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """Share of values that are not the same bits (by value: NaN equals nothing); 1 where names differ."""
    if ours.keys() != truth.keys():
        return 1.0
    total = sum(value.numel() for value in truth.values())
    return sum(int((ours[name] != value).sum()) for name, value in truth.items()) / max(1, total)


def token_cosines(ours: Sequence[Tensor], truth: Sequence[Tensor]) -> tuple[float, float]:
    """1 - cosine of each token with the true one, at worst and on average.

    Args:
        ours: embeddings [L, D] of each text.
        truth: the same.
    """
    if [text.shape for text in ours] != [text.shape for text in truth]:
        return math.inf, math.inf
    a, b = _wide(torch.cat(list(ours))), _wide(torch.cat(list(truth)))
    away = 1 - torch.nn.functional.cosine_similarity(a, b, dim=-1)
    return float(away.max()), float(away.mean())


def largest_difference(ours: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Largest distance of a token's vector from the true one (these have length 1), over texts [L, D]."""
    if [text.shape for text in ours] != [text.shape for text in truth]:
        return math.inf
    apart = [float((_wide(a) - _wide(b)).norm(dim=-1).max()) for a, b in zip(ours, truth, strict=True)]
    return worst(apart)


def swapped(ours: Tensor, truth: Tensor) -> float:
    """Share of pairs in a row that are in another order, over all rows (Kendall's tau is 1 - 2 times this).

    Args:
        ours: scores [B, N].
        truth: the same.
    """
    if ours.shape != truth.shape:
        return math.inf
    first, second = torch.triu_indices(truth.shape[1], truth.shape[1], offset=1, device=truth.device)
    a, b = (torch.sign(scores[:, first] - scores[:, second]) for scores in (ours, truth))
    pairs = int((b != 0).sum())  # the truth says nothing of ties
    return int(((a != b) & (b != 0)).sum()) / max(1, pairs)


def worst(values: Sequence[float]) -> float:
    """The largest; not a number where one of them is not."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


def _wide(values: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _share(part: float, whole: float) -> float:
    return part / whole if whole != 0 else 0.0 if part == 0 else math.inf
