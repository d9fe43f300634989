"""What is set for the whole process before torch computes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from colbert_lab.training import precision
from colbert_lab.training.precision import pick_precision, prepare_torch

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
