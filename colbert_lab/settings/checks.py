"""Walks through a config: checks every value against what stands with its key, and finds the keys that one is like."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from operator import eq
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.settings import lightning
from colbert_lab.settings.allowed import FILLED, LIKE, Allowed, allowed_of

TARGET = "_target_"
OPTIMIZER = r"phases\.[^.]+\.optimizer"
FREE = ("student.architecture",)
"""Keys below which another library's names stand, which checks them itself."""


@dataclass(frozen=True)
class Leaf:
    """A value of a config that holds no others.

    Attributes:
        key: its whole key.
        value: the value.
        hint: its type; Any where nothing is known.
        allowed: what it may be; None where nothing is said.
        problem: what is wrong with its key, whatever its value.
    """

    key: str
    value: Any
    hint: Any = Any
    allowed: Allowed | None = None
    problem: str | None = None


def check_values(values: Mapping[str, Any], schema: type, targets: bool = True) -> None:
    """Check every value of a config.

    Args:
        values: the config as plain values.
        schema: its dataclass.
        targets: whether classes and functions that the config names are looked at; that imports them.

    Raises:
        InputError: a value that its key does not take, or a name that a class does not know; nothing has been loaded.
    """
    wrong = {
        leaf.key: (leaf.value, problem)
        for leaf in leaves(values, schema, targets=targets)
        if (problem := leaf.problem or _wrong(_within(leaf, values)))
    }
    if wrong:
        # A value that others take over (data, trainer.precision) is named where it was set: there its key is shortest.
        key = min(wrong, key=lambda key: (key.count("."), not key.startswith("trainer.")))
        value, problem = wrong[key]
        raise InputError(f"{key}={_shown(value)}: {problem}")


NOTHING = "(nothing)"
"""Shown for a value that is not there."""


