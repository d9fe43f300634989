"""Optimizers with parameter groups, by where in a backbone a parameter is, and Muon beside AdamW as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ColBERT
from colbert_lab.settings.optimizer import HIDDEN, arguments_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel
OptimizerFactory = Callable[[Iterable[Any]], Optimizer]


def layer_list(backbone: PreTrainedModel, key: str, instead: str) -> str:
    """Name of the list of a Hugging Face backbone's layers.

    The list is the outermost one with as many entries as the configuration has layers: ``encoder.layer`` of BERT,
    ``layers`` of ModernBERT and of Llama-like decoders, ``h`` of GPT-2.

    Args:
        backbone: a Hugging Face encoder or decoder.
        key: the config key that needs it, to name in errors.
        instead: what the user can do where there is none.

    Raises:
        InputError: there is none (a backbone that shares its layers, such as ALBERT).
    """
    wanted = backbone.config.num_hidden_layers
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == wanted:
            return str(name)
    raise InputError(f"{key}: {type(backbone).__name__} has no list of its {wanted} layers; {instead}")


def depths(backbone: PreTrainedModel, key: str, instead: str) -> tuple[dict[str, int], int]:
    """Depth of every parameter of a backbone.

    Args:
        backbone: see :func:`layer_list`, like what follows.
        key: see there.
        instead: see there.

    Returns:
        By the parameter's name, 0 for embeddings (whatever is defined before the layers), 1 for the first layer up to L
        for the last, L + 1 for what is defined after them; and L.

    Raises:
        InputError: see :func:`layer_list`.
    """
    prefix = layer_list(backbone, key, instead) + "."
    layers = int(backbone.config.num_hidden_layers)
    found, reached = {}, False
    for name, _ in backbone.named_parameters():
        if name.startswith(prefix):
            reached = True
            found[name] = 1 + int(name.removeprefix(prefix).partition(".")[0])
        else:
            found[name] = layers + 1 if reached else 0
    return found, layers


def hidden_matrices(backbone: PreTrainedModel, key: str, instead: str) -> set[int]:
    """Ids of the matrices inside a backbone's layers; tables of embeddings are none.

    Args:
        backbone: see :func:`layer_list`, like what follows.
        key: see there.
        instead: see there.

    Raises:
        InputError: see :func:`layer_list`.
    """
    found, layers = depths(backbone, key, instead)
    tables = {id(module.weight) for module in backbone.modules() if isinstance(module, nn.Embedding)}
    return {
        id(parameter)
        for name, parameter in backbone.named_parameters()
        if 1 <= found[name] <= layers and parameter.ndim == 2 and id(parameter) not in tables
    }


@dataclass(frozen=True)
class Optimization:
    """How the parameters of a phase are updated.

    Attributes:
        factory: makes the optimizer from parameter groups.
        lr_schedule: see :func:`colbert_lab.training.schedules.spans_of`.
        warmup: see there.
        max_steps: optimizer steps of the phase.
        head_lr: see :func:`make_optimizer`.
        layer_decay: see there.
        decay: of the schedule, see :func:`colbert_lab.training.schedules.spans_of`.
    """

    factory: OptimizerFactory
    lr_schedule: str
    warmup: float
    max_steps: int
    head_lr: float | None = None
    layer_decay: float | None = None
    decay: float | None = None


def optimizer_factory(settings: Mapping[str, Any]) -> OptimizerFactory:
    """What makes the optimizer of a phase from parameter groups.

    Args:
        settings: ``_target_`` (any optimizer class, such as torch.optim.SGD) and its arguments, as
            :func:`colbert_lab.settings.optimizer.problem_of` found them good; null leaves an argument to the
            optimizer's own default.
    """
    return partial(resolve_name(str(settings["_target_"])), **arguments_of(settings))


def make_optimizer(
    factory: OptimizerFactory,
    module: nn.Module,
    model: ColBERT,
    head_lr: float | None = None,
    layer_decay: float | None = None,
) -> Optimizer:
    """The optimizer of all trainable parameters.

    Matrices have the optimizer's weight decay; biases, norms and a learned temperature are spared it. The learning rate
    of a parameter is the optimizer's, but for

    - the head: ``head_lr``, if given;
    - the backbone with ``layer_decay`` d: counted from its end, layer n has d^n times that rate (the last layer d) and
      the embeddings have d to the number of layers plus one, as in BEiT's fine-tuning (Bao et al. 2022) and, one power
      apart, ELECTRA's (Clark et al. 2020). What follows the last layer, such as a final norm, has the full rate.

    A class with ``takes_hidden`` (:class:`colbert_lab.training.optim.Muon`) is told which groups hold the matrices
    inside the backbone's layers.

    Args:
        factory: see :func:`optimizer_factory`.
        module: owns the parameters: the model, and perhaps a temperature.
        model: the network in it.
        head_lr: learning rate of the head.
        layer_decay: see above.

    Raises:
        InputError: a setting has nothing to work on.
    """
    if head_lr is not None and not any(p.requires_grad for p in model.head.parameters()):
        raise InputError(
            f"head_lr={head_lr}: has no effect, the student has no head to train; set it to null"
        )
    head = {id(parameter) for parameter in model.head.parameters()}
    if layer_decay is not None and not any(p.requires_grad for p in model.backbone.parameters()):
        raise InputError(
            f"layer_decay={layer_decay}: has no effect, the whole backbone is frozen; set it to null"
        )
    scales = {} if layer_decay is None else _scales(model, layer_decay)
    hidden = _hidden(factory, model)
    groups: dict[tuple[bool, float, bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            of_head = head_lr is not None and id(parameter) in head
            kind = (of_head, scales.get(id(parameter), 1.0), parameter.ndim < 2, id(parameter) in hidden)
            groups.setdefault(kind, []).append(parameter)
    kinds = sorted(groups, key=lambda kind: (kind[0], -kind[1], kind[2], kind[3]))
    spared: list[dict[str, Any]] = [{"weight_decay": 0.0} if kind[2] else {} for kind in kinds]
    for kind, more in zip(kinds, spared, strict=True):
        more |= {HIDDEN: True} if kind[3] else {}
    optimizer = factory([{"params": groups[kind]} | more for kind, more in zip(kinds, spared, strict=True)])
    for (of_head, scale, *_), group in zip(kinds, optimizer.param_groups, strict=True):
        group["lr"] = head_lr if of_head else group["lr"] * scale
    return optimizer


def _hidden(factory: OptimizerFactory, model: ColBERT) -> set[int]:
    """Ids of the parameters that an optimizer wants to be told of; none for one that does not."""
    made = factory.func if isinstance(factory, partial) else factory
    if not getattr(made, "takes_hidden", False):
        return set()
    instead = "choose another optimizer"
    found = hidden_matrices(model.backbone, "optimizer", instead)
    if not any(p.requires_grad for p in model.backbone.parameters() if id(p) in found):
        raise InputError(f"optimizer: no matrix inside the backbone's layers is trained; {instead}")
    return found


def _scales(model: ColBERT, layer_decay: float) -> dict[int, float]:
    """By id of a backbone's parameter, what its learning rate is multiplied with."""
    found, layers = depths(model.backbone, "layer_decay", "set layer_decay to null")
    parameters = dict(model.backbone.named_parameters())
    return {id(parameters[name]): layer_decay ** (layers + 1 - depth) for name, depth in found.items()}


