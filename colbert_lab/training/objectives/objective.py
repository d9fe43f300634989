"""The weighted sum of terms that a phase minimises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.training.objectives.term import Side, Term

CURVES = ("loss", "gradient_norm", "list_mrr", "lr", "queries_per_second", "tokens_per_second", "peak_memory_gib",
          "peak_device_gib")  # fmt: skip
"""Names of curves beside those of terms."""
BY_DIM = "loss_dim"
"""How names of curves of the loss at a number of dimensions begin."""


@dataclass(frozen=True)
class Objective:
    """loss = sum of weight x term. ColBERT-AZ's card has 0.7 x distillation + 0.3 x contrastive.

    Attributes:
        terms: by the name that they have in the config and in the curves, those of weight 0 left out.
    """

    terms: Mapping[str, Term]

    def __post_init__(self) -> None:
        """Leave out what is turned off."""
        object.__setattr__(
            self, "terms", {name: term for name, term in self.terms.items() if term.weight > 0}
        )
        if not self.terms:
            raise InputError("objective: every weight is 0, so there is nothing to minimise")
        curves = Counter([*self.terms, *self.parts, *(f"{name}_{what}" for name, what, _ in self.learned)])
        for name in self.terms:
            if (
                name in CURVES
                or name.startswith(BY_DIM)
                or curves[name] > 1
                or hasattr(torch.nn.ModuleDict, name)
            ):
                raise InputError(f"objective.{name}: this name is taken; give the term another one")

    @property
    def learned(self) -> list[tuple[str, str, float]]:
        """What terms learn: the term's name, the scalar's, and its start."""
        return [(name, what, at) for name, term in self.terms.items() for what, at in term.learned().items()]

    @property
    def parts(self) -> list[str]:
        """Names of the curves that terms log beside their own."""
        return [f"{name}_{part}" for name, term in self.terms.items() for part in term.parts]

    @property
    def all_pairs(self) -> bool:
        """Whether a term asks for every query against every document."""
        return any(term.all_pairs for term in self.terms.values())

    @property
    def negatives(self) -> bool:
        """Whether a term takes documents for negatives."""
        return any(term.negatives or term.all_pairs for term in self.terms.values())

    @property
    def lists(self) -> bool:
        """Whether a term asks for each query against its own documents alone."""
        return any(not term.all_pairs for term in self.terms.values())

    @property
    def sides(self) -> dict[str, Side]:
        """The terms that read teacher scores as a distribution, by name, and how each does."""
        found = {name: term.side() for name, term in self.terms.items()}
        return {name: side for name, side in found.items() if side is not None}
