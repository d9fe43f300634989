"""YAML from files that someone else may have written or damaged: plain values, with bounds on size and nesting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import DEEPEST, read_text

LARGEST_YAML = 8 * 2**20
MOST_NODES = 200_000
"""Values of a YAML file, each alias counted as what it stands for: nine lines of aliases can stand for a billion."""


def read_yaml(path: Path) -> Any:
    """Read a YAML file: plain values, no objects.

    Raises:
        InputError: the file is missing, cannot be read, is no YAML, is nested too deeply, or its aliases stand for
            more than ``MOST_NODES`` values, which is found before any of them is made.
    """
    return parse_yaml(read_text(path, LARGEST_YAML), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """What a YAML text holds, see :func:`read_yaml`; messages begin with ``where``."""
    import yaml

    check_yaml(text, where)
    try:
        return yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise _no_yaml(error, where) from error
    except Exception as error:  # explicit tags on values that do not fit: !!int x, !!timestamp x, !!bool x
        raise InputError(f"{where}: no YAML: {type(error).__name__}: {error}") from error


def check_yaml(text: str, where: str) -> None:
    """Whether a YAML text can be read without taking all time and memory; none of its values is made.

    Raises:
        InputError: it cannot, or it is no YAML; the message begins with ``where``.
    """
    import yaml

    sizes: dict[str, int] = {}  # of what anchors name
    open_nodes: list[tuple[str | None, int]] = []
    try:
        for event in yaml.parse(text, Loader=_loader()):
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, 1))
                if len(open_nodes) > DEEPEST:
                    line = event.start_mark.line + 1
                    raise InputError(f"{where}, line {line}: nested more than {DEEPEST} deep")
                continue
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in sizes:
                    line = event.start_mark.line + 1
                    raise InputError(
                        f"{where}, line {line}: the alias *{event.anchor} names nothing before it"
                    )
                size, anchor = sizes[event.anchor], None
            elif isinstance(event, yaml.ScalarEvent):
                size, anchor = 1, event.anchor
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_nodes.pop()
            else:
                continue
            if anchor is not None:
                sizes[anchor] = size
            if open_nodes:
                above, counted = open_nodes[-1]
                size += counted
                open_nodes[-1] = above, size
            if size > MOST_NODES:
                line = event.start_mark.line + 1
                raise InputError(
                    f"{where}, line {line}: its aliases stand for more than {MOST_NODES:,} values"
                )
    except yaml.YAMLError as error:
        raise _no_yaml(error, where) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: no YAML: {error}") from error


def _loader() -> Any:
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _no_yaml(error: Exception, where: str) -> InputError:
    mark = getattr(error, "problem_mark", None)
    line = f", line {mark.line + 1}" if mark else ""
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    return InputError(f"{where}{line}: no YAML: {said}")
