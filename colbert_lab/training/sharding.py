"""Students spread over processes: each holds a part of weights, gradients and optimizer state (PyTorch's FSDP2)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.batches import gather_rows, tensors
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import upload
from colbert_lab.settings.whole import Settings
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import layer_list
from colbert_lab.training.strategy import WAIT, Launcher, count_processes

log = logging.getLogger(__name__)
STRATEGY = "fsdp"
KEY = f"trainer.strategy={STRATEGY}"


class Sharded(ModelParallelStrategy):
    """Lightning's FSDP2, over all processes; none lives on when another one has ended.

    A checkpoint is one file with whole weights, as with ``ddp``.

    Args:
        trainer: settings of the config's trainer.
    """

    def __init__(self, trainer: Mapping[str, Any]) -> None:
        super().__init__(count_processes(trainer), 1, save_distributed_checkpoint=False, timeout=WAIT)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._launcher is not None:
            assert self.cluster_environment is not None
            self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)


class ShardedModule(StudentModule):
    """Trains a student whose parameters are spread over processes.

    A layer's weights are whole while it computes; those outside of layers are whole for a step. In bf16-mixed they are
    then bfloat16, and so is what processes send of them, while each keeps, updates and adds up gradients of its part in
    float32. What the objective
    learns is a number each, and every process holds it.

    Processes put a layer together at the same time, as often as any of them has chunks. One that has fewer, because its
    texts are shorter, embeds a text again, whose embeddings no score reads.
    """

    def configure_model(self) -> None:
        """Spread the parameters; Lightning calls it where the processes know one another."""
        if any(isinstance(parameter, DTensor) for parameter in self.parameters()):
            return
        mesh = self.device_mesh["data_parallel"]  # type: ignore[index]
        low = torch.bfloat16 if self.trainer.precision == "bf16-mixed" else None
        policy = MixedPrecisionPolicy(
            param_dtype=low, reduce_dtype=low and torch.float32, cast_forward_inputs=False
        )
        name = layer_list(self.model.backbone, KEY, "choose trainer=ddp")
        for layer in self.model.backbone.get_submodule(name).children():
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(self, mesh=mesh, mp_policy=policy, ignored_params=set(self.learned.parameters()))
        register_fsdp_forward_method(self, "training_step")
        spread = [each for each in self.parameters() if isinstance(each, DTensor)]
        here, whole = sum(each.to_local().numel() for each in spread), sum(each.numel() for each in spread)
        log.info(
            "%s: %d processes; %s of %s parameters are in this one",
            KEY,
            mesh.size(),
            f"{here:,}",
            f"{whole:,}",
        )

    def embedded(self, chunks: Sequence[Tokens]) -> list[Embeddings]:
        """See :meth:`StudentModule.embedded`."""
        here = upload(torch.tensor([len(chunks)]), chunks[0].input_ids_NL.device)
        idle = int(gather_rows(here).max()) - len(chunks)
        found = super().embedded([*chunks, *[_first_text(chunks[0])] * idle])
        if not idle:
            return found
        unread = torch.stack([each.emb_NLD[:, :1].sum() for each in found[len(chunks) :]]).sum()
        last = found[len(chunks) - 1]
        return [*found[: len(chunks) - 1], replace(last, emb_NLD=last.emb_NLD + 0 * unread)]

    def gradient_norm(self, limit: float) -> Tensor:
        """See :meth:`StudentModule.gradient_norm`; of the whole gradient, in all processes."""
        learned = [each for each in self.learned.parameters() if each.grad is not None]
        for each in learned:
            assert each.grad is not None
            each.grad.copy_(self.trainer.strategy.reduce(each.grad, reduce_op="mean"))
        sharded = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        whole = sharded.full_tensor() if isinstance(sharded, DTensor) else sharded
        norms = [whole, *(each.grad.norm() for each in learned if each.grad is not None)]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        for part in (self.model.parameters(), learned):
            nn.utils.clip_grads_with_norm_(part, limit, norm)
        return norm


def _first_text(chunk: Tokens) -> Tokens:
    return Tokens(*(part[:1] for part in tensors(chunk)))


class Whole:
    """A network with whole weights beside one that is spread, to measure, keep and save.

    Args:
        model: the network, before it is spread.
    """

    def __init__(self, model: ColBERT) -> None:
        self._spread = model
        memo = {
            id(each): nn.Parameter(torch.empty_like(each, device="meta"), each.requires_grad)
            for each in model.parameters()
        }
        self.model = copy.deepcopy(model, memo)  # without weights, until there are some

    def gather(self) -> None:
        """Take the weights as they are now; every process takes part and has them, in memory of its CPU."""
        weights = {
            name: (value.full_tensor() if isinstance(value, DTensor) else value).detach().cpu().clone()
            for name, value in self._spread.state_dict().items()
        }
        self.model.load_state_dict(weights, assign=True)


def check_sharding(settings: Settings) -> None:
    """Whether what a run asks for can be spread over processes.

    Raises:
        InputError: it cannot; the key is named.
    """
    trainer = settings.trainer
    if trainer.strategy != STRATEGY:
        return
    phases = [(f"phases.{name}", settings.phases[name]) for name in settings.trained]
    wrong = {
        "student.lora": settings.student.lora is not None,
        "trainer.compile": trainer.compile is not None,
        "trainer.precision=16-mixed": trainer.precision == "16-mixed",
        **{f"{key}.ema": phase.ema is not None for key, phase in phases},
        **{f"{key}.head_only_steps": bool(phase.head_only_steps) for key, phase in phases},
    }
    if found := [key for key, there in wrong.items() if there]:
        raise InputError(f"{found[0]}: is not possible with {KEY}; leave it out, or choose trainer=ddp")
