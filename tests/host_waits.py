"""What a program waits for where the device works behind it, for ``tests/test_host_waits.py``.

``python -m tests.host_waits`` trains, encodes and searches on a device that is not there (:mod:`tests.pretended`), and
prints for each part what it waited for, how often, and how far its numbers are from those of a CPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from pytorch_lightning.accelerators.cpu import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from colbert_lab.model import devices
from colbert_lab.model.encode import encode
from colbert_lab.search import exact
from colbert_lab.search.exact import rerank, search
from colbert_lab.search.xtr import search_retrieved
from colbert_lab.training import trainer
from colbert_lab.training.data import Batch
from colbert_lab.training.module import StudentModule
from tests.conftest import STUDENT
from tests.pretended import NAME, Device, pretended, register
from tests.search.test_exact import packed, stored
from tests.tiny import make_tiny_bert, sentences
from tests.toy import new_student
from tests.training.support import OBJECTIVES, TRAINER
from tests.training.test_gradcache import both_objectives
from tests.training.test_phase import train

STEPS = 3
register()
THERE = torch.device(NAME, 0)


class Anywhere(CPUAccelerator):
    """Lightning's, for a device that it does not know."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to prepare."""


class Event:
    """Notes in which order copies were commanded and waited for."""

    order: list[str]

    def record(self) -> None:
        """A copy was commanded."""
        self.order.append("commanded")

    def synchronize(self) -> None:
        """It is waited for."""
        self.order.append("waited")


def placed(*_: Any) -> dict[str, Any]:
    """In the place of :func:`colbert_lab.training.strategy.placement`."""
    return {
        "accelerator": "auto", "devices": 1,
        "strategy": SingleDeviceStrategy(device=THERE, accelerator=Anywhere()),
    }  # fmt: skip


@contextmanager
def behind() -> Iterator[Device]:
    """The device, working behind the program as a GPU does."""
    Event.order = []
    with (
        patch.object(devices, "works_behind", lambda device: device.type == NAME),
        patch("colbert_lab.model.encode.works_behind", lambda device: device.type == NAME),
        patch.object(devices, "pinned", lambda shape, dtype: torch.empty(tuple(shape), dtype=dtype)),
        patch.object(Tensor, "pin_memory", lambda self: self),
        patch.object(torch.cuda, "Event", Event),
        pretended() as device,
    ):
        yield device


def told(waits: Sequence[str], uploads: Sequence[str], apart: float, times: int = 1) -> dict[str, Any]:
    """For JSON, each thing with how often it was in one of ``times``."""
    counts = {name: count / times for name, count in Counter(waits).items()}
    return {"waits": counts, "uploads": Counter(uploads), "apart": apart}


