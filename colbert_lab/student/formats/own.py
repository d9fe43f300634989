"""colbert_lab's own student folder: safetensors weights, one JSON of settings, the tokenizer.

config.json           the backbone's Hugging Face configuration
model.safetensors     all weights: ``backbone.*`` and ``head.*``
colbert_lab.json      format version, token rules, head shape
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

from safetensors.torch import load_file, save_file
from torch import nn

from colbert_lab.atomic import atomic_folder
from colbert_lab.errors import InputError
from colbert_lab.student.backbone import backbone_from_config, load_tokenizer
from colbert_lab.student.colbert import ColBERT
from colbert_lab.student.student import Student
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules

SETTINGS_FILE = "colbert_lab.json"
FORMAT_VERSION = 1


def save_student(student: Student, folder: Path) -> None:
    """Write a student folder; an older one at the same place is replaced only when the new one is whole.

    Raises:
        OSError: the disk is full or not writable; what was there before stays.
    """
    with atomic_folder(folder) as temporary:
        student.model.backbone.config.save_pretrained(temporary)
        weights = {
            name: value.detach().cpu().contiguous() for name, value in student.model.state_dict().items()
        }
        with _os_errors(folder):
            student.tokenizer.tokenizer.save_pretrained(temporary)
            save_file(weights, temporary / "model.safetensors", metadata={"format": "pt"})
        head = student.model.head
        settings = {
            "format": FORMAT_VERSION,
            "head": None
            if isinstance(head, nn.Identity)
            else {"dim": head.out_features, "bias": head.bias is not None},
            "pooling": student.model.pooling,
            "tokens": student.tokenizer.rules.to_dict(),
        }
        (temporary / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


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
        raise InputError(f"student.checkpoint={folder}: the tokenizer has more tokens than the weights")
    shape = settings["head"]
    head = (
        nn.Linear(backbone.config.hidden_size, shape["dim"], bias=shape["bias"]) if shape else nn.Identity()
    )
    model = ColBERT(backbone, head, settings.get("pooling"))
    weights = load_file(folder / "model.safetensors")
    expected = model.state_dict()
    missing, extra = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    wrong = sorted(n for n in expected.keys() & weights.keys() if expected[n].shape != weights[n].shape)
    if missing or extra or wrong:
        raise InputError(
            f"student.checkpoint={folder}: weights do not fit (missing {missing[:3]}, left over {extra[:3]}, "
            f"of another shape {wrong[:3]})"
        )
    model.load_state_dict(weights)
    return Student(model, tokenizer)


def load_student_tokenizer(folder: Path) -> StudentTokenizer:
    """Load the tokenizer of a student folder with its rules, without the weights.

    Args:
        folder: the student folder.

    Raises:
        InputError: the folder is not a student.
    """
    return _tokenizer(folder, _settings(folder))


def _settings(folder: Path) -> dict[str, Any]:
    if not (folder / SETTINGS_FILE).is_file():
        raise InputError(f"student.checkpoint={folder}: not a student folder (it has no {SETTINGS_FILE})")
    settings: dict[str, Any] = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    if settings["format"] != FORMAT_VERSION:
        raise InputError(
            f"student.checkpoint={folder}: format {settings['format']} is newer than this colbert_lab reads "
            f"({FORMAT_VERSION}); update colbert_lab"
        )
    return settings


def _tokenizer(folder: Path, settings: dict[str, Any]) -> StudentTokenizer:
    return StudentTokenizer(load_tokenizer(str(folder.resolve())), TokenRules(**settings["tokens"]))
