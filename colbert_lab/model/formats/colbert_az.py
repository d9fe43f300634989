"""ColBERT-AZ's folder (LocalDoc/colbert-az): a backbone, and its head in ``projection.pt``.

config.json, model.safetensors, tokenizer files   the backbone
projection.pt                                     a pickled state dict of one matrix, ``weight`` [dim, hidden]

The folder says nothing about how text is read; the model card's code does, and that is kept here: ``[Q] text`` and
``[D] text`` with both markers as special tokens, queries filled up to 32 tokens with mask tokens that are attended to,
documents of 256 tokens, and no skiplist.
"""

from __future__ import annotations

from pathlib import Path

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.formats.sentence_transformers import split_marker
from colbert_lab.model.formats.shared import (
    Parts,
    add_special,
    refuse,
    tokenizer_in,
    write_backbone,
    write_tokenizer,
)
from colbert_lab.model.formats.stanford import check_single, head_of
from colbert_lab.model.model_files import KEY, read_file, read_weights
from colbert_lab.model.student import Student
from colbert_lab.model.tokenizer import TokenRules

NAME = "colbert_az"
HEAD_FILE = "projection.pt"
MARKERS, LENGTHS = ("[Q]", "[D]"), (32, 256)


def read(folder: Path) -> Parts:
    """Read a folder in ColBERT-AZ's layout; ``projection.pt`` is read as tensors only.

    Raises:
        InputError: a part is missing, does not fit, or would run code.
    """
    tokenizer = tokenizer_in(folder)
    add_special(tokenizer, MARKERS)
    head = read_file(folder / HEAD_FILE, KEY)
    extra = sorted(head.keys() - {"weight"})
    if extra:
        raise InputError(f"{KEY}={folder}: weights do not fit: {', '.join(extra)} left over in {HEAD_FILE}")
    (query_marker, query_prompt), (document_marker, document_prompt) = (
        split_marker(f"{marker} ", tokenizer) for marker in MARKERS
    )
    rules = TokenRules(
        query_length=LENGTHS[0],
        document_length=LENGTHS[1],
        query_marker=query_marker,
        document_marker=document_marker,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        extend_length=False,
        expansion="attended",
        skiplist="none",
        truncation_side=tokenizer.truncation_side,
    )
    return Parts(
        folder,
        tokenizer,
        rules,
        head_of(head, "weight", folder),
        read_weights(folder, KEY),
    )


def save(student: Student, folder: Path) -> None:
    """Write a student in ColBERT-AZ's layout.

    Args:
        student: the student.
        folder: an empty folder.

    Raises:
        InputError: the layout cannot hold it; it has no place for rules other than its own.
    """
    reading, rules = student.tokenizer, student.tokenizer.rules
    check_single(student, NAME)
    own = {
        "query_marker": (rules.query_marker, MARKERS[0]),
        "document_marker": (rules.document_marker, MARKERS[1]),
        "query_length": (reading.length("query"), LENGTHS[0]),
        "document_length": (reading.length("document"), LENGTHS[1]),
        "expansion": (rules.expansion, "attended"),
        "skiplist": (reading.skipped, []),
        "lowercase": (rules.lowercase, False),
    }
    for role, marker in zip(("query", "document"), MARKERS, strict=True):
        _, prompt = split_marker(f"{marker} ", reading.tokenizer)
        own[f"{role}_prompt"] = (getattr(rules, f"{role}_prompt"), prompt)
    for name, (ours, theirs) in own.items():
        if ours != theirs:
            raise refuse(NAME, f"the layout has no place for {name}={ours!r}; it is read with {theirs!r}")
    write_backbone(student, folder)
    write_tokenizer(reading.tokenizer, folder)
    weight = student.model.head.state_dict()["0.linear.weight"].detach().cpu().contiguous()
    torch.save({"weight": weight}, folder / HEAD_FILE)
