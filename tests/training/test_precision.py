"""What is set for the whole process before torch computes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from colbert_lab.model import devices as computing
from colbert_lab.records.identity import config_hash
from colbert_lab.settings import command_of
from colbert_lab.training import precision
from colbert_lab.training.precision import (
    of_this_machine,
    pick_budget,
    pick_precision,
    pick_workers,
    prepare_torch,
)
from tests.test_configs import composed

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(precision, "_threads", [])
    kept, threads = {name: os.environ.get(name) for name in (*CACHES, CUBLAS)}, torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name, value in kept.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def test_caches_of_primitives_are_small() -> None:
    for name in CACHES:
        os.environ.pop(name, None)
    prepare_torch(None)
    assert all(1 <= int(os.environ[name]) <= 64 for name in CACHES)


def test_products_on_a_gpu_are_deterministic_from_the_first_one_on() -> None:
    # torch asks cuBLAS once, and a student is measured before Lightning says how it is trained.
    os.environ.pop(CUBLAS, None)
    prepare_torch(None)
    assert os.environ[CUBLAS] in (":4096:8", ":16:8")
    os.environ[CUBLAS] = ":16:8"
    prepare_torch(None)
    assert os.environ[CUBLAS] == ":16:8"


def test_what_the_environment_says_of_them_is_left() -> None:
    os.environ |= {CACHES[0]: "7", CACHES[1]: "1024"}
    prepare_torch(None)
    assert [os.environ[name] for name in CACHES] == ["7", "1024"]


def test_threads_are_set_where_they_are_given() -> None:
    threads = torch.get_num_threads()
    prepare_torch(None)
    assert torch.get_num_threads() == threads
    prepare_torch(threads + 1)
    assert torch.get_num_threads() == threads + 1


def test_the_number_of_one_run_is_not_that_of_the_next_in_this_process() -> None:
    own = torch.get_num_threads()
    prepare_torch(own + 1)
    prepare_torch(own + 2)
    prepare_torch(None)
    assert torch.get_num_threads() == own


def test_processes_share_the_cores_before_a_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # put back afterwards
    for threads, expected in ((None, 4), (3, 3)):
        monkeypatch.delenv("OMP_NUM_THREADS")
        prepare_torch(threads, beside=2)
        # Lightning sets its own number only where the variable is not there.
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (expected, str(expected))
    torch.set_num_threads(5)
    prepare_torch(None, beside=2)
    assert torch.get_num_threads() == 5


def test_denormal_numbers_are_flushed() -> None:
    prepare_torch(None)
    smallest = torch.finfo(torch.float32).tiny
    assert (torch.tensor([smallest, 1.0]) * torch.tensor([0.25, 1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": True, "amx_bf16": False}, "32-true"),
        ({"avx2": True}, "32-true"),
        ({"sve": True, "bf16": True}, "bf16-mixed"),
    ],
)
def test_bf16_is_picked_where_the_processor_has_a_unit_for_it(
    found: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hasattr(torch.cpu, "get_capabilities"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    else:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(found.get("amx_bf16")))
        if "bf16" in found:
            pytest.skip("this torch tells nothing about Arm")
    assert pick_precision("auto", "cpu") == expected
    assert pick_precision("bf16-mixed", "cpu") == "bf16-mixed"


def test_products_of_float32_are_those_of_this_run_alone() -> None:
    prepare_torch(None, float32_matmul="high")
    assert torch.get_float32_matmul_precision() == "high"
    prepare_torch(None)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize(
    ("gib", "budget"), [(8, 4096), (24, 4096), (40, 8192), (80, 16384), (140, 32768), (999, 32768)]
)
def test_chunks_are_as_large_as_the_whole_memory_of_a_gpu_asks_for(
    gib: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        precision, "total_bytes", lambda device: None if device.type == "cpu" else gib * 2**30
    )
    assert pick_budget(torch.device("cuda")) == budget
    assert pick_budget(torch.device("cpu")) == 4096


def test_workers_leave_a_core_to_each_gpu_and_all_to_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for cores, expected in ((1, 0), (2, 0), (6, 2), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert pick_workers(torch.device("cuda")) == expected
    assert pick_workers(torch.device("cpu")) == 0


def test_what_auto_is_here_takes_its_place_and_what_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(computing, "_cpu_is_faster_in_bf16", lambda: False)
    cfg = composed(
        "+experiment=colbert_zero",
        "trainer.accelerator=cpu",
        "phases.supervised.token_budget=77",
        "evaluation=none",
    )
    command = command_of(cfg, here=of_this_machine)
    trainer, phases = command.settings.trainer, command.settings.phases
    assert (trainer.precision, trainer.num_workers) == ("32-true", 0)
    assert {name: phase.token_budget for name, phase in phases.items()} == {
        "unsupervised": 2048, "supervised": 77, "distill": 4096,
    }  # fmt: skip
    assert command.settings.evaluation.token_budget == 4096
    assert command.asked["phases"]["distill"]["token_budget"] == "auto"
    spelled = [
        "trainer.precision=32-true", "trainer.num_workers=0", "phases.distill.token_budget=4096",
        "phases.supervised.token_budget=77", "evaluation.token_budget=4096", "trainer.accelerator=cpu",
    ]  # fmt: skip
    given = command_of(
        composed("+experiment=colbert_zero", "evaluation=none", *spelled), here=of_this_machine
    )
    assert config_hash(given.config) == config_hash(command.config)


def test_as_many_files_may_be_open_as_the_system_allows() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, limits[1]), limits[1]))
        prepare_torch(None)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(
    ("devices", "rank", "chosen"),
    [
        ([1], {}, 1),
        ([2, 3], {"LOCAL_RANK": "1"}, 3),
        ([2, 3], {"SLURM_LOCALID": "1"}, 3),
        (2, {}, None),
        ("auto", {}, None),
    ],
)
def test_all_of_a_run_computes_on_the_gpu_that_is_named(
    monkeypatch: pytest.MonkeyPatch, devices: Any, rank: dict[str, str], chosen: int | None
) -> None:
    used: list[int] = []
    monkeypatch.setattr(precision, "pick_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in rank.items():
        monkeypatch.setenv(name, value)
    precision.choose_gpu("auto", devices)
    assert used == ([] if chosen is None else [chosen])
    monkeypatch.setattr(precision, "pick_device", lambda _: torch.device("cpu"))
    precision.choose_gpu("cpu", devices)
    assert len(used) <= 1
