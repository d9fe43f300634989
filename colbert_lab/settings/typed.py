"""Settings as frozen dataclasses, and what they name by ``_target_``, made from plain values; and a command."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pkgutil import resolve_name
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.settings.checks import kinds_of
from colbert_lab.settings.merging import checked, merged
from colbert_lab.settings.roles import texts
from colbert_lab.settings.whole import APART, Settings

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


@dataclass(frozen=True)
class Command:
    """What a command asks for.

    Attributes:
        settings: the whole config, checked and with every value filled in.
        config: the same as plain dicts and lists, which ``config.yaml`` and hashes are made from.
        overrides: what the user gave on the command line.
        asked: ``config`` as it was asked for, before what ``auto`` is on this machine took its place.
    """

    settings: Settings
    config: Mapping[str, Any]
    overrides: Sequence[str]
    asked: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        config: DictConfig,
        overrides: Sequence[str] = (),
        given: Mapping[str, str] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Command:
        """The command of a checked config.

        Args:
            config: what :func:`colbert_lab.settings.merging.checked` returned.
            overrides: what the user gave on the command line.
            given: texts by key, which take the place of its values.
            asked: see :class:`Command`; None where that is the same.
        """
        values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
        values |= given or {}
        plain = {key: value for key, value in values.items() if key not in APART}
        return cls(typed(Settings, values), plain, tuple(overrides), plain if asked is None else asked)


def command_of(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    targets: bool = True,
    here: Callable[[Settings], Mapping[str, Any]] | None = None,
    importing: Callable[[], None] | None = None,
) -> Command:
    """Check what Hydra composed, and resolve it.

    Args:
        cfg: what Hydra composed; it stays as it is.
        overrides: what the user gave on the command line.
        targets: see :func:`colbert_lab.settings.merging.checked`.
        here: tells what ``auto`` is on this machine, by key; None leaves it as it is.
        importing: see there.

    Raises:
        InputError: see :func:`colbert_lab.settings.merging.checked`.
    """
    given = {key: str(cfg[key]) for key in texts(Settings) if "." not in key and cfg[key] is not None}
    if given:
        cfg = copy.deepcopy(cfg)
    for key in given:
        cfg[key] = None  # "${" in a text is no interpolation
    config = merged(cfg)
    again = config if here is None else copy.deepcopy(config)
    asked = Command.of(checked(cfg, targets, importing, config), overrides, given)
    found = {} if here is None else here(asked.settings)
    if not found:
        return asked
    for key, value in found.items():
        OmegaConf.update(again, key, value)
    return Command.of(checked(cfg, targets=False, config=again), overrides, given, asked.config)