class Muon(Optimizer):
    """PyTorch's Muon and PyTorch's AdamW, each for its own parameter groups.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the momentum of a matrix nearly
    orthogonal before it is added. It is meant for matrices between hidden states: embeddings, heads, norms and biases
    keep AdamW. With ``adjust_lr_fn=match_rms_adamw`` (Liu et al. 2025, arXiv 2502.16982) a matrix' update is as large
    as AdamW's, so that both take one learning rate and one weight decay; with ``original`` they need a rate each.

    Parameter groups whose ``hidden`` is true are Muon's, see :func:`colbert_lab.training.optim.make_optimizer`. Both
    optimizers share groups and state with this one, so that schedules and checkpoints see one optimizer.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        weight_decay: of matrices; AdamW's matrices have it too.
        momentum: Muon's.
        adjust_lr_fn: what Muon's rate is multiplied with by the shape of a matrix, ``match_rms_adamw`` or ``original``.
        adamw_lr: learning rate of AdamW; None is ``lr``.
        betas: AdamW's.
        eps: AdamW's.
        fused: AdamW's.

    Raises:
        ValueError: a value is out of its range, or a group of Muon's holds something else than matrices.
    """

    takes_hidden = True
    """Whether its parameter groups say which are hidden, which :data:`colbert_lab.settings.optimizer.HIDDEN` names."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        adjust_lr_fn: str = "match_rms_adamw",
        adamw_lr: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        fused: bool | None = None,
    ) -> None:
        super().__init__(params, {HIDDEN: False})
        self.parts: dict[bool, Optimizer] = {}
        if hidden := self._groups(True):
            self.parts[True] = torch.optim.Muon(
                hidden, lr=lr, weight_decay=weight_decay, momentum=momentum, adjust_lr_fn=adjust_lr_fn
            )
        if others := self._groups(False):
            rate = lr if adamw_lr is None else adamw_lr
            self.parts[False] = AdamW(
                others, lr=rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused
            )
        self._share()

    def _groups(self, hidden: bool) -> list[dict[str, Any]]:
        return [group for group in self.param_groups if group[HIDDEN] == hidden]

    def _share(self) -> None:
        """Let both optimizers have the groups and the state of this one."""
        for hidden, part in self.parts.items():
            part.param_groups, part.state = self._groups(hidden), self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()  # what was loaded took the place of groups and state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both.

        Args:
            closure: computes the loss and the gradients again.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts.values():
            part.step()
        return loss
