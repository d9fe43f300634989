"""Write what losses of Lightning IR give on scores made from a seed.

Runs as a script in its own environment, where colbert_lab need not be installed:

    python tests/parity/make_losses.py FILE    with lightning-ir==0.0.6

Without FILE it overwrites the committed numbers.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

VERSION = "0.0.6"
FILE = Path(__file__).resolve().parent / f"golden_lightning_ir_{VERSION}.json"
CASES: dict[str, tuple[str, dict[str, float]]] = {
    "margin_mse": ("SupervisedMarginMSE", {}),
    "approx_ndcg, temperature 1.0": ("ApproxNDCG", {"temperature": 1.0}),
    "approx_ndcg, temperature 0.3": ("ApproxNDCG", {"temperature": 0.3}),
}
"""Name to the peer's class and settings. Its margins are those of all pairs with an order: ours of two documents."""


def inputs(ways: int) -> tuple[Tensor, Tensor]:
    """Scores and targets of four queries, the largest target first, float32 [4, ways]."""
    generator = np.random.default_rng(ways)
    scores, targets = (generator.uniform(0, 4, size=(4, ways)).astype(np.float32) for _ in range(2))
    return torch.from_numpy(scores), torch.from_numpy(-np.sort(-targets, axis=1))


def golden() -> dict[str, Any]:
    """The peer's losses and gradients."""
    losses = import_module("lightning_ir.loss")
    found: dict[str, Any] = {}
    for case, (name, settings) in CASES.items():
        scores, targets = inputs(2 if case.startswith("margin") else 6)
        scores.requires_grad_()
        loss = getattr(losses, name)(**settings)
        value = loss.compute_loss(SimpleNamespace(scores=scores), SimpleNamespace(targets=targets))
        value.backward()
        assert scores.grad is not None
        found[case] = {"loss": value.item(), "gradient": scores.grad.tolist()}
    return found


def read(file: Path = FILE) -> dict[str, Any]:
    """Numbers that this script wrote."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    out.write_text(json.dumps(golden(), indent=1) + "\n", encoding="utf-8")
