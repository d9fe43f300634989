"""What a setting decides, which stands with its key, as metadata of its field.

A key below a part of the config has the part's role, unless it has one of its own::

    seed: int = having(WHICH, whole(0))
    student: StudentSettings = having(STUDENT, field(default_factory=StudentSettings))
    runs: list[str] = only_for("compare")

Lists of keys (what identifies a run, what is a factor, what a task reads) are made from the roles, see :func:`keys`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from enum import Flag, auto
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING

ROLE, TASKS, NAME, TEXT = "role", "tasks", "name", "text"
"""Keys of a field's metadata: its role, the tasks that alone read it, its name in the config where that is no name of
a field, and whether it is any text."""


class Role(Flag):
    """What a setting decides; it may be several things."""

    RUN = auto()
    """What a run computes: a part of its identity, see :func:`colbert_lab.records.identity.config_hash`."""
    PHASE = auto()
    """The student at the end of a phase: a part of the phase's identity, see
    :func:`colbert_lab.run.scheduling.phase_identity`."""
    FACTOR = auto()
    """What an experiment varies: told with the run's records where it is given."""
    PROTOCOL = auto()
    """How a student is measured: a part of the protocol of its numbers."""
    ROUNDING = auto()
    """The last digits of a student's embeddings, beside the protocol."""
    IF_ANY = auto()
    """What counts in identities only where it says something: null, 0, what is empty and the key's default are as if
    the key were not there, so that a new key leaves the identities of earlier runs as they are."""
    LIGHTNING = auto()
    """An argument of Lightning's Trainer."""
    DEFAULT = auto()
    """What a checked config says once more where it is read, and counts there."""
    WHICH = auto()
    """Which of the runs of one config: its name, its seed, whether there may be another."""
    WHERE = auto()
    """Only where and how work is done; every task may be given it."""
    TASK = auto()
    """What a task reads that is no run."""


WHICH, WHERE = Role.WHICH, Role.WHERE
RESULT = Role.RUN | Role.FACTOR
"""What decides a run's numbers."""
TRAINED = RESULT | Role.PHASE
"""What decides the student too."""
READ = TRAINED | Role.PROTOCOL
"""What decides how a student reads text, in training and where it is measured."""
MEASURED = RESULT | Role.PROTOCOL
"""What decides how it is measured."""
DEFAULT = Role.DEFAULT | Role.FACTOR
NOTHING = Role(0)
HOW = Role.WHERE | Role.FACTOR
"""How a run computes, which changes nothing that anybody compares; told with its records all the same."""


def having(role: Role, of: Any = MISSING) -> Any:
    """A field with a role.

    Args:
        role: what the setting decides.
        of: the field, or its default.
    """
    return _with(of, {ROLE: role})


def only_for(*tasks: str, of: Any = MISSING, name: str | None = None, text: bool = False) -> Any:
    """A field of a setting that some tasks alone read.

    Args:
        tasks: their names.
        of: the field, or its default.
        name: of the setting, where it cannot be that of a field.
        text: whether it is any text, also such as means something in a config.
    """
    return _with(of, {ROLE: Role.TASK, TASKS: tasks, NAME: name, TEXT: text})


def any_text() -> Any:
    """A field whose values are any text."""
    return _with(MISSING, {TEXT: True})


def _with(of: Any, more: dict[str, Any]) -> Any:
    made = of if isinstance(of, dataclasses.Field) else dataclasses.field(default=of)
    made.metadata = MappingProxyType({**made.metadata, **more})
    return made


def walk(schema: type, prefix: str = "", role: Role | None = None) -> Iterator[tuple[str, Any, Role | None]]:
    """Every setting and part of a config, with its whole key, its field and its role.

    ``*`` stands for the names of a mapping. A part of a config whose keys differ in their roles has none.

    Args:
        schema: the dataclass of the config or a part of it.
        prefix: of the keys.
        role: of the part.
    """
    hints = get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        key, own = f"{prefix}{entry.metadata.get(NAME) or entry.name}", entry.metadata.get(ROLE, role)
        yield key, entry, own
        for kind, stars in _schemas(hints[entry.name]):
            yield from walk(kind, f"{key}.{stars}", own)


def _schemas(hint: Any, stars: str = "") -> Iterator[tuple[type, str]]:
    """The dataclasses in a type, and what stands for the names by which it holds them."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint, stars
    for kind in get_args(hint):
        yield from _schemas(kind, f"{stars}*." if get_origin(hint) is dict else stars)


def keys(schema: type, has: Role = NOTHING, lacks: Role = NOTHING) -> tuple[str, ...]:
    """The largest parts of a config of a role: not also the keys below them.

    Args:
        schema: the dataclass of the config or a part of it.
        has: what one has at least one of; nothing for any.
        lacks: what one has none of.
    """
    found: list[str] = []
    for key, _, role in walk(schema):
        fits = role is not None and (not has or bool(role & has)) and not role & lacks
        if fits and not any(key.startswith(f"{above}.") for above in found):
            found.append(key)
    return tuple(found)


def defaults(schema: type, has: Role) -> dict[str, Any]:
    """The default of every key of a role, as plain values; also of a key below another one, which says the role itself.

    Args:
        schema: the dataclass of the config or a part of it.
        has: what the key has at least one of.
    """
    found, wanted = {}, keys(schema, has)
    for key, entry, _ in walk(schema):
        if key in wanted or entry.metadata.get(ROLE, NOTHING) & has:
            made = entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()
            is_part = dataclasses.is_dataclass(made) and not isinstance(made, type)
            found[key] = dataclasses.asdict(made) if is_part else made
    return found


def readers(schema: type) -> dict[str, Sequence[str]]:
    """The settings that some tasks alone read, and these tasks.

    Args:
        schema: the dataclass of the config.
    """
    return {key: entry.metadata[TASKS] for key, entry, _ in walk(schema) if TASKS in entry.metadata}


def texts(schema: type) -> tuple[str, ...]:
    """The settings whose values are any text.

    Args:
        schema: the dataclass of the config.
    """
    return tuple(key for key, entry, _ in walk(schema) if entry.metadata.get(TEXT))
