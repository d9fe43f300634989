"""One student folder of each layout that can be written."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from colbert_lab.model.formats.known import FORMATS, save_checkpoint
from colbert_lab.model.student import Student
from tests.toy import new_student

WRITABLE = [name for name, layout in FORMATS.items() if layout.save is not None]
CHANGES: dict[str, dict[str, Any]] = {
    "colbert_az": {
        "query_marker": "[Q]", "document_marker": "[D]", "query_length": 32, "document_length": 256,
        "expansion": "attended", "skiplist": "none",
    },
    # Stanford skips the unknown token where the vocabulary lacks a punctuation mark, as the tiny one does.
    "stanford": {"expansion": "unattended", "skiplist": [*".,;:!?()-'", "[UNK]"]},
}  # fmt: skip


def student_for(target: str, settings: dict[str, Any]) -> Student:
    """A student that the layout can hold."""
    torch.manual_seed(3)
    return new_student(**settings | CHANGES.get(target, {}))


@pytest.fixture
def long_bert(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    """The tiny BERT with positions for ColBERT-AZ's documents."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("long") / "bert"
    shutil.copytree(tiny_bert, folder)
    config = BertConfig.from_pretrained(folder)
    config.max_position_embeddings = 256
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folders(student_settings: dict[str, Any], long_bert: Path, tmp_path: Path) -> dict[str, Path]:
    """One student folder of each layout."""
    made = {}
    for target in WRITABLE:
        folder = tmp_path / f"as_{target}"
        folder.mkdir()
        save_checkpoint(student_for(target, student_settings | {"backbone": str(long_bert)}), target, folder)
        made[target] = folder
    return made
