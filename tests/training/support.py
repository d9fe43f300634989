"""A small phase over random text, for the training tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from colbert_lab.base.types import Corpus
from colbert_lab.settings.groups import PhaseSettings
from colbert_lab.settings.typed import typed
from colbert_lab.text.rows.examples import ScoredLists
from tests.tiny import sentences

TRAINER: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "strategy": "auto",
    "precision": "32-true",
    "deterministic": True,
}


def make_lists(n: int = 12, documents: int = 40, length: int = 6, seed: int = 0) -> ScoredLists:
    generator = np.random.default_rng(seed)
    corpus = Corpus([f"d{i}" for i in range(documents)], sentences(documents, seed=seed), "corpus")
    return ScoredLists(
        name="random",
        query_ids=[f"q{i}" for i in range(n)],
        queries=sentences(n, seed=seed + 1, high=8),
        corpus=corpus,
        documents=[generator.choice(documents, size=length, replace=False) for _ in range(n)],
        scores=[generator.normal(size=length).astype(np.float32) for _ in range(n)],
        fingerprint="lists",
    )


OBJECTIVES = "colbert_lab.training.objectives"


def phase_settings(**changes: Any) -> PhaseSettings:
    values: dict[str, Any] = {
        "epochs": None,
        "steps": 6,
        "batch_size": 3,
        "accumulation": 2,
        "n_way": 4,
        "query_length": None,
        "document_length": None,
        "objective": {
            "distillation": {
                "_target_": f"{OBJECTIVES}.distillation.Distillation",
                "weight": 1.0,
                "direction": "teacher_student",
                "teacher": {"normalisation": "zscore", "temperature": 1.0},
                "student": {"normalisation": "none", "temperature": 1.0},
            },
            "contrastive": {
                "_target_": f"{OBJECTIVES}.contrastive.Contrastive",
                "weight": 0.0,
                "temperature": 0.05,
                "learnable": False,
                "false_negative_ratio": None,
                "own_negatives": True,
                "batch_negatives": True,
            },
        },
        "prompts": {"query": None, "document": None, "extend_length": None},
        "recompute": False,
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3},
        "head_lr": None,
        "layer_decay": None,
        "lr_schedule": {"name": "linear", "warmup": 0.2},
        "gradient_clip": 1.0,
        "token_budget": 64,
        "evaluate_every": None,
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return typed(PhaseSettings, values | changes)


def distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """Norm of the difference relative to the norm, over all parameters."""
    assert ours.keys() == theirs.keys()
    apart = sum(float((ours[name] - theirs[name]).double().square().sum()) for name in ours)
    return float((apart / sum(float(value.double().square().sum()) for value in theirs.values())) ** 0.5)
