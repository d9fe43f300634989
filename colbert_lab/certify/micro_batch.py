"""A micro-batch of a phase, computed as training does it, the plain way, and by two processes of this machine's CPU."""

from __future__ import annotations

import copy
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException, start_processes
from torch.nn.parallel import DistributedDataParallel

from colbert_lab.base.errors import InputError
from colbert_lab.certify import as_trained
from colbert_lab.certify.as_trained import FULL, Embedded, Step
from colbert_lab.certify.plain_scores import plain_pooled
from colbert_lab.certify.reference import Reference, Truth
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import autocast
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.student import Student
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.data import Batch
from colbert_lab.training.module import StudentModule
from colbert_lab.training.precision import prepare_torch
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.trainer import training_module


def positives_of(queries: Sequence[str], sources: Sequence[Examples]) -> dict[str, set[str]]:
    """Texts of the positives of some queries in all training data, without the index that training has of them."""
    found: dict[str, set[str]] = {query: set() for query in queries}
    query_of = {text_key(query): query for query in queries}
    for source in sources:
        keys = source.query_keys()
        pairs = np.flatnonzero(np.isin(keys, list(query_of)))
        for key, text in zip(keys[pairs].tolist(), source.positive_texts(pairs), strict=True):
            found[query_of[key]].add(text)
    return found


@dataclass(eq=False)
class MicroBatch:
    """A micro-batch of a phase, and what the checks compute of it; each thing once.

    Attributes:
        phase: as :func:`~colbert_lab.certify.as_trained.cut_phase` made it.
        k: number of the micro-batch.
        model: the student's network, as :func:`~colbert_lab.certify.as_trained.training` made it.
        reference: the same, computed the plain way.
        precision: what the config trains in, Lightning's name.
        recompute: whether the phase computes activations again.
    """

    phase: PreparedPhase
    k: int
    model: ColBERT
    reference: Reference
    precision: str
    recompute: bool

    def __post_init__(self) -> None:
        self.examples = self.phase.batches.examples(self.k)
        self.batch = self.phase.batches[self.k].to(next(self.model.parameters()).device)
        self.matrix = self.phase.objective.all_pairs
        self.lists = self.phase.objective.lists
        self._steps: dict[str, Step] = {}

    @cached_property
    def dropout(self) -> bool:
        """Whether training draws random numbers."""
        return as_trained.dropout_matters(self.phase, self.model, self.batch)

    @cached_property
    def whole(self) -> Embedded:
        """In float32, with all tokens of documents."""
        return self.embed(FULL)

    @cached_property
    def embedded(self) -> Embedded:
        """In float32, as it is scored."""
        return self.pooled(self.whole)

    def pooled(self, embedded: Embedded) -> Embedded:
        """With the tokens of documents pooled, where the phase does so."""
        return replace(embedded, chunks=self.phase.scoring.documents(embedded.chunks))

    @cached_property
    def truth(self) -> Truth:
        """The plain way."""
        near = self.embedded.texts(self.batch, self.examples)
        pooling, (_, whole) = self.phase.scoring.pooling, self.whole.texts(self.batch, self.examples)

        def pool(text: str, emb_LD: Tensor) -> Tensor:
            return plain_pooled(emb_LD, pooling.factor, pooling.protected, whole[text])

        known = positives_of([example.query for example in self.examples], self.phase.batches.sources)
        return self.reference.truth(
            self.examples, self.phase.tokenizer, self.phase.objective, near, known, self.batch, pool
        )

    def embed(self, precision: str) -> Embedded:
        """As training does it, before anything is pooled."""
        return as_trained.embed(self.model, self.batch, self.phase.settings.token_budget, precision)

    def step(self, precision: str) -> Step:
        """As training does it, without dropout."""
        if precision not in self._steps:
            self._steps[precision] = self.step_with(precision, self.recompute)
        return self._steps[precision]

    def step_with(self, precision: str, recompute: bool, dropout_seed: int | None = None) -> Step:
        """A step anew, with or without recomputation and dropout."""
        return as_trained.train_step(
            self.phase, self.model, self.batch, precision, recompute=recompute, dropout_seed=dropout_seed
        )

    def scores(self, embedded: Embedded) -> list[Tensor]:
        """The scores that the objective asks for: lists, everything against everything, or both."""
        scoring = self.phase.scoring
        found = [as_trained.list_scores(embedded, self.batch, scoring)] if self.lists else []
        if self.matrix:
            found.append(as_trained.matrix_scores(embedded, self.batch, self.examples, scoring))
        return found

    @property
    def true_scores(self) -> list[Tensor]:
        """The same of the reference."""
        found = [self.truth.lists] if self.lists else []
        return found if self.truth.matrix is None else [*found, self.truth.matrix]


