"""Parts of a student that are not trained: for a whole phase, or the backbone for its first steps."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT
from colbert_lab.training.callbacks import Points
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import depths

LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")
INSTEAD = "name backbone or head"
Numbered = dict[int, list[nn.Parameter]]


def parameters_of(model: ColBERT, name: str) -> list[nn.Parameter]:
    """The parameters of a part of a student; none where it has no such part.

    Args:
        model: the student's network.
        name: ``embeddings`` (all that the backbone defines before its layers), ``layers.3``, ``layers.0-5`` (both
            ends belong to it), ``backbone`` or ``head``.

    Raises:
        InputError: layers are asked for and the backbone has no list of them.
    """
    if name in ("backbone", "head"):
        return list(getattr(model, name).parameters())
    match = LAYERS.fullmatch(name)
    if match is None and name != "embeddings":
        return []
    first, last = (-1, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
    numbered, layers = _numbered(model)
    if last >= layers:
        return []
    return [parameter for layer in range(first, last + 1) for parameter in numbered.get(layer, [])]


def _numbered(model: ColBERT) -> tuple[Numbered, int]:
    """A backbone's parameters by their layer, -1 for embeddings; and the number of layers."""
    found, layers = depths(model.backbone, "freeze", INSTEAD)
    numbered: Numbered = {}
    for name, parameter in model.backbone.named_parameters():
        numbered.setdefault(found[name] - 1, []).append(parameter)
    return numbered, layers


def _parts(model: ColBERT) -> str:
    """What there is to freeze, for a message."""
    numbered, layers = _numbered(model)
    there = [f"layers.0 to layers.{layers - 1} (or several: layers.0-{layers - 1})", "backbone"]
    there += ["head"] if parameters_of(model, "head") else []
    return ", ".join((["embeddings"] if -1 in numbered else []) + there)


@contextmanager
def frozen(model: ColBERT, names: Sequence[str]) -> Iterator[None]:
    """Leave parts of a student out of training for a while.

    Their weights stay as they are, bit for bit, and no gradient is computed for them; one that only leads to frozen
    weights is not computed either, so that frozen embeddings and lower layers save time. Dropout stays on in them.

    Args:
        model: the student's network.
        names: ``phases.X.freeze``, see :func:`parameters_of`.

    Raises:
        InputError: a name is none of a part that the student has or trains, or nothing is left to train.
    """
    held = _held(model, names)
    for reference in held:
        _train(reference, False)
    try:
        yield
    finally:
        for reference in held:
            _train(reference, True)


def _held(model: ColBERT, names: Sequence[str]) -> list[weakref.ref[nn.Parameter]]:
    """What is trained of these parts. Weights that FSDP spreads over processes meanwhile do not stay whole for this."""
    held: dict[int, nn.Parameter] = {}
    for name in names:
        part = parameters_of(model, name)
        if not part:
            raise InputError(f"freeze={name}: the student has no such part; there are {_parts(model)}")
        if not any(parameter.requires_grad for parameter in part):
            raise InputError(f"freeze={name}: has no effect, nothing of it is trained; leave it out")
        held |= {id(parameter): parameter for parameter in part if parameter.requires_grad}
    if all(id(parameter) in held for parameter in model.parameters() if parameter.requires_grad):
        raise InputError(f"freeze=[{', '.join(names)}]: leaves nothing of the student to train; name less")
    return [weakref.ref(parameter) for parameter in held.values()]


def _train(reference: weakref.ref[nn.Parameter], wanted: bool) -> None:
    parameter = reference()
    if parameter is not None:
        parameter.requires_grad_(wanted)


def check_head_only(model: ColBERT, steps: int, max_steps: int) -> None:
    """Whether a phase can begin with steps that train the head alone.

    Args:
        model: the student's network, with what the phase freezes frozen.
        steps: ``phases.X.head_only_steps``; 0 for none.
        max_steps: optimizer steps of the phase.

    Raises:
        InputError: there is no head to train, or nothing else that is trained later.
    """
    if not steps:
        return
    if not any(parameter.requires_grad for parameter in model.head.parameters()):
        raise InputError(f"head_only_steps={steps}: the student has no head to train; set it to 0")
    if steps >= max_steps:
        raise InputError(
            f"head_only_steps={steps}: must be below the {max_steps} steps of the phase; freeze=[backbone] trains the "
            "head alone"
        )
    if not any(parameter.requires_grad for parameter in model.backbone.parameters()):
        raise InputError(
            f"head_only_steps={steps}: has no effect, freeze has the whole backbone; set it to 0"
        )


class HeadFirst(Callback):
    """Trains the head, and what the objective learns, for the first steps; then the backbone too.

    A new head's first gradients are random directions for the backbone; training the head alone before is linear
    probing and then fine-tuning (Kumar et al. 2022, arXiv 2202.10054). The learning rate's schedule goes on over
    all steps, and an optimizer's state of the backbone begins with the backbone's first step.

    Args:
        steps: optimizer steps of the head alone.
        points: counts the operations of what is trained.
    """

    def __init__(self, steps: int, points: Points) -> None:
        self.steps = steps
        self.points = points
        self._later: list[nn.Parameter] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Optimizer and processes know every parameter by now."""
        assert isinstance(pl_module, StudentModule)
        self._later = [each for each in pl_module.model.backbone.parameters() if each.requires_grad]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Freeze the backbone, or let it train from here on."""
        assert isinstance(pl_module, StudentModule)
        trained = trainer.global_step >= self.steps
        if self._later[0].requires_grad != trained:
            self._set(trained)
            self.points.count(pl_module)

    def on_train_end(self, *_: Any) -> None:
        """Let the backbone train again."""
        self._set(True)

    def on_exception(self, *_: Any) -> None:
        """The same."""
        self._set(True)

    def _set(self, trained: bool) -> None:
        for parameter in self._later:
            parameter.requires_grad_(trained)
