"""Training steps by a peer's own trainer (a subclass of Hugging Face's), one for each command of the suite.

Both peers' trainers are subclasses of transformers' ``Trainer``; this file runs in each peer's environment and imports
nothing of the other.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from talk import Suite
from transformers import TrainerCallback

STEPS = 1000  # the learning rate falls linearly over so many, on every side


class Steps(TrainerCallback):
    """Waits for a command before each step, and answers after it."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.losses: list[torch.Tensor] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.suite.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.suite.done(loss=float(self.losses[-1]))
        self.losses.clear()
        self.suite.wait()


def rows_of(suite: Suite) -> list[dict[str, Any]]:
    """All rows in the order of the file."""
    return [row for batch in suite.texts["batches"] for row in batch]


def train(
    suite: Suite,
    *,
    trainer_class: Any,
    arguments_class: Any,
    sampler_class: Any,
    model: Any,
    loss: Any,
    collator: Any,
    rows: list[dict[str, Any]],
    prompts: dict[str, str] | None = None,
) -> None:
    """Train until the suite says stop.

    The trainer tokenizes one batch ahead, so a step's time is that of the batch itself and of the next one's texts.

    Args:
        suite: who commands.
        trainer_class: the peer's.
        arguments_class: the peer's.
        sampler_class: the peer's default batch sampler; rows are read in their order instead of shuffled.
        model: the peer's.
        loss: the peer's.
        collator: the peer's; what it takes is counted as tokenising. None for the trainer's own.
        rows: training rows in the peer's columns.
        prompts: by column, where the peer's trainer wants to be told.
    """
    spec, steps = suite.spec, Steps(suite)

    def in_order(dataset: Any, batch_size: int, drop_last: bool, **others: Any) -> Any:
        return sampler_class(torch.utils.data.SequentialSampler(dataset), batch_size, drop_last, **others)

    chosen: dict[str, Any] = {}
    if not spec["defaults"]:
        chosen = {"learning_rate": spec["lr"], "bf16": spec["precision"] == "bf16"}
    if prompts is not None:
        chosen["prompts"] = prompts
    if "torch_compile" in spec["variant"]:
        chosen["torch_compile"] = True
    trainer = trainer_class(
        model=model,
        args=arguments_class(
            output_dir=tempfile.mkdtemp(dir=Path(spec["folder"])),
            per_device_train_batch_size=spec["batch_size"],
            max_steps=STEPS,
            use_cpu=spec["device"] == "cpu",
            batch_sampler=in_order,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=0,
            **chosen,
        ),
        train_dataset=Dataset.from_list(rows),
        loss=loss,
        data_collator=collator,
        callbacks=[steps],
    )
    compute, kind = trainer.compute_loss, type(trainer.data_collator)

    class Timed(kind):  # type: ignore[misc, valid-type]
        """The peer's collator with a clock; the trainer reads its attributes."""

        def __call__(self, features: Any) -> Any:
            begun = time.perf_counter()
            batch = kind.__call__(self, features)
            suite.tokenising += time.perf_counter() - begun
            return batch

    def seen(*arguments: Any, **keywords: Any) -> Any:
        found = compute(*arguments, **keywords)
        steps.losses.append(found.detach())
        return found

    trainer.data_collator.__class__, trainer.compute_loss = Timed, seen
    arguments = trainer.args
    suite.tell(
        ready=True,
        settings={
            "trainer": type(trainer).__name__,
            "optimizer": str(arguments.optim),
            "learning rate": arguments.learning_rate,
            "bf16": arguments.bf16,
            "clipping": arguments.max_grad_norm,
            "torch_compile": arguments.torch_compile,
        },
        versions=versions(),
    )
    trainer.train()


def versions() -> dict[str, str]:
    """What the side runs on."""
    import sys
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in (
        "torch",
        "transformers",
        "sentence-transformers",
        "pylate",
        "late-interaction-kernels",
        "accelerate",
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