WORLD = 2
PATIENCE = timedelta(minutes=10)  # for a process that waits for the other


@dataclass(frozen=True)
class Shared:
    """A micro-batch and how it is shared.

    Attributes:
        phase: how to train; without its data, which the processes do not need.
        shares: what each process works on.
        recompute: see :func:`colbert_lab.training.phase.training_module`.
        head_alone: see :func:`colbert_lab.certify.as_trained.stages`.
    """

    phase: PreparedPhase
    shares: Sequence[Batch]
    recompute: bool
    head_alone: bool = False


def shared(phase: PreparedPhase, k: int, recompute: bool, head_alone: bool = False) -> Shared | None:
    """Micro-batch k as two processes share it; None where they cannot share it equally."""
    if phase.batches.batch_size % WORLD:
        return None
    shares = [phase.batches.share(rank, WORLD)[k] for rank in range(WORLD)]
    bare = replace(phase, batches=None, tokenizer=None)  # type: ignore[arg-type]  # not read by training_module
    return Shared(bare, shares, recompute, head_alone)


class _Step(nn.Module):
    """A training step as a forward pass, which is what data-parallel training wraps."""

    def __init__(self, module: StudentModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> Tensor:
        with autocast(batch.keys_N.device, FULL):
            return self.module.training_step(batch, 0)


def work(
    rank: int, folder: str, attention: str, threads: int, float32_matmul: str, tasks: Sequence[Shared]
) -> None:
    """What each of the processes does; the first one writes loss and gradients of every task.

    Args:
        rank: its number.
        folder: where the student is, and where the results go.
        attention: attention implementation of the student.
        threads: CPU threads of a process.
        float32_matmul: see :func:`colbert_lab.training.precision.prepare_torch`.
        tasks: what to compute.
    """
    prepare_torch(threads, float32_matmul=float32_matmul)
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD, timeout=PATIENCE
    )
    model = load_student(Path(folder) / "student", attention, trusted=True).model  # this command wrote it
    for number, task in enumerate(tasks):
        # What once was data-parallel keeps its hooks: every task has a copy of its own.
        own = copy.deepcopy(model)
        with as_trained.training(task.phase, own, task.head_alone):
            module = training_module(task.phase, own, task.recompute).eval()
            step = DistributedDataParallel(_Step(module))  # reduces gradients for as long as it lives
            loss = step(task.shares[rank])
            loss.backward()
            grads = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
        mean = loss.detach() / WORLD
        dist.all_reduce(mean)
        if rank == 0:
            plain = {name.removeprefix("model."): value.contiguous() for name, value in grads.items()}
            save_file(plain, Path(folder) / f"{number}.safetensors")
            (Path(folder) / f"{number}.json").write_text(json.dumps(float(mean)), encoding="utf-8")
    # Freeing a gloo group joins its thread while holding the interpreter's lock, which that thread may be waiting for
    # to free its last piece of work (torch 2.13): leave without freeing anything.
    dist.barrier()
    os._exit(0)


@contextmanager
def two_processes(
    student: Student, attention: str, tasks: Sequence[Shared]
) -> Iterator[Callable[[int], Step]]:
    """Have two processes compute the tasks.

    Args:
        student: on the CPU; its tokenizer is not used.
        attention: attention implementation of the student.
        tasks: what to compute.

    Yields:
        What reads the result of a task by its number.

    Raises:
        InputError: two processes cannot work together here.
    """
    with tempfile.TemporaryDirectory(prefix="colbert_lab-certify-") as name:
        folder = Path(name)
        save_student(student, folder / "student")
        threads = max(1, torch.get_num_threads() // WORLD)
        matmul = torch.get_float32_matmul_precision()
        arguments: tuple[Any, ...] = (name, attention, threads, matmul, list(tasks))
        try:
            start_processes(work, args=arguments, nprocs=WORLD, start_method="spawn")
        except ProcessException as error:
            lines = str(error).strip().splitlines()
            raise InputError(
                f"certify.checks: gathering: two processes cannot work together here ({lines[-1]}); leave gathering "
                "out if this machine trains with one process"
            ) from error

        def read(number: int) -> Step:
            loss = float(json.loads((folder / f"{number}.json").read_text(encoding="utf-8")))
            return Step(loss, load_file(folder / f"{number}.safetensors"))

        yield read
