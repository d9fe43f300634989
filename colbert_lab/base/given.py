"""What a caller of the Python interface gave, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsIndex

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import told


def named_texts(documents: Mapping[str, str] | Sequence[str], first: int = 0) -> dict[str, str]:
    """Documents by id.

    Args:
        documents: texts by id, or a list of texts, whose ids are their positions.
        first: position of the first of a list.

    Raises:
        InputError: there are none, or something is no text.
    """
    if isinstance(documents, str):
        raise InputError("documents must be a list of texts, or texts by id, not one text")
    if isinstance(documents, Mapping):
        named = dict(zip(given_texts(list(documents), "ids of documents"), documents.values(), strict=True))
        given_texts(list(named.values()), "documents")
    else:
        texts = given_texts(documents, "documents")
        named = {str(number): text for number, text in enumerate(texts, start=first)}
    if not named:
        raise InputError("there are no documents")
    return named


def given_texts(texts: Iterable[str], what: str) -> list[str]:
    """What a caller gave as texts, when it is a list of such.

    Raises:
        InputError: it is one text, which is a sequence of letters, or something in it is no text that can be written.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InputError(f"{what} must be a list of texts, not {told(texts)}")
    given = list(texts)
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise InputError(f"{what}: number {number} is {told(text)}, not a text")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{what}: number {number} is no Unicode text (half of a surrogate pair at character {error.start})"
            ) from error
    return given


def whole_number(k: int) -> int:
    """``k`` as a whole number from 1.

    Raises:
        InputError: it is none.
    """
    if isinstance(k, bool) or not isinstance(k, SupportsIndex) or k < 1:
        raise InputError(f"k={told(k)}: must be a whole number from 1")
    return int(k)
