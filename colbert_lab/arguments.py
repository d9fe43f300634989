"""Arguments of the command line before Hydra reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

FREE_TEXT = ("query", "document", "ledger.where", "ledger.commit")
"""Settings that hold any text."""
LISTS = ("ledger.where",)
"""Those of them that may also be a list, whose quotes the shell took away."""


def quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments with free text in Hydra's quotes.

    Hydra reads ``a, b`` as a sweep, and outside quotes it takes no apostrophe, no line break and no letter beyond
    ASCII. Text that already is in quotes stays as it is, and so does ``null``; ``${`` in a text is no interpolation.

    Args:
        arguments: what follows the program's name.
    """
    return [_quoted(argument) for argument in arguments]


def null_group(arguments: Sequence[str], conf: Path) -> str | None:
    """What is wrong with the first argument that sets a group of configs to null, on which Hydra ends in a traceback.

    Args:
        arguments: what follows the program's name.
        conf: folder of the groups.
    """
    for argument in arguments:
        key, _, value = argument.partition("=")
        group, _, place = key.lstrip("+").partition("@")
        if value != "null" or not (conf / group).is_dir():
            continue
        if place:
            return f"{argument}: a config of {group} cannot be null; set {place}=null to leave it out"
        there = sorted(path.stem for path in (conf / group).glob("*.yaml"))
        return f"{argument}: cannot be null; there are {', '.join(there)}"
    return None


def _quoted(argument: str) -> str:
    key, equals, text = argument.partition("=")
    if not equals or key not in FREE_TEXT or text == "null" or _in_quotes(text):
        return argument
    if key in LISTS and text.startswith("["):
        if not text.endswith("]") or "'" in text or '"' in text:
            return argument
        return f"{key}=[{','.join(_literal(part) for part in _parts(text[1:-1]))}]"
    return f"{key}={_literal(text)}"


def _literal(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    # OmegaConf takes one backslash off before "${", and halves those before that one.
    literal = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
    return str(QuotedString(literal, Quote.single).with_quotes())


def _parts(text: str) -> list[str]:
    """Split at commas, except those in brackets: ``lr=1,schedule=[a,b]`` has two parts."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _in_quotes(text: str) -> bool:
    """Whether this is one string in Hydra's quotes."""
    return re.fullmatch(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", text, re.DOTALL) is not None
