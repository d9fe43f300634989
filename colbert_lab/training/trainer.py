"""Lightning's module and Trainer as a phase wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from colbert_lab.model.batches import compiled
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import FULL, LOW, lowered
from colbert_lab.training.limits import LIMIT, REPEAT, TIME
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import Optimization
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.sharding import STRATEGY, Sharded, ShardedModule
from colbert_lab.training.strategy import placement
from colbert_lab.training.watch import Watch

TRANSLATED = (LIMIT, REPEAT, TIME, "profiler")
"""Flags of ``trainer.lightning`` that phases do themselves, so that steps, checkpoints and files are as without."""
PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}


def profiler_of(flags: Mapping[str, Any], folder: Path) -> Profiler | None:
    """Lightning's profiler, which writes ``fit-profile.txt`` once the phase is trained; None where none is asked for.

    Args:
        flags: ``trainer.lightning``.
        folder: where it writes.
    """
    asked = flags.get("profiler")
    return None if asked is None else PROFILERS[asked.lower()](dirpath=folder, filename="profile")


def training_module(
    phase: PreparedPhase, model: ColBERT, recompute: bool, precision: str = FULL, strategy: str = "auto"
) -> StudentModule:
    """What trains a student as a phase wants it.

    Args:
        phase: how to train.
        model: what to train.
        recompute: what :func:`needs_gradcache` said.
        precision: Lightning's name; the context of a mixed one is the caller's.
        strategy: ``trainer.strategy``.
    """
    settings = phase.settings
    module = (ShardedModule if strategy == STRATEGY else StudentModule)(
        model,
        phase.objective,
        Optimization(
            phase.optimizer,
            settings.lr_schedule.name,
            settings.lr_schedule.warmup,
            phase.max_steps,
            settings.head_lr,
            settings.layer_decay,
            settings.lr_schedule.decay,
        ),
        log_every=settings.log_every,
        token_budget=settings.token_budget,
        recompute=recompute,
        scoring=phase.scoring,
        precision=precision,
        watch=Watch(phase.name, lambda k: [each.query_id for each in phase.batches.examples(k)]),
    )
    if phase.compile is not None:
        module.compiled = compiled(lowered(model, precision), phase.compile)
    return module


def phase_trainer(
    phase: PreparedPhase, trainer: Mapping[str, Any], *, max_steps: int, **others: Any
) -> pl.Trainer:
    """Lightning's Trainer as a phase wants it.

    Args:
        phase: how to train.
        trainer: its arguments accelerator, devices, strategy, precision, deterministic.
        max_steps: optimizer steps to take.
        others: more of its arguments: loggers, callbacks, what it shows.
    """
    settings = phase.settings
    return pl.Trainer(
        **{
            **trainer,
            **placement(trainer, bool(settings.head_only_steps)),
            **({"strategy": Sharded(trainer)} if trainer["strategy"] == STRATEGY else {}),
            # Lightning's own bf16-true has no master weights.
            **({"precision": FULL} if trainer["precision"] == LOW else {}),
            "accumulate_grad_batches": settings.accumulation,
            "gradient_clip_val": settings.gradient_clip,
            "log_every_n_steps": settings.log_every,
            **{name: value for name, value in phase.flags.items() if name not in TRANSLATED},
            **others,
        },
        max_steps=max_steps,
        max_epochs=1,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
