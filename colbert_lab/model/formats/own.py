"""colbert_lab's own student folder: safetensors weights, one JSON of settings, the tokenizer.

config.json           the backbone's Hugging Face configuration
model.safetensors     all weights: ``backbone.*`` and ``head.*``
colbert_lab.json      format version, token rules, layers of the head or the name of its class, dimensions of Matryoshka
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

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import backbone_from_config, check_finite, load_tokenizer
from colbert_lab.model.colbert import ColBERT, Head, head_from
from colbert_lab.model.formats.shared import config_to_write, fit
from colbert_lab.model.matryoshka import check_dims
from colbert_lab.model.model_files import KEY, read_json, read_weights, value
from colbert_lab.model.projection import TARGET, ProjectionHead, described, head_named
from colbert_lab.model.student import POOLINGS, Student, check_reading
from colbert_lab.model.tokenizer import StudentTokenizer, TokenRules
from colbert_lab.text.contents import STUDENT_FILE

FORMAT_VERSION = 2  # 1 had heads of one layer only
NAMED_HEAD = 3  # the format of a student whose head is of a class that has to be found


def save_student(student: Student, folder: Path) -> None:
    """Write a student folder; an older one at the same place is replaced only when the new one is whole.

    Raises:
        OSError: the disk is full or not writable; what was there before stays.
    """
    check_finite(student.model, str(folder))
    with atomic_folder(folder) as temporary, os_errors(folder):
        write_student(student, temporary)


def write_student(student: Student, folder: Path) -> None:
    """Write the files of a student folder into an empty folder."""
    config_to_write(student.model.backbone, folder).save_pretrained(folder)
    weights = {name: value.detach().cpu().contiguous() for name, value in student.model.state_dict().items()}
    student.tokenizer.tokenizer.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    head = student.model.head
    named = isinstance(head, ProjectionHead)
    settings: dict[str, Any] = {
        "format": NAMED_HEAD if named else FORMAT_VERSION,
        "head": described(head),
        "pooling": student.model.pooling,
        "tokens": student.tokenizer.rules.to_dict(),
    }
    if student.model.matryoshka is not None:
        settings["matryoshka"] = list(student.model.matryoshka)
    (folder / STUDENT_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


@contextmanager
def os_errors(folder: Path) -> Iterator[None]:
    """Failed writes of the Rust libraries tokenizers and safetensors, as the OSError that they are.

    Args:
        folder: what is written, for the error.
    """
    try:
        yield
    except Exception as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from error


def load_student(folder: Path, attention: str = "sdpa", trusted: bool = False) -> Student:
    """Load a folder written by :func:`save_student`; no code in it is run without consent.

    Args:
        folder: the student folder.
        attention: attention implementation of transformers.
        trusted: whether code that builds its backbone may be run, and the class that it names of its head imported,
            see :func:`colbert_lab.model.projection.head_named`.

    Raises:
        InputError: the folder is not a student, the class of its head may not be imported or is not there, or weights
            are missing, left over or of another shape.
    """
    settings, file = _settings(folder), folder / STUDENT_FILE
    layers, pooling = settings.get("head"), value(settings, "pooling", str, file)
    kind = dict if settings["format"] == NAMED_HEAD else list
    if not isinstance(layers, kind) or pooling not in (None, *POOLINGS):
        raise InputError(f"{KEY}: {file}: head or pooling is not what colbert_lab writes; is it damaged?")
    tokenizer = _tokenizer(folder, settings)
    backbone = backbone_from_config(folder, attention, trusted, KEY)
    if len(tokenizer.tokenizer) > backbone.get_input_embeddings().num_embeddings:
        raise InputError(f"{KEY}={folder}: the tokenizer has more tokens than the weights")
    check_reading(tokenizer, backbone, f"the backbone {folder}")
    model = ColBERT(backbone, _head(layers, folder, trusted), pooling)
    if (dims := value(settings, "matryoshka", list, file)) is not None:
        model.matryoshka = check_dims(dims, model.dim, f"{KEY}: {file}: matryoshka")
    fit(model, read_weights(folder, KEY), f"{KEY}={folder}")
    return Student(model, tokenizer)


def _head(described: Any, folder: Path, trusted: bool) -> Head | ProjectionHead:
    """The inverse of :func:`colbert_lab.model.projection.described`, untrained."""
    if isinstance(described, list):
        return head_from(described)
    return head_named(described, f"{KEY}={folder}", trusted)


def _settings(folder: Path) -> dict[str, Any]:
    if not (folder / STUDENT_FILE).is_file():
        raise InputError(f"{KEY}={folder}: not a student folder (it has no {STUDENT_FILE})")
    file = folder / STUDENT_FILE
    settings = read_json(file)
    version = value(settings, "format", int, file, 0)
    if version not in (FORMAT_VERSION, NAMED_HEAD):
        raise InputError(
            f"{KEY}={folder}: is of format {version}, and this colbert_lab reads formats {FORMAT_VERSION} and "
            f"{NAMED_HEAD}; " + ("update colbert_lab" if version > NAMED_HEAD else "train it anew")
        )
    return settings


def names_code(folder: Path) -> bool:
    """Whether a student's folder names code of its backbone, or a class that has to be found, that of its head."""
    head, config = read_json(folder / STUDENT_FILE).get("head"), folder / "config.json"
    backbone = config.is_file() and "auto_map" in read_json(config)
    return backbone or (isinstance(head, dict) and TARGET in head)


def _tokenizer(folder: Path, settings: dict[str, Any]) -> StudentTokenizer:
    file = folder / STUDENT_FILE
    try:
        rules = TokenRules(**value(settings, "tokens", dict, file, {}))
    except (InputError, TypeError) as error:
        raise InputError(f"{KEY}: {file}: tokens: {error}") from error
    return StudentTokenizer(load_tokenizer(str(folder.resolve()), key=KEY), rules)
