"""colbert_lab's own student folder: safetensors weights, one JSON of settings, the tokenizer.

config.json           the backbone's Hugging Face configuration
model.safetensors     all weights: ``backbone.*`` and ``head.*``
colbert_lab.json      format version, token rules, layers of the head
tokenizer files       as Hugging Face writes them
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from colbert_lab.atomic import atomic_folder
from colbert_lab.errors import InputError
from colbert_lab.student.backbone import backbone_from_config, load_tokenizer
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.formats.weights import fit, read_weights
from colbert_lab.student.heads import head_from
from colbert_lab.student.student import Student
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules

KEY = "student.checkpoint"
SETTINGS_FILE = "colbert_lab.json"
FORMAT_VERSION = 2  # 1 had heads of one layer only


def save_student(student: Student, folder: Path) -> None:
    """Write a student folder; an older one at the same place is replaced only when the new one is whole.

    Raises:
        OSError: the disk is full or not writable; what was there before stays.
    """
    with atomic_folder(folder) as temporary, _os_errors(folder):
        write_student(student, temporary)


def write_student(student: Student, folder: Path) -> None:
    """Write the files of a student folder into an empty folder."""
    student.model.backbone.config.save_pretrained(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in student.model.state_dict().items()}
    student.tokenizer.tokenizer.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "format": FORMAT_VERSION,
        "head": [shape.to_dict() for shape in student.model.head.shapes],
        "pooling": student.model.pooling,
        "tokens": student.tokenizer.rules.to_dict(),
    }
    (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _os_errors(folder: Path) -> Iterator[None]:
    """Failed writes of the Rust libraries tokenizers and safetensors, as the OSError that they are."""
    try:
        yield
    except Exception as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from error


def load_student(folder: Path, attention: str = "sdpa") -> Student:
    """Load a folder written by :func:`save_student`; no code in it is ever run.

    Args:
        folder: the student folder.
        attention: attention implementation of transformers.

    Raises:
        InputError: the folder is not a student, or weights are missing, left over or of another shape.
    """
    settings = _settings(folder)
    tokenizer = _tokenizer(folder, settings)
    backbone = backbone_from_config(folder, attention)
    if len(tokenizer.tokenizer) > backbone.get_input_embeddings().num_embeddings:
        raise InputError(f"{KEY}={folder}: the tokenizer has more tokens than the weights")
    model = ColBERT(backbone, head_from(settings["head"]), settings.get("pooling"))
    fit(model, read_weights(folder, KEY), f"{KEY}={folder}")
    return Student(model, tokenizer)


def _settings(folder: Path) -> dict[str, Any]:
    if not (folder / SETTINGS_FILE).is_file():
        raise InputError(f"{KEY}={folder}: not a student folder (it has no {SETTINGS_FILE})")
    settings: dict[str, Any] = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    if settings["format"] != FORMAT_VERSION:
        raise InputError(
            f"{KEY}={folder}: is of format {settings['format']}, and this colbert_lab reads format {FORMAT_VERSION}; "
            + ("update colbert_lab" if settings["format"] > FORMAT_VERSION else "train it anew")
        )
    return settings


def _tokenizer(folder: Path, settings: dict[str, Any]) -> StudentTokenizer:
    return StudentTokenizer(load_tokenizer(str(folder.resolve())), TokenRules(**settings["tokens"]))
