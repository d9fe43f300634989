"""Shared fixtures: a tiny BERT made on the spot, no network."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from pytorch_lightning.trainer.connectors import callback_connector

from colbert_lab.tasks.arguments import bounded_configs
from colbert_lab.text import installed_docs
from colbert_lab.text.installed_docs import load_installed_docs
from colbert_lab.text.source_files import standard_library_files
from colbert_lab.training import phase
from colbert_lab.training.cost import matmul_rate
from tests.browsing import started_browser
from tests.chaos.figures import pytest_addoption, pytest_terminal_summary  # noqa: F401 - hooks
from tests.composing import compose_fast
from tests.forked import fork_spawned
from tests.tiny import make_tiny_bert

# Two test processes with two threads each would wait for one another on two cores.
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
torch.set_num_threads(int(os.environ.get("COLBERT_LAB_TEST_THREADS", THREADS)))

# Each Trainer asks all installed packages for callbacks of theirs, and a run makes ten; there are none.
callback_connector._load_external_callbacks = cache(callback_connector._load_external_callbacks)  # type: ignore[attr-defined]
# Each phase asks how fast the machine multiplies, a fifth of a small run; that does not change while tests run.
setattr(phase, "matmul_rate", cache(matmul_rate))  # noqa: B010
bounded_configs()  # as the command line reads configs
compose_fast()
fork_spawned()

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"


def pytest_collection_finish() -> None:
    """What is imported stays: where a run has garbage collected, it need not be looked at."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """See :func:`tests.browsing.started_browser`."""
    yield from started_browser()


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny BERT."""
    return make_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def all_docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the installed documentation, which is read once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed-docs"
    load_installed_docs(folder)
    return folder


@pytest.fixture(scope="module")
def some_docs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache with some of the installed documentation, which is all that this process finds installed meanwhile."""
    packages = {name: version(name) for name in ("hydra-core", "omegaconf")}
    files = standard_library_files()[::8]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installed_docs, "required_distributions", lambda: packages)
        patch.setattr(installed_docs, "standard_library_files", lambda: files)
        folder = tmp_path_factory.mktemp("some-docs")
        load_installed_docs(folder)
        yield folder


STUDENT: dict[str, Any] = {
    "dim": 16,
    "bias": False,
    "dropout": None,
    "attention": "sdpa",
    "query_length": 12,
    "document_length": 24,
    "query_marker": "[unused0]",
    "document_marker": "[unused1]",
    "expansion": "none",
    "skiplist": "punctuation",
    "query_prompt": "",
    "document_prompt": "",
    "extend_length": False,
}


@pytest.fixture
def student_settings(tiny_bert: Path) -> dict[str, Any]:
    """Keyword arguments of ``tests.toy.new_student`` for the tiny BERT."""
    return {"backbone": str(tiny_bert), **STUDENT}
