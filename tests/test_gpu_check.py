"""The check of a GPU: all its parts at tiny sizes on a CPU, and what becomes of parts that fail, hang or are late."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

BENCHMARKS = ROOT / "benchmarks"
FAKES = """
import os, time
from gpu_book import impossible, line

def prepared(check):
    yield line("texts", "made")

def good(check):
    with open(check.work / "calls", "a") as file:
        file.write("good ")
    yield line("speed", "5 | 6", seconds=2)
    yield impossible("kernels", "needs a CUDA device")

def bad(check):
    yield line("first", "is kept")
    raise ValueError("no such thing")

def wrong(check):
    yield line("bits", "differ", ok=False)

def slow(check):
    yield line("first", "is kept")
    time.sleep(60)

def gone(check):
    yield line("first", "is kept")
    os.kill(os.getpid(), 9)

def never(check):
    yield impossible("everything", "nothing is installed")
"""


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The script with parts that compute nothing, forked from this process."""
    (tmp_path / "fakes.py").write_text(FAKES, encoding="utf-8")
    for path in (tmp_path, BENCHMARKS):
        monkeypatch.syspath_prepend(str(path))
    module = import_module("gpu_check")
    monkeypatch.setattr(module, "server", lambda: multiprocessing.get_context("fork"))
    for name in ("HF_HUB_OFFLINE", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    yield module
    sys.modules.pop("fakes", None)


@pytest.fixture
def checked(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Runs parts by name with their limits in seconds; the exit status and what the report says of each."""

    def run(parts: dict[str, float], *options: str) -> tuple[int, dict[str, Any]]:
        found = {"prepare": ("fakes:prepared", 60.0)}
        found |= {name: (f"fakes:{name}", limit) for name, limit in parts.items()}
        monkeypatch.setattr(check, "PARTS", found)
        command = ["gpu_check.py", "--out", str(tmp_path / "out"), "--device", "cpu", "--quick", *options]
        monkeypatch.setattr(sys, "argv", command)
        status = check.main()
        capsys.readouterr()
        report = json.loads((tmp_path / "out" / "gpu_check.json").read_text(encoding="utf-8"))
        return status, report["parts"]

    return run


def said(parts: dict[str, Any], name: str) -> list[tuple[str, str]]:
    return [(each["what"], each["outcome"]) for each in parts[name]["lines"]]


def test_a_part_that_fails_ends_no_other_one(
    checked: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path
) -> None:
    status, parts = checked({"bad": 60, "gone": 60, "slow": 0.5, "wrong": 60, "good": 60})
    assert status == 1
    assert list(parts) == ["prepare", "bad", "gone", "slow", "wrong", "good"]
    broke = [("first", "passed"), ("it broke off", "failed")]
    assert [said(parts, name) for name in ("bad", "gone", "slow")] == [broke] * 3
    assert "ValueError: no such thing" in parts["bad"]["lines"][1]["found"]
    assert "status -9" in parts["gone"]["lines"][1]["found"]
    assert "limit of 0 s" in parts["slow"]["lines"][1]["found"]
    assert parts["good"]["lines"][0]["numbers"] == {"seconds": 2}
    log = (tmp_path / "out" / "gpu_check.log").read_text(encoding="utf-8")
    assert 'raise ValueError("no such thing")' in log
    table = (tmp_path / "out" / "gpu_check.md").read_text(encoding="utf-8").splitlines()
    rows = [row for row in table if row.startswith("| ")]
    assert {row.count("|") for row in rows} == {5}
    assert any("| kernels | not possible here | needs a CUDA device |" in row for row in rows)
    assert any("| speed | passed | 5 / 6 |" in row for row in rows)


def test_the_same_command_goes_on_with_what_did_not_run_to_its_end(
    checked: Callable[..., tuple[int, dict[str, Any]]], tmp_path: Path
) -> None:
    calls = tmp_path / "out" / "work" / "calls"
    status, parts = checked({"good": 60})
    assert (status, said(parts, "good")[0]) == (0, ("speed", "passed"))
    status, parts = checked({"good": 60, "slow": 60}, "--minutes", "0.01")
    assert (status, said(parts, "slow")) == (0, [("everything", "not reached")])
    # There is time now; the part that is finished is not repeated.
    status, parts = checked({"good": 60, "slow": 0.2, "never": 60})
    assert (status, calls.read_text(encoding="utf-8")) == (1, "good ")
    assert said(parts, "slow")[0] == ("first", "passed")
    assert said(parts, "never") == [("everything", "not possible here")]
    _, parts = checked({"good": 60, "slow": 60, "never": 60}, "--parts", "good", "--again", "good")
    assert calls.read_text(encoding="utf-8") == "good good "
    with pytest.raises(SystemExit, match="choose another folder"):
        checked({"good": 60}, "--device", "cuda")


@pytest.mark.slow
def test_every_part_runs_at_tiny_sizes_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu_check.py"), "--out", str(tmp_path)]
    command += ["--device", "cpu", "--quick", "--threads", "1", "--minutes", "8"]
    command += ["--pylate", sys.executable, "--sentence-transformers", "/usr/bin/false"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "gpu_check.json").read_text(encoding="utf-8"))
    assert len(report["parts"]) == 11
    outcomes = {name: {each["outcome"] for each in part["lines"]} for name, part in report["parts"].items()}
    assert all("passed" in found for name, found in outcomes.items() if name != "peers")
    assert outcomes["peers"] == {"not possible here"}
    lines = {each["what"]: each for part in report["parts"].values() for each in part["lines"]}
    assert "the same bits in" in lines["killed and gone on"]["found"]
    assert lines["another seed"]["outcome"] == "passed"
    assert lines["trainer.maxsim=kernels"]["found"] == "needs a CUDA device"
    before = (tmp_path / "gpu_check.json").read_bytes()
    again = subprocess.run([*command, "--parts", "machine,steps"], capture_output=True, text=True, check=True)
    assert "| steps (" in again.stdout
    assert (tmp_path / "gpu_check.json").read_bytes() == before


def test_the_plan_has_the_seconds_of_every_part_and_fits_ten_minutes(check: ModuleType) -> None:
    sizes = import_module("gpu_sizes")
    plan = sizes.expected(sizes.FULL)
    assert list(plan) == list(check.PARTS)
    assert sum(plan.values()) < 540
    assert all(seconds < check.PARTS[name][1] for name, seconds in plan.items())
    described = re.findall(r"^    (\w+) +(\d+)   ", str(check.__doc__), flags=re.MULTILINE)
    assert described == [(name, f"{seconds:.0f}") for name, seconds in plan.items()]
