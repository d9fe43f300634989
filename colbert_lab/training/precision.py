"""Choose precision and prepare torch for the machine at hand."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.machine import cores, local_rank
from colbert_lab.model.devices import faster, total_bytes
from colbert_lab.model.student import pick_device

if TYPE_CHECKING:
    from colbert_lab.settings import Settings

PRIMITIVE_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32", "LRU_CACHE_CAPACITY": "16"}
"""oneDNN's own cache, and torch's of what it computes with oneDNN (1,024 entries each where nothing is said)."""
CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""The memory that cuBLAS works in, without which its products are not deterministic."""
_threads: list[int] = []
"""How many torch had before this process told it a number, and that number."""


def pick_precision(precision: str, accelerator: str) -> str:
    """Resolve ``trainer.precision``: ``auto`` is bf16 autocast where that is faster, float32 elsewhere.

    Args:
        precision: ``auto``, or one of Lightning's names.
        accelerator: Lightning's accelerator name.

    Raises:
        InputError: float16 where Lightning would train in another one.
    """
    device = pick_device(accelerator)
    if precision != "auto":
        if precision == "16-mixed" and device.type == "cpu":
            raise InputError(
                "trainer.precision=16-mixed: needs a GPU, on a CPU Lightning trains in bf16 instead; set it to auto, "
                "bf16-mixed or 32-true"
            )
        return precision
    return faster(device)


BUDGET, MOST_BUDGET = 4096, 32_768
"""Padded tokens of a chunk: on a CPU, where more gains nothing, and at most on a GPU, where small products are started
more slowly than they are computed."""
TOKEN_BYTES = 4 * 2**20
"""Of a GPU's memory for each. By the formula of :func:`colbert_lab.training.cost.activation_bytes`, a token keeps 0.5
MiB in an encoder of 22 layers of 768 in bf16 with fused attention, and 3 MiB in one of 36 layers of 2,560."""
MOST_WORKERS = 4  # that tokenize for one GPU


def pick_budget(device: torch.device) -> int:
    """``token_budget=auto``: a power of two, of the device's whole memory.

    Args:
        device: where the student computes.
    """
    total, budget = total_bytes(device) or 0, BUDGET
    while budget < MOST_BUDGET and 2 * budget * TOKEN_BYTES <= total:
        budget *= 2
    return budget


def pick_workers(device: torch.device) -> int:
    """``trainer.num_workers=auto``: on a CPU none, where they would take what training computes with.

    Args:
        device: where the student computes.
    """
    if device.type != "cuda":
        return 0
    return max(0, min(MOST_WORKERS, cores() // max(1, torch.cuda.device_count()) - 1))


def of_this_machine(settings: Settings) -> dict[str, Any]:
    """What ``auto`` is here, by config key, where that has to be known before anything is loaded.

    Args:
        settings: of a checked config.

    Raises:
        InputError: see :func:`pick_precision`.
    """
    trainer, budgets = settings.trainer, {"evaluation.token_budget": settings.evaluation.token_budget}
    device = pick_device(trainer.accelerator)
    budgets |= {f"phases.{name}.token_budget": phase.token_budget for name, phase in settings.phases.items()}
    found: dict[str, Any] = {key: pick_budget(device) for key, budget in budgets.items() if budget == "auto"}
    if trainer.num_workers == "auto":
        found["trainer.num_workers"] = pick_workers(device)
    precision = pick_precision(trainer.precision, trainer.accelerator)
    return found if precision == trainer.precision else found | {"trainer.precision": precision}


def prepare_torch(threads: int | None, beside: int = 1, float32_matmul: str = "highest") -> None:
    """Process-wide settings: threads, denormal numbers, small caches of oneDNN, deterministic cuBLAS, open files.

    Shards of large corpora, and micro-batches from workers, hold a file open each; so as many are allowed as may be.

    Products of float32 matrices are those of MaxSim and of exact search in any precision of the encoder, and with
    ``32-true`` the encoder's too.

    Processes that compute together on a machine share its cores, unless ``OMP_NUM_THREADS`` or ``threads`` says
    otherwise. Lightning does the same when it starts them, too late for what identifies a run, and it overrules
    ``threads`` where ``OMP_NUM_THREADS`` is not set; so it is.

    oneDNN and torch keep the last 1,024 primitives each, one for matrices of one size, with memory that they work in.
    Micro-batches are hardly ever of the same size, so that resident memory grew by 0.1 GiB a step (4.9 GiB after 20
    steps of the default distillation, still growing). With small caches it stays flat (GradCache at 256 pairs: 2.4 GiB
    from the fourth step on, 2.8 with oneDNN's cache alone made small), steps take as long, and losses are the same to
    the last digit. Both are read at the first use; what is in the environment is left as it is.

    torch reads whether cuBLAS is deterministic once, at its first product. Lightning says so when training starts, and
    a student that is measured before it is trained has computed products by then: with ``trainer.deterministic`` its
    training would end in torch's error.

    Softmax gradients at low temperatures go denormal, which slows CPU matrix products by 4 to 5 times.

    Args:
        threads: ``trainer.threads``; None is torch's own choice, also after a run of this process with another number.
        beside: processes on this machine that compute together.
        float32_matmul: ``trainer.float32_matmul``, see ``torch.set_float32_matmul_precision``.
    """
    if beside > 1:
        if threads is None and "OMP_NUM_THREADS" not in os.environ:
            threads = max(1, cores() // beside)
        if threads is not None:
            os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    now = torch.get_num_threads()
    own = _threads[0] if _threads[1:] == [now] else now
    if threads is not None or own != now:
        torch.set_num_threads(own if threads is None else threads)
    _threads[:] = own, torch.get_num_threads()
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision(float32_matmul)
    for name, value in (PRIMITIVE_CACHES | CUBLAS).items():
        os.environ.setdefault(name, value)
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= allowed < most:
        with suppress(OSError, ValueError):  # a system may allow less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def choose_gpu(accelerator: str, devices: Any) -> None:
    """Have everything that a run computes outside of Lightning's Trainer on the GPU that ``trainer.devices`` names.

    Baselines, teachers and evaluations come before training, which is when Lightning chooses the GPU.

    Args:
        accelerator: ``trainer.accelerator``.
        devices: ``trainer.devices``; a number or ``auto`` begins with the first GPU.
    """
    if (
        isinstance(devices, Sequence)
        and not isinstance(devices, str)
        and pick_device(accelerator).type == "cuda"
    ):
        torch.cuda.set_device(devices[local_rank() % len(devices)])
