"""``trainer.lightning``: flags of Lightning's Trainer that no setting is for, and what is said of the others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, get_type_hints

KEY = "trainer.lightning"
NOT_IDENTITY = ("max_time",)
"""Flags that say where a command stops, not what is trained: the same one, or one without them, goes on."""
DECIDED = {
    "accelerator": "trainer.accelerator",
    "strategy": "trainer.strategy",
    "devices": "trainer.devices",
    "num_nodes": "trainer.num_nodes",
    "precision": "trainer.precision",
    "deterministic": "trainer.deterministic",
    "use_distributed_sampler": "trainer.devices, among which rows are shared",
    "callbacks": "trainer.callbacks",
    "enable_model_summary": "trainer.callbacks, as pytorch_lightning.callbacks.ModelSummary",
    "logger": "tracking.loggers",
    "max_epochs": "phases.NAME.epochs",
    "min_epochs": "phases.NAME.epochs",
    "max_steps": "phases.NAME.steps",
    "min_steps": "phases.NAME.steps",
    "fast_dev_run": "phases.NAME.steps",
    "log_every_n_steps": "phases.NAME.log_every",
    "enable_checkpointing": "phases.NAME.checkpoint_every",
    "accumulate_grad_batches": "phases.NAME.accumulation",
    "gradient_clip_val": "phases.NAME.gradient_clip",
    "enable_progress_bar": "progress",
    "default_root_dir": "output_dir",
}
"""Flags that are set already, each with the setting that decides it."""
_VALIDATION = (
    "has no effect: Lightning's validation loop is not used; phases.NAME.evaluate_every evaluates on dev"
)
_ELSEWHERE = (
    "has no effect: students are not evaluated by Lightning's Trainer; see the settings of evaluation"
)
REFUSED = {
    "limit_val_batches": _VALIDATION,
    "val_check_interval": _VALIDATION,
    "check_val_every_n_epoch": _VALIDATION,
    "num_sanity_val_steps": _VALIDATION,
    "limit_test_batches": _ELSEWHERE,
    "limit_predict_batches": _ELSEWHERE,
    "inference_mode": _ELSEWHERE,
    "reload_dataloaders_every_n_epochs": "has no effect: to Lightning, a phase is one epoch",
    "enable_autolog_hparams": "has no effect: trackers get the config of the run",
    "model_registry": "has no effect: the hub is where students go, with task=push",
    "barebones": "turns off checkpoints and curves, which a run needs",
    "plugins": "takes objects of Python; trainer.precision and trainer.devices say what a config can",
}
"""Flags that no run has, each with the reason."""
_BATCHES = "must be a whole number of micro-batches, or a share of them up to 1.0"
TOLD = {
    "limit_train_batches": _BATCHES,
    "overfit_batches": _BATCHES,
    "max_time": "must be DD:HH:MM:SS, such as 00:02:30:00, or a mapping such as {hours: 2}",
    "gradient_clip_algorithm": "must be one of norm, value",
}
"""What is said of values that Lightning refuses; else its own words are."""
NAMED = {*DECIDED, *REFUSED, *TOLD, "profiler", "detect_anomaly", "benchmark", "sync_batchnorm"}
"""Flags that somebody may look for beside the settings of ``trainer``."""
PROFILERS = ("simple", "advanced", "pytorch")
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


@cache
def hints() -> Mapping[str, Any]:
    """The flags of the installed Lightning's Trainer that may be given, with their types."""
    from pytorch_lightning import Trainer

    found = get_type_hints(Trainer.__init__)
    names = [name for name in inspect.signature(Trainer).parameters if name not in (*DECIDED, *REFUSED)]
    return {name: found.get(name, Any) for name in names}


def problem_of(flag: str, value: Any) -> str | None:
    """What is wrong with a flag, beside its type; None where it may be used.

    Args:
        flag: its name.
        value: of the right type.
    """
    if flag in DECIDED:
        return f"is decided by another setting; set {DECIDED[flag]}"
    if flag in REFUSED:
        return REFUSED[flag]
    if flag not in hints():
        near = get_close_matches(flag, [*hints(), *DECIDED, *REFUSED], n=1)
        instead = f"did you mean {near[0]}?" if near else f"there are {', '.join(hints())}"
        return f"Lightning's Trainer has no such flag; {instead}"
    if flag == "profiler" and value is not None and str(value).lower() not in PROFILERS:
        return f"must be one of {', '.join(PROFILERS)}"
    return None if value is None else _refused(flag, value)


def _refused(flag: str, value: Any) -> str | None:
    """What Lightning says of a value."""
    import torch
    from pytorch_lightning import Trainer

    before = torch.backends.cudnn.benchmark
    # It looks at the numbers of one of them alone.
    name = "limit_train_batches" if flag == "overfit_batches" else flag
    try:
        Trainer(**{**QUIET, name: value})
    except Exception as error:  # of many kinds
        return TOLD.get(flag) or " ".join(str(error).split())
    finally:
        torch.backends.cudnn.benchmark = before
    return None