def _shown(value: Any) -> str:
    """A value for a message; a text that reads like a number or like several has quotes."""
    if isinstance(value, str) and re.fullmatch(r"[-+.,\d\s]+", value):
        return repr(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def leaves(values: Mapping[str, Any], schema: type, prefix: str = "", targets: bool = True) -> Iterator[Leaf]:
    """All values of a config, with what they may be.

    Args:
        values: the config as plain values.
        schema: its dataclass.
        prefix: of the keys.
        targets: see :func:`check_values`.

    Raises:
        InputError: a name that a class does not know.
    """
    hints = _hints(schema)
    for entry in fields(schema):
        if entry.name in values and values[entry.name] == [] and entry.metadata.get(FILLED):
            yield Leaf(f"{prefix}{entry.name}", [], problem="holds nothing; name one at least")
        elif entry.name in values:
            hint, allowed = entry.metadata.get(LIKE, hints[entry.name]), allowed_of(entry.metadata)
            yield from _below(values[entry.name], f"{prefix}{entry.name}", hint, allowed, targets)


def _below(value: Any, key: str, hint: Any, allowed: Allowed | None, targets: bool) -> Iterator[Leaf]:
    kinds = kinds_of(hint)
    schema = next((kind for kind in kinds if is_dataclass(kind) and isinstance(kind, type)), None)
    if key in FREE:
        return
    if key == lightning.KEY and isinstance(value, Mapping):
        if targets:
            yield from _of_lightning(value)
    elif re.fullmatch(OPTIMIZER, key):
        if targets:
            yield _of_optimizer(value, key)
    elif isinstance(value, Mapping) and TARGET in value:
        if targets:
            yield from _of_target(value, key)
    elif isinstance(value, Mapping) and schema is not None and hint is not Any:
        yield from leaves(value, schema, f"{key}.", targets)
    elif isinstance(value, Mapping) and _may_hold(kinds, Mapping, allowed):
        inner, allowed = _inner(kinds, Mapping, allowed)
        for name, each in value.items():
            yield from _below(each, f"{key}.{name}", inner, allowed, targets)
    elif value == [] and allowed is not None and allowed.each is not None:
        yield Leaf(key, value, hint, allowed, f"holds nothing; {allowed.wrong(value)}")
    elif isinstance(value, list) and _may_hold(kinds, Sequence, allowed):
        inner, allowed = _inner(kinds, Sequence, allowed)
        for n, each in enumerate(value):
            yield from _below(each, f"{key}[{n}]", inner, allowed, targets)
    else:
        yield Leaf(key, value, hint, allowed)


def _of_target(values: Mapping[str, Any], key: str) -> Iterator[Leaf]:
    """The arguments of a class or function that the config names."""
    target = values[TARGET]
    given = {name: value for name, value in values.items() if not name.startswith("_")}
    try:
        made = resolve_name(str(target))
    except Exception as error:
        yield Leaf(f"{key}.{TARGET}", target, problem=f"cannot be imported ({' '.join(str(error).split())})")
        return
    known = inspect.signature(made).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if is_dataclass(made):  # ours: all that it needs stands in the config
        for name in (n for n, each in known.items() if each.default is each.empty and n not in given):
            yield Leaf(f"{key}.{name}", NOTHING, problem=f"{target} needs it; set it, or to null for none")
    hints = _hints(made)
    declared = {each.name: allowed_of(each.metadata) for each in fields(made)} if is_dataclass(made) else {}
    for name, value in given.items():
        if name not in known and not open_ended:
            there = ", ".join(known)
            yield Leaf(f"{key}.{name}", value, problem=f"{target} has no such argument; it has {there}")
            continue
        yield from _below(value, f"{key}.{name}", hints.get(name, Any), declared.get(name), targets=True)


def _of_lightning(flags: Mapping[str, Any]) -> Iterator[Leaf]:
    """Flags of Lightning's Trainer: their types first, then what else is wrong with them."""
    for flag, value in flags.items():
        key, hint = f"{lightning.KEY}.{flag}", lightning.hints().get(flag, Any)
        found = list(_below(value, key, hint, None, targets=True))
        wrong = [leaf for leaf in found if _wrong(leaf)]
        yield from wrong or [Leaf(key, value, problem=lightning.problem_of(flag, value))]


def _of_optimizer(settings: Any, key: str) -> Leaf:
    from colbert_lab.settings.optimizer import problem_of

    below, value, problem = problem_of(settings) or ("", settings, None)
    return Leaf(f"{key}.{below}".rstrip("."), value, problem=problem)


def _within(leaf: Leaf, values: Mapping[str, Any]) -> Leaf:
    """The value with what the rest of the config lets it be."""
    return leaf if leaf.allowed is None else replace(leaf, allowed=leaf.allowed.within(values))


def _wrong(leaf: Leaf) -> str | None:
    """What is wrong with a value; None where nothing is."""
    kinds = kinds_of(leaf.hint)
    if leaf.value is None:
        return None if not kinds or NoneType in kinds or Any in kinds else "must not be null"
    if leaf.allowed is not None:
        return leaf.allowed.wrong(leaf.value)
    if not kinds or Any in kinds:
        # Of a class that says nothing of its arguments: a number is one that can be computed with.
        return Allowed(numbers=True).wrong(leaf.value) if type(leaf.value) is float else None
    words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    if words:
        return None if leaf.value in words else f"must be one of {', '.join(map(str, words))}"
    if bool in kinds:
        return None if isinstance(leaf.value, bool) else "must be true or false"
    if {int, float} & set(kinds):
        return Allowed(numbers=True, whole=float not in kinds).wrong(leaf.value)
    if str in kinds:
        return None if isinstance(leaf.value, str) else "must be a text"
    if any(_holds(kind, Mapping) for kind in kinds):
        return None if isinstance(leaf.value, Mapping) else "must be a mapping, {name: value}"
    if any(_holds(kind, Sequence) for kind in kinds):
        return None if isinstance(leaf.value, list) else "must be a list, [value]"
    return "must be null" if set(kinds) == {NoneType} else f"must be a mapping with {TARGET}, or null"


@cache
def _hints(made: Any) -> dict[str, Any]:
    """Types of a dataclass's fields, or of a function's arguments; none where they cannot be read."""
    wanted = made if is_dataclass(made) or not isinstance(made, type) else made.__init__  # type: ignore[misc]
    try:
        return get_type_hints(wanted)
    except Exception:  # of somebody else's class, in modules imported for type checkers alone
        return {}


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types of a union; a type alone otherwise."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _holds(kind: Any, base: type) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, base) and not issubclass(origin, str)


def _may_hold(kinds: Sequence[Any], base: type, allowed: Allowed | None) -> bool:
    """Whether values of these types may be in a mapping or list."""
    if any(_holds(kind, base) for kind in kinds):
        return True
    return Any in kinds and (allowed is None or (allowed.each is not None and base is Sequence))


def _inner(kinds: Sequence[Any], base: type, allowed: Allowed | None) -> tuple[Any, Allowed | None]:
    """The type of what a list or mapping holds, and what that may be."""
    found = [[arg for arg in get_args(kind) if arg is not Ellipsis] for kind in kinds if _holds(kind, base)]
    if found:
        return (found[0] or [Any])[-1], allowed
    return Any, allowed and allowed.each


def unread(key: str, given: Any, problem: str) -> str:
    """What to say where OmegaConf cannot take a value.

    Args:
        key: of the value.
        given: the value, which may be a part of a config.
        problem: OmegaConf's own words.
    """
    given = OmegaConf.to_container(given) if OmegaConf.is_config(given) else given
    if not isinstance(given, list | dict) or "to string" not in problem:
        return f"{key}: {problem}"
    several = given if isinstance(given, list) else [f"{name}: {value}" for name, value in given.items()]
    text = ", ".join(map(str, several))
    text, kind = (f"[{text}]", "list") if isinstance(given, list) else (f"{{{text}}}", "mapping")
    return f"{key}: must be a text, and {text} is read as a {kind}; quote it twice: \"{key}='{text}'\""


def nearest(key: str, config: Any) -> str | None:
    """The keys of a config that somebody may have meant who gave one that it does not have.

    Args:
        key: the one that was given.
        config: plain values, whose keys there are.

    Returns:
        Those with the same last name nearest to it, else those that are spelt alike; None where there are none.
    """
    if key.startswith("trainer.") and (flag := key.removeprefix("trainer.")) in lightning.NAMED:
        return lightning.DECIDED.get(flag, f"{lightning.KEY}.{flag}")
    # A key that was added with + is in the config too.
    keys = [other for other in _keys(config) if not f"{other}.".startswith(f"{key}.")]
    *parents, last = key.split(".")
    alike = [other for other in keys if other.split(".")[-1] == last]
    shared = {other: sum(takewhile(bool, map(eq, parents, other.split(".")))) for other in alike}
    best = max(shared.values(), default=0)
    found = [other for other in alike if shared[other] == best and (best or not parents)]
    found = sorted(found, key=lambda other: (other.count("."), other)) or get_close_matches(key, keys, n=1)
    return " or ".join(found[:3]) or None


def _keys(values: Any, prefix: str = "") -> Iterator[str]:
    """All keys of plain values, of what holds others too."""
    for name, value in values.items() if isinstance(values, dict) else ():
        yield f"{prefix}{name}"
        yield from _keys(value, f"{prefix}{name}.")
