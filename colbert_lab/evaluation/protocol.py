"""What a split asks of the student that is measured on it: lengths and prompts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role, Split
from colbert_lab.model.backbone import positions
from colbert_lab.model.student import Student
from colbert_lab.model.unread import check_student_knows
from colbert_lab.text.fingerprint import fingerprint

log = logging.getLogger(__name__)
RULES = ("query_length", "document_length", "query_prompt", "document_prompt")


def check_splits_read(student: Student, splits: Mapping[str, Split]) -> None:
    """Whether a student can read the texts of its splits: in the lengths they ask for, and in words it knows.

    Args:
        student: the student that is measured.
        splits: evaluation splits by name.

    Raises:
        InputError: it cannot; said before anything is computed.
    """
    for key, split in splits.items():
        asked = student_for(student, split, key).tokenizer
        where = f"evaluation.splits.{key}"
        queries = check_student_knows(asked, list(split.queries.values()), where, "queries")
        documents = check_student_knows(asked, split.corpus.texts, where, "documents")
        log.info(
            "%s: %.1f%% of the words of its queries and %.1f%% of its documents' are unknown to the student",
            key, 100 * queries, 100 * documents,
        )  # fmt: skip


def student_for(student: Student, split: Split, key: str) -> Student:
    """The student with a split's lengths and prompts in place of its own.

    Args:
        student: the student that is measured.
        split: what it is measured on.
        key: the split's name in ``evaluation.splits``, for messages.

    Returns:
        The same model with another tokenizer; ``student`` itself when the split asks for nothing.

    Raises:
        InputError: the length is beyond the positions of the backbone or leaves no room for text.
    """
    changes = {name: split.protocol[name] for name in RULES if split.protocol.get(name) is not None}
    if not changes:
        return student
    entry = f"evaluation.splits.{key}.protocol"
    try:
        tokenizer = student.tokenizer.with_rules(**changes)
    except InputError as error:
        raise InputError(f"{entry}: {error}") from error
    longest = positions(student.model.backbone)
    for role in get_args(Role):
        length = tokenizer.length(role)
        if longest is not None and length > longest:
            raise InputError(
                f"{entry}.{role}_length: {length} tokens are beyond the {longest} positions of the student's "
                f"backbone; set evaluation.every.protocol.{role}_length={longest} or less"
            )
    return replace(student, tokenizer=tokenizer)


def log_prompts(student: Student, asked: Student, key: str) -> None:
    """Say which prompts a split replaces.

    Args:
        student: the student with its own rules.
        asked: the same with the split's, see :func:`student_for`.
        key: the split's name in ``evaluation.splits``.
    """
    own, other = student.tokenizer.rules, asked.tokenizer.rules
    for role, before, after in (
        ("query", own.query_prompt, other.query_prompt),
        ("document", own.document_prompt, other.document_prompt),
    ):
        if before != after:
            log.info("%s: %s prompt %r in place of the student's %r", key, role, after, before)


def student_protocol(split: Split) -> dict[str, Any]:
    """What a result of a student says of the split's wishes; nothing where there are none."""
    return {"split_protocol": dict(split.protocol)} if split.protocol else {}


def search_protocol(split: Split) -> dict[str, Any]:
    """What a result of any system says of the split's exclusions and candidate lists; nothing where there are none."""
    found: dict[str, Any] = {}
    if split.excluded:
        found["excluded"] = {"documents": sum(map(len, split.excluded.values())), **_mark(split.excluded)}
    if split.candidates:
        found["candidates"] = {
            "documents": sum(map(len, split.candidates.values())),
            **_mark(split.candidates),
        }
    return found


def _mark(lists: Mapping[str, Any]) -> dict[str, str]:
    return {"fingerprint": fingerprint(*([query, *sorted(lists[query])] for query in sorted(lists)))}
