"""What is told about the machine and the code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from colbert_lab.records import environment

MODULES = (
    *("records.identity", "records.records", "records.environment", "records.rankings"),
    *("base.layout", "analysis.tables"),
    *("evaluation.measures", "evaluation.significance"),
)


def test_describe_is_plain_json() -> None:
    found = environment.describe()
    assert json.loads(json.dumps(found)) == found
    assert {"python", "platform", "packages", "cpu", "memory_gib", "gpus", "commit", "dirty"} <= set(found)
    assert found["packages"]["numpy"]
    assert found["cpu"]["cores"] >= 1


def test_hardware_label() -> None:
    assert re.search(r"\d+ cores?", environment.hardware_label())


def test_processors_of_one_model_are_told_apart_by_their_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = []
    for flags in (
        ["avx512f", "avx512_bf16", "amx_bf16"],
        ["avx512f", "avx512_bf16"],
        ["sve", "bf16"],
        ["sve"],
        [],
    ):
        monkeypatch.setattr(
            environment, "_cpu", lambda flags=flags: {"model": "X", "cores": 2, "flags": flags}
        )
        labels.append(environment.hardware_label().split(", ")[0])
    assert labels == ["X with AMX", "X with AVX512-BF16", "X with Arm BF16", "X with SVE", "X"]


def test_gpus_come_from_torch_only_when_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        is_available = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 2)
        get_device_name = staticmethod(lambda i: "H200")

    class Torch:
        cuda = Cuda

    monkeypatch.setitem(sys.modules, "torch", Torch)
    assert environment.hardware_label().startswith("2 x H200, ")
    monkeypatch.delitem(sys.modules, "torch")
    assert "H200" not in environment.hardware_label()


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_git_state(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (tmp_path / "outputs").mkdir()
    package.mkdir()
    (package / "code.py").write_text("x = 1\n")
    assert environment.git_state(package) == (None, None)
    git(tmp_path, "init", "-q")
    assert environment.git_state(package) == (None, None)  # no commit yet
    git(tmp_path, "add", "package")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert environment.git_state(package) == (commit, False)
    (tmp_path / "outputs" / "results.jsonl").write_text("{}\n")
    assert environment.git_state(package) == (commit, False)  # results are not code
    (package / "code.py").write_text("x = 2\n")
    assert environment.git_state(package) == (commit, True)
    installed = tmp_path / "venv" / "site-packages" / "package"
    installed.mkdir(parents=True)
    assert environment.git_state(installed) == (None, None)  # somebody else's repository


def test_git_is_missing_or_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_state(tmp_path / "package") == (None, None)
    script = tmp_path / "git"
    script.write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    script.chmod(0o755)
    monkeypatch.setattr(environment, "GIT_SECONDS", 0.2)
    assert environment.git_state(tmp_path / "package") == (None, None)


def test_importing_results_and_measures_is_cheap() -> None:
    """No torch, and nothing else that is slow to import, until it is needed."""
    names = [f"colbert_lab.{name}" for name in MODULES]
    heavy = ["torch", "scipy", "pyarrow", "wandb", "pandas", "rich", "pytrec_eval", "numpy"]
    code = f"import sys, {', '.join(names)}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
