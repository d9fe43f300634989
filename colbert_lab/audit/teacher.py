"""Whether a teacher's scores say anything at the configured normalisation and temperature."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch

from colbert_lab.audit.training_text import draw
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.training.objectives.distillation import FLAT, ONE_HOT, log_distribution, normalised_entropy
from colbert_lab.training.objectives.term import Normalisation, Side

TOP, UNIFORM = 0.99, 0.99  # a list above: one document has nearly everything; all have nearly the same
BINS = 20
TEMPERATURES = (2.0, 1.0, 0.5, 0.25, 0.1, 0.05)
"""Tried with every normalisation, to say what would help."""
BLOCK = 4096  # lists at once


@dataclass(frozen=True)
class Teacher:
    """What a teacher's distributions over the documents of a query are like.

    Attributes:
        source: name of the lists.
        key: config key of the settings.
        normalisation: of the scores.
        temperature: after it.
        n_way: documents of a list that training draws; None for whole lists.
        lists: how many were looked at.
        of: how many there are.
        entropy: mean normalised entropy: 0 is one-hot, 1 is uniform.
        one_hot: share of lists whose top document has more than 0.99 of the probability.
        uniform: share of lists whose normalised entropy is above 0.99.
        constant: ids of queries whose scores are all equal.
        lowest: raw score.
        highest: raw score.
        shortest: documents of a list.
        median: documents of a list.
        longest: documents of a list.
        edges: of the entropy histogram.
        counts: lists in each bin.
        alternatives: mean entropies with other settings.
        verdict: what it means, and what to do.
    """

    source: str
    key: str
    normalisation: str
    temperature: float
    n_way: int | None
    lists: int
    of: int
    entropy: float
    one_hot: float
    uniform: float
    constant: list[str]
    lowest: float
    highest: float
    shortest: int
    median: float
    longest: int
    edges: list[float]
    counts: list[int]
    alternatives: list[dict[str, float | str]]
    verdict: str


def audit_teacher(
    lists: ScoredLists, side: Side, *, key: str, n_way: int | None, most: int | None, seed: int
) -> Teacher:
    """Look at the score lists of a source.

    Args:
        lists: the source.
        side: normalisation and temperature of the teacher.
        key: config key of these two.
        n_way: documents of a list that training draws, see ``ScoredLists.pick``; None for all.
        most: lists to look at, drawn at random; None for all. Constant lists, lengths and the score range are of these
            too.
        seed: of both draws.
    """
    chosen = draw(len(lists), most, seed, 0)
    numbers = list(range(len(lists))) if chosen is None else chosen.tolist()
    whole = [np.asarray(lists.scores[n], dtype=np.float32) for n in numbers]
    generator = np.random.default_rng([seed, 4])
    drawn = [
        scores if n_way is None or n_way >= len(scores) else scores[lists.pick(scores, n_way, generator)]
        for scores in whole
    ]
    entropies, tops = _distributions(drawn, side)
    histogram, edges = np.histogram(np.clip(entropies, 0, 1), bins=BINS, range=(0, 1))
    constant = [lists.query_ids[n] for n, s in zip(numbers, whole, strict=True) if s.min() == s.max()]
    sizes = np.array([len(scores) for scores in whole])
    alternatives: list[dict[str, float | str]] = [
        {
            "normalisation": normalisation,
            "temperature": temperature,
            "entropy": float(_distributions(drawn, Side(normalisation, temperature))[0].mean()),
        }
        for normalisation in get_args(Normalisation)
        for temperature in TEMPERATURES
    ]
    found = Teacher(
        lists.name,
        key,
        side.normalisation,
        side.temperature,
        n_way,
        len(numbers),
        len(lists),
        float(entropies.mean()),
        float((tops > TOP).mean()),
        float((entropies > UNIFORM).mean()),
        constant,
        float(min(s.min() for s in whole)),
        float(max(s.max() for s in whole)),
        int(sizes.min()),
        float(np.median(sizes)),
        int(sizes.max()),
        edges.round(4).tolist(),
        histogram.tolist(),
        alternatives,
        "",
    )
    return replace(found, verdict=_verdict(found))


def _distributions(lists: Sequence[np.ndarray], side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Normalised entropy and top probability of each list; lists of one length are computed together."""
    of_length: defaultdict[int, list[int]] = defaultdict(list)
    for n, scores in enumerate(lists):
        of_length[len(scores)].append(n)
    entropies, tops = np.empty(len(lists)), np.empty(len(lists))
    for same in of_length.values():
        for start in range(0, len(same), BLOCK):
            block = same[start : start + BLOCK]
            scores_BK = torch.from_numpy(np.stack([lists[n] for n in block]))
            entropies[block] = normalised_entropy(scores_BK, side).numpy()
            tops[block] = log_distribution(scores_BK, side).exp().amax(dim=-1).numpy()
    return entropies, tops


def _verdict(found: Teacher) -> str:
    here = f"{found.key} (normalisation {found.normalisation}, temperature {found.temperature:g}): {found.source}"
    if found.entropy > FLAT or found.entropy < ONE_HOT:
        kind, what = (
            ("almost uniform", "nothing") if found.entropy > FLAT else ("almost one-hot", "only a label")
        )
        better = min(found.alternatives, key=lambda each: abs(float(each["entropy"]) - 0.5))
        advice = (
            f"set normalisation={better['normalisation']} temperature={better['temperature']:g} there "
            f"(entropy {better['entropy']:.2f})"
            if ONE_HOT <= float(better["entropy"]) <= FLAT
            else "no normalisation and temperature helps: use another teacher"
        )
        return f"{here} is {kind} (mean entropy {found.entropy:.4f}), so {what} is taught and training stops; {advice}"
    odd = max(found.one_hot, found.uniform)
    if odd > 0.1:
        which, move = (
            ("one-hot", "raise the temperature")
            if found.one_hot >= found.uniform
            else ("uniform", "lower the temperature")
        )
        return f"{here}: {odd:.0%} of lists are {which} (mean entropy {found.entropy:.2f}); {move}, or filter them"
    return f"{here} is neither flat nor one-hot: mean entropy {found.entropy:.2f}"