def training(settings: dict[str, Any], parent: Path, **changes: Any) -> dict[str, Any]:
    """What the second training step waits for, from its beginning to that of the third."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    common: dict[str, Any] = {
        "checkpoint_every": 100, "log_every": 100, "batch_size": 4, "accumulation": 1, "token_budget": 10**6,
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-3, "fused": True},
    } | changes  # fmt: skip
    plain, _ = train(settings, folder / "cpu", steps=STEPS, **common)
    begun: list[tuple[int, int]] = []
    step = StudentModule.training_step

    def noting(self: StudentModule, batch: Batch, number: int) -> Tensor:
        begun.append((len(device.waits), len(device.uploads)))
        return step(self, batch, number)

    with (
        patch.object(trainer, "placement", placed),
        patch.object(StudentModule, "training_step", noting),
        behind() as device,
    ):
        there, _ = train(settings, folder / "there", steps=STEPS, **common)
    apart = max(float((plain[key] - value).abs().max()) for key, value in there.items())
    (waits, uploads), (waits_end, uploads_end) = begun[1:3]
    return told(device.waits[waits:waits_end], device.uploads[uploads:uploads_end], apart)


def searching(compute: Callable[..., tuple[Any, Any]]) -> dict[str, Any]:
    """What a search waits for, in many blocks of documents and several parts of queries."""
    with patch.object(exact, "BLOCKS", {"cpu": (200, 10), "cuda": (200, 10)}):
        scores, rows = compute(device=torch.device("cpu"))
        with behind() as device:
            again, rows_again = compute(device=THERE)
    assert all(torch.equal(*pair) for pair in zip(rows, rows_again, strict=True))
    apart = float((torch.cat(list(scores)) - torch.cat(list(again))).abs().max())
    return told(device.waits, device.uploads, apart)


def encoding(settings: dict[str, Any]) -> dict[str, Any]:
    """What encoding waits for, a batch; and in which order."""
    student = new_student(**settings)
    embed = partial(encode, student, sentences(40), "document", token_budget=100)
    plain = embed()
    # The subclass of Tensor that stands for the device's tensors cannot do without version counters.
    with behind() as device, patch.object(torch, "inference_mode", torch.no_grad):
        student.model.to(THERE)
        device.uploads.clear()
        there = embed()
    apart = float((plain.emb_TD - there.emb_TD).abs().max())
    batches = Event.order.count("commanded")
    return told(device.waits, device.uploads, apart, batches) | {"order": Event.order}


def noticed() -> dict[str, Any]:
    """What the device sees of ways to wait and of ways not to."""
    ways: dict[str, Callable[[Tensor], Any]] = {
        "item": lambda x: x.sum().item(),
        "bool": lambda x: bool(x.any()),
        "tolist": lambda x: x.tolist(),
        "to the CPU": lambda x: x.cpu(),
        "mask": lambda x: x[x > 0],
        "assign by mask": lambda x: x.clone().__setitem__(x > 0, 1.0),
        "nonzero": lambda x: x.nonzero(),
        "unique": lambda x: x.unique(),
        "repeat": lambda x: x.repeat_interleave((x > 0).long(), dim=0),
        "equal": lambda x: torch.equal(x, x),
        "upload": lambda x: torch.ones(3).to(x.device),
        "CPU index": lambda x: x[torch.tensor([0, 2])],
        "new from a list": lambda x: torch.tensor([1.0], device=x.device),
        "none: repeat to a known size": lambda x: x.repeat_interleave((x > 0).long(), dim=0, output_size=2),
        "none: upload behind": lambda x: torch.ones(3).to(x.device, non_blocking=True),
        "none: where": lambda x: torch.where(x > 0, x, 0).masked_fill(x > 1, 2).sort().values.cumsum(0),
        "none: index": lambda x: x[(x > 0).long()],
        "none: made there": lambda x: torch.arange(3, device=x.device) + x,
    }  # fmt: skip
    found = {}
    for name, way in ways.items():
        with pretended() as device:
            x = torch.tensor([1.0, -2.0, 3.0]).to(THERE, non_blocking=True)
            way(x)
        found[name] = len(device.waits) + len(device.uploads)
    return found


def main(names: Sequence[str]) -> None:
    """Print some parts; all without names."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = {"backbone": str(make_tiny_bert(folder / "bert")), **STUDENT, "dropout": 0.0}
        objective = both_objectives()
        distilled = {"distillation": objective["distillation"]}
        xtr = {**objective["contrastive"], "_target_": f"{OBJECTIVES}.xtr.XTR", "k": 4}
        queries, documents = packed(7, 0), packed(40, 1)
        store, ties = stored(documents), torch.arange(40)
        candidates = [torch.arange(n, n + 3 * (n != 2)) for n in range(7)]
        fit = partial(training, settings, folder)
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "noticed": noticed,
            "distillation": partial(fit, objective=distilled),
            "contrastive": partial(fit, objective=objective),
            "recomputed": partial(fit, objective=objective, recompute=True),
            "packed": partial(training, settings | {"attention": "packed"}, folder, objective=objective),
            "bf16": partial(fit, objective=distilled, trainer=TRAINER | {"precision": "bf16-true"}),
            "xtr": partial(fit, objective={"xtr": xtr}),
            "points": partial(fit, objective=distilled, log_every=1),
            "dims": partial(fit, objective=objective, dims=[8, 16]),
            "search": partial(searching, partial(search, queries, store, ties, 10)),
            "xtr search": partial(searching, partial(search_retrieved, queries, store, ties, 10, 20)),
            "rerank": partial(searching, partial(rerank, queries, store, candidates, ties, 2)),
            "encode": partial(encoding, settings),
        }
        print(json.dumps({name: parts[name]() for name in names or parts}))


if __name__ == "__main__":
    main(sys.argv[1:])
