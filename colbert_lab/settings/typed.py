"""Settings as frozen dataclasses, and what they name by ``_target_``, made from plain values."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING as DATACLASS_MISSING
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache, reduce
from operator import or_
from pkgutil import resolve_name
from types import GenericAlias, NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from colbert_lab.base.errors import InputError
from colbert_lab.settings.checks import kinds_of

log = logging.getLogger(__name__)
T = TypeVar("T")
NAME = re.compile(r"[a-z][a-z0-9_]*")


def typed(schema: type[T], values: Mapping[str, Any]) -> T:
    """Settings from plain values, which are of the right types already.

    Args:
        schema: a dataclass.
        values: by name.

    Raises:
        KeyError: a value is missing that has no default.
        TypeError: a value is there that the dataclass does not have, or is no mapping where one is expected.
    """
    assert is_dataclass(schema)
    hints = get_type_hints(schema)
    lacking = [each.name for each in fields(schema) if each.default is MISSING and each.name not in values]
    if lacking:
        raise KeyError(lacking[0])
    made: T = schema(**{name: _typed(value, hints.get(name, Any)) for name, value in values.items()})
    return made


def _typed(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    for kind in kinds_of(hint):
        of_parts = get_origin(kind) is dict
        if (of_parts or is_dataclass(kind)) and not isinstance(value, Mapping):
            raise TypeError(f"{value!r} is no mapping")
        if of_parts:
            return {name: _typed(each, get_args(kind)[1]) for name, each in value.items()}
        if is_dataclass(kind) and isinstance(kind, type):
            return typed(kind, value)
    return value


def made(node: Any) -> Any:
    """What a part of the config names by ``_target_``, with what stands below it; None of null.

    Args:
        node: plain values.
    """
    import hydra.utils  # reading runs and --help do not wait for it

    return hydra.utils.instantiate(node, _convert_="all")


@cache
def unfrozen(schema: type) -> type:
    """The same dataclass with fields that can be set: OmegaConf merges nothing into a frozen one.

    Args:
        schema: a frozen dataclass of settings; what its fields hold may be such too.
    """
    hints = get_type_hints(schema)
    return make_dataclass(
        schema.__name__, [(each.name, _unfrozen(hints[each.name]), _default(each)) for each in fields(schema)]
    )


def _default(of: Any) -> Any:
    factory = of.default_factory
    if is_dataclass(factory) and isinstance(factory, type):
        factory = unfrozen(factory)
    return field(default=of.default) if factory is DATACLASS_MISSING else field(default_factory=factory)


def _unfrozen(hint: Any) -> Any:
    kinds = kinds_of(hint)
    if len(kinds) > 1:
        return reduce(or_, (None if kind is NoneType else _unfrozen(kind) for kind in kinds))
    if get_origin(hint) is dict:
        return GenericAlias(dict, (str, _unfrozen(get_args(hint)[1])))
    return unfrozen(hint) if is_dataclass(hint) and isinstance(hint, type) else hint


def check_used(
    own: Collection[str], used: Collection[str], key: str, use: str, overrides: Sequence[str]
) -> None:
    """Whether what was said of things by name has an effect; the log tells those that have none.

    Args:
        own: names in a part of the config.
        used: those that are used.
        key: of that part.
        use: the setting that would use NAME.
        overrides: what the user gave on the command line.

    Raises:
        InputError: something was set of a thing that is not used.
    """
    for name in (each for each in own if each not in used):
        setting = use.replace("NAME", name)
        if idle := [o for o in overrides if o.lstrip("+").startswith(f"{key}.{name}.")]:
            raise InputError(f"{idle[0]}: has no effect without {setting}")
        log.info("%s.%s: has no effect without %s", key, name, setting)


def check_plain(value: Any, key: str = "") -> None:
    """Whether a value can be written into a file and hashed: text, a number, true, false or null, or such in others.

    Args:
        value: of a config, or a part of one.
        key: its whole key.

    Raises:
        InputError: it is something else, or a mapping in it has a key that is no text.
    """
    if isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                raise InputError(f"{key}: its keys must be texts, and {name} is none; put it in quotes")
            check_plain(each, f"{key}.{name}" if key else name)
    elif isinstance(value, list | tuple):
        for n, each in enumerate(value):
            check_plain(each, f"{key}[{n}]")
    elif value is not None and not isinstance(value, str | int | float):
        raise InputError(
            f"{key}: must be a plain value (text, number, true, false, null, list or mapping), and is of the type "
            f"{type(value).__name__}"
        )


def _check_settings(thing: Any, key: str) -> None:
    """Whether a thing is a dataclass with plain settings, as what identifies it is made from these."""
    kind = type(thing)
    if "__init__" in vars(kind) and "__dataclass_fields__" not in vars(kind):
        raise InputError(
            f"{key}._target_={kind.__module__}.{kind.__qualname__}: must be a dataclass, whose fields are its settings"
        )
    for name in (each.name for each in fields(thing) if each.init):
        value = getattr(thing, name)
        nested = is_dataclass(value) and not isinstance(value, type)
        (_check_settings if nested else check_plain)(value, f"{key}.{name}")


def instance_of(chosen: Mapping[str, Any], key: str, kind: type[T], what: str) -> T:
    """What a part of the config names by ``_target_``, of the kind that it has to be; another thing is not called.

    Args:
        chosen: that part.
        key: its whole key.
        kind: what it has to be.
        what: that in words, such as ``search mode``.

    Raises:
        InputError: it cannot be made, or is another thing.
    """
    from hydra.errors import InstantiationException

    target = chosen["_target_"]
    found: Any = kind
    with suppress(Exception):  # what cannot be imported is told of below
        found = resolve_name(str(target))
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(
            f"{key}._target_={target}: is no {what}; derive it from {kind.__module__}.{kind.__name__}"
        )
    try:
        thing: T = made(chosen)
    except InstantiationException as error:
        # What a class says of itself begins with one of its settings.
        of = "." if isinstance(error.__cause__, InputError) else ": "
        told = " ".join(str(error.__cause__ or error).split())
        raise InputError(f"{key}{of}{told}") from error
    return thing


def instantiated(
    settings: Mapping[str, Any], key: str, kind: type[T], what: str, taken: Collection[str] = ()
) -> dict[str, T]:
    """What a part of the config names, each by its own class.

    Args:
        settings: name to the settings of each, with a ``_target_``.
        key: of that part of the config.
        kind: what each has to be.
        what: that in words, such as ``search mode``.
        taken: names that are ours.

    Raises:
        InputError: a name is taken or none, a class cannot be made or is another thing, or a setting is no plain value.
    """
    things: dict[str, T] = {}
    for name, chosen in settings.items():
        where = f"{key}.{name}"
        if name in taken:
            raise InputError(f"{where}: this name is taken; give the {what} another one")
        if not NAME.fullmatch(name):
            raise InputError(f"{where}: must have a name of small letters, digits and _")
        if not isinstance(chosen, Mapping) or chosen.get("_target_") is None:
            raise InputError(f"{where}: names no class; give its _target_")
        things[name] = instance_of(chosen, where, kind, what)
        _check_settings(things[name], where)
    return things
