"""Students spread over processes: each holds a part of weights, gradients and optimizer state (PyTorch's FSDP2)."""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.batches import gather_rows, tensors
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import LOW, upload
from colbert_lab.settings.checks import TARGET
from colbert_lab.settings.whole import Settings
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import layer_list
from colbert_lab.training.strategy import WAIT, Launcher, count_processes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
STRATEGY = "fsdp"
INSTEAD = "choose trainer=ddp"
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

    A layer's weights are whole while it computes (with GradCache, until its own backward pass); those outside of layers
    are whole for a step. They are float32 in any precision, as with ``ddp``. What the objective learns is one number
    each, which every process holds.

    Processes put a layer together at the same time, as often as any of them has chunks. One that has fewer, because its
    texts are shorter, embeds a text again, whose embeddings no score reads.
    """

    def configure_model(self) -> None:
        """Spread the parameters; Lightning calls it where the processes know one another."""
        if any(isinstance(parameter, DTensor) for parameter in self.parameters()):
            return
        mesh = self.device_mesh["data_parallel"]  # type: ignore[index]
        name = layer_list(self.model.backbone, KEY, INSTEAD)
        for layer in self.model.backbone.get_submodule(name).children():
            fully_shard(layer, mesh=mesh)
        fully_shard(self, mesh=mesh, ignored_params=set(self.learned.parameters()))
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
        slopes = [each.grad for each in learned if each.grad is not None]
        if slopes:
            together = torch.stack(slopes)
            dist.all_reduce(together)
            for slope, total in zip(slopes, together, strict=True):
                slope.copy_(total / dist.get_world_size())
        # One by one, parameters that are spread would cost a call of DTensor each.
        spread = [each.grad for each in self.model.parameters() if each.grad is not None]
        found = nn.utils.get_total_norm(spread, foreach=True)
        whole = found.full_tensor() if isinstance(found, DTensor) else found
        norm: Tensor = torch.linalg.vector_norm(torch.stack([whole, *(slope.norm() for slope in slopes)]))
        nn.utils.clip_grads_with_norm_(self.model.parameters(), limit, norm, foreach=True)
        nn.utils.clip_grads_with_norm_(learned, limit, norm)
        return norm


def _first_text(chunk: Tokens) -> Tokens:
    return Tokens(*(part[:1] for part in tensors(chunk)))


class Whole:
    """A network with whole weights beside one that is spread, to measure, keep and save.

    Args:
        model: the network, before it is spread.
        keep: whether this process is to have the weights.
    """

    def __init__(self, model: ColBERT, keep: bool) -> None:
        self._spread, self._keep = model, keep
        memo = {
            id(each): nn.Parameter(torch.empty_like(each, device="meta"), each.requires_grad)
            for each in model.parameters()
        }
        self.model = copy.deepcopy(model, memo)  # without weights, until there are some

    def gather(self) -> None:
        """Take the weights as they are now, into the CPU's memory of the processes that keep them; all take part."""
        weights = {}
        for name, value in self._spread.state_dict().items():
            found = value.full_tensor() if isinstance(value, DTensor) else value.clone()
            if self._keep:
                weights[name] = found.detach().cpu()
        if self._keep:
            self.model.load_state_dict(weights, assign=True)


def _has_no_state(optimizer: Mapping[str, Any]) -> bool:
    return str(optimizer[TARGET]) == "torch.optim.SGD" and not optimizer.get("momentum")


def check_layers(backbone: PreTrainedModel, strategy: str) -> None:
    """Whether a backbone has layers that can be spread one by one.

    Args:
        backbone: the student's.
        strategy: ``trainer.strategy``; nothing is asked where it is not ``fsdp``.

    Raises:
        InputError: it has none.
    """
    if strategy == STRATEGY:
        layer_list(backbone, KEY, INSTEAD)


def release(fit: pl.Trainer) -> None:
    """Free what an optimizer holds on a device, which is else kept until Python collects cycles."""
    for optimizer in fit.optimizers:
        optimizer.zero_grad(set_to_none=True)
        optimizer.state.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
        **{f"trainer.precision={each}": trainer.precision == each for each in ("16-mixed", LOW)},
        **{f"{key}.ema": phase.ema is not None for key, phase in phases},
        **{f"{key}.head_only_steps": bool(phase.head_only_steps) for key, phase in phases},
        # Lightning 2.6 cannot read an optimizer that has no state from a checkpoint.
        **{f"{key}.optimizer without momentum": _has_no_state(phase.optimizer) for key, phase in phases},
    }
    if found := [key for key, there in wrong.items() if there]:
        raise InputError(f"{found[0]}: is not possible with {KEY}; leave it out, or choose trainer=ddp")
