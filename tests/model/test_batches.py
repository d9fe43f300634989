"""Two gloo processes give the gradients of one process on the same rows."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from colbert_lab.base.errors import InputError
from colbert_lab.model import batches
from colbert_lab.model.batches import (
    check_compiler,
    compiled,
    concatenate,
    embed_chunks,
    length_sorted_batches,
)
from colbert_lab.training.checks import objective_from
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import Optimization
from tests.toy import new_student
from tests.training.support import distance, make_lists, phase_settings

STEPS, ACCUMULATION = 3, 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Step(torch.nn.Module):
    """A training step as a forward pass, which is what data-parallel training wraps."""

    def __init__(self, module: StudentModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> torch.Tensor:
        return self.module.training_step(batch, 0)


def learn(rank: int, world: int, port: int, settings: dict[str, Any], folder: str) -> None:
    """Three optimizer steps; saves the gradients of the first and the parameters after the last."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    torch.manual_seed(0)
    student = new_student(**(settings | {"dropout": 0.0}))
    objective = phase_settings().objective
    objective["distillation"]["weight"], objective["contrastive"]["weight"] = 0.3, 0.7
    objective["contrastive"]["temperature"], objective["contrastive"]["learnable"] = 0.2, True
    module = StudentModule(
        student.model, objective_from(objective), Optimization(torch.optim.SGD, "constant", 0, STEPS),
        log_every=1, token_budget=60, recompute=True,
    )  # fmt: skip
    # Few documents, so that processes hold copies of each other's.
    batches = MicroBatches(
        [make_lists(documents=12)], student.tokenizer, batch_size=4, n_way=4, token_budget=60, seed=0, phase="x",
    ).share(rank, world)  # fmt: skip
    module.train()
    step: torch.nn.Module = Step(module)
    if world > 1:
        step = DistributedDataParallel(step)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for number in range(STEPS):
        for k in range(ACCUMULATION):
            loss = step(batches[number * ACCUMULATION + k]) / ACCUMULATION
            loss.backward()
        if number == 0 and rank == 0:
            grads = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
            torch.save(grads, Path(folder) / f"gradients-{world}.pt")
        optimizer.step()
        optimizer.zero_grad()
    if rank == 0:
        torch.save(module.state_dict(), Path(folder) / f"parameters-{world}.pt")
    if world > 1:
        # Freeing a gloo group joins its thread while holding the interpreter's lock, which that thread may be waiting
        # for to free its last piece of work (torch 2.13): leave without freeing anything.
        dist.barrier()
        os._exit(0)


@pytest.mark.slow
def test_two_processes_equal_one(student_settings: dict[str, Any], tmp_path: Path) -> None:
    start_processes(
        learn, args=(2, free_port(), student_settings, str(tmp_path)), nprocs=2, start_method="spawn"
    )
    start_processes(learn, args=(1, 0, student_settings, str(tmp_path)), nprocs=1, start_method="spawn")
    two, one = (torch.load(tmp_path / f"gradients-{n}.pt", weights_only=True) for n in (2, 1))
    assert two.keys() == one.keys()
    assert distance(two, one) < 1e-6
    two, one = (torch.load(tmp_path / f"parameters-{n}.pt", weights_only=True) for n in (2, 1))
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-6)


def test_length_sorted_batches_cover_all_within_budget() -> None:
    lengths = [5, 30, 7, 7, 1, 18, 50, 2]
    batches = list(length_sorted_batches(lengths, 36))
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[n] for n in batch)
        assert len(batch) == 1 or longest * len(batch) <= 36


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_compiled_student_embeds_chunks_of_any_size_as_it_does_without(
    backend: str, recompute: bool, student_settings: dict[str, Any]
) -> None:
    student = new_student(**student_settings)
    model = student.model.eval()
    texts = (
        ["red fish", "a bird flies"],
        ["where is the old stone"],
        ["the sky", "blue", "cold water falls"],
    )
    chunks = [student.tokenizer(list(some), "document") for some in texts]
    found = []
    for embed in (model, compiled(model, backend)):
        embedded = concatenate(embed_chunks(embed, chunks, recompute))
        model.zero_grad()
        (
            embedded.emb_NLD * torch.linspace(-1, 1, embedded.emb_NLD.numel()).view_as(embedded.emb_NLD)
        ).sum().backward()
        gradients = {
            name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None
        }
        found.append((embedded.emb_NLD.detach(), gradients))
    (plain, gradients), (fast, gradients_fast) = found
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=0)
    assert distance(gradients_fast, gradients) < 1e-5


def test_kernels_are_made_where_there_is_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for device, needs in (("cuda", "triton"), ("cpu", r"a C\+\+ compiler")):
        with pytest.raises(
            InputError, match=rf"trainer\.compile=inductor: needs {needs}.*trainer\.compile=null"
        ):
            check_compiler("inductor", torch.device(device))
        check_compiler("aot_eager", torch.device(device))
        check_compiler(None, torch.device(device))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/g++" if name == "g++" else None)
    check_compiler("inductor", torch.device("cpu"))
