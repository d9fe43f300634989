"""Muon for the matrices inside a backbone's layers, AdamW for all else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import AdamW, Optimizer

from colbert_lab.settings.optimizer import HIDDEN


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
