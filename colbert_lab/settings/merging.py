"""From what Hydra composed to a config of which every key, type and value is checked."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING as DATACLASS_MISSING
from dataclasses import field, fields, is_dataclass, make_dataclass
from functools import cache, reduce
from operator import or_
from pathlib import Path
from types import GenericAlias, NoneType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from colbert_lab.base.errors import InputError
from colbert_lab.settings.checks import TARGET, check_values, kinds_of, nearest, unread
from colbert_lab.settings.groups import check_lengths
from colbert_lab.settings.whole import APART, Settings

PARTS = (
    *("baselines", "retrievers", "members", "sources", "own_modes", "own_measures", "loggers"),
    *("lightning", "callbacks"),
)
"""Mappings of several things by name, of which null takes one out."""
TEXTS = ("query", "document", "query_prompt", "document_prompt", "where")
"""Last names of keys whose values are any text, and no paths."""


def merged(cfg: DictConfig) -> DictConfig:
    """The config with the names and types of every key, and what one place says for several filled in, not resolved.

    That is a phase's missing ``data`` and ``prompts``, and ``evaluation.every`` below each entry of
    ``evaluation.splits``; an entry that is null is left out, there and of ``PARTS``. One value where a list is
    expected is a list of one.

    Args:
        cfg: what Hydra composed; it stays as it is.

    Raises:
        InputError: an unknown key or a value of the wrong type.
    """
    with _told(cfg):
        schema = _schema()
        if OmegaConf.select(cfg, f"student.head.{TARGET}") is not None:
            schema = copy.deepcopy(schema)
            schema.student.head = None  # its keys are those of the class that it names
        plain = _as_declared(OmegaConf.to_container(_with_every(cfg), resolve=False), Settings)
        config = OmegaConf.merge(schema, plain)
        for phase in config.phases.values():
            if phase.data is None and config.data is not None:
                phase.data = OmegaConf.to_container(config.data, resolve=False)
            if phase.prompts is None:
                phase.prompts = config.prompts
    assert isinstance(config, DictConfig)
    return config


def checked(
    cfg: DictConfig,
    targets: bool = True,
    importing: Callable[[], None] | None = None,
    config: DictConfig | None = None,
) -> DictConfig:
    """The config with every key, type and value checked and resolved; a ``~`` before a path is the home folder.

    Args:
        cfg: what Hydra composed.
        targets: whether the classes that the config names are looked at too, which imports them and so PyTorch.
        importing: called before that.
        config: what :func:`merged` returned, which is changed; None merges it.

    Raises:
        InputError: an unknown key, a value of the wrong type or out of its range, a mandatory value that is missing, or
            a name that leads out of ``output_dir``.
    """
    config = merged(cfg) if config is None else config
    with _told(cfg):
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"no value for {', '.join(missing)}: set it, for example {missing[0]}=...")
        OmegaConf.resolve(config)
        values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
        below_home = _from_home(values)
        whole = config if below_home == values else OmegaConf.unsafe_merge(config, below_home)
    assert isinstance(whole, DictConfig)
    check_name(whole.name)
    check_lengths(below_home)
    if importing is not None:
        importing()
    check_values(below_home, Settings, targets)
    return whole


@contextmanager
def _told(cfg: DictConfig) -> Iterator[None]:
    """OmegaConf's errors as one line that names the key."""
    try:
        yield
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "config"
        key = "from" if key == "from_" else key
        if isinstance(error, ConfigKeyError) and (instead := nearest(key, OmegaConf.to_container(cfg))):
            raise InputError(f"{key}: no such key; did you mean {instead}?") from error
        given = OmegaConf.select(cfg, key, throw_on_resolution_failure=False, throw_on_missing=False)
        raise InputError(unread(key, given, str(error).splitlines()[0])) from error


@cache
def _schema() -> DictConfig:
    """Names and types of the config as OmegaConf has them; what is merged into it leaves it as it is."""
    return OmegaConf.structured(unfrozen(Settings))  # type: ignore[no-any-return]


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


def _from_home(values: Any, name: str = "") -> Any:
    """Plain values with the home folder in place of the ``~`` that a path begins with."""
    if isinstance(values, dict):
        return {key: _from_home(value, str(key)) for key, value in values.items()}
    if isinstance(values, list):
        return [_from_home(value, name) for value in values]
    if isinstance(values, str) and name not in TEXTS and re.match(r"~(/|$)", values):
        return str(Path(values).expanduser())
    return values


def check_name(name: str) -> None:
    """Whether a run's name is that of a folder below ``output_dir``; ``a/b`` is one in another.

    Raises:
        InputError: it would lead out of it, or cannot be told in one line.
    """
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable():
        raise InputError(
            f"name={name!r}: must name a folder below output_dir, without '..', '//', '/' at an end or control "
            "characters"
        )


def _as_declared(values: Any, hint: Any, key: str = "") -> Any:
    """Plain values with one value as a list of one wherever their type is a list, and without parts that are null.

    Raises:
        InputError: several things by name are something else.
    """
    kinds, is_parts = kinds_of(hint), key.rpartition(".")[2] in PARTS
    if isinstance(values, dict):
        schema = next((kind for kind in kinds if is_dataclass(kind)), None)
        inner = next((get_args(kind)[-1] for kind in kinds if get_origin(kind) is dict), Any)
        hints = get_type_hints(schema) if schema is not None else {}
        return {
            name: _as_declared(value, hints.get(str(name), inner), f"{key}.{name}".lstrip("."))
            for name, value in values.items()
            if value is not None or not is_parts
        }
    open_ended = str(values).startswith(("???", "${"))
    if is_parts and not open_ended:
        if values is None:
            return {}
        add = f"+GROUP@{key}.NAME=OPTION, such as +teacher@evaluation.baselines.bm25=bm25"
        add = f"+{key}.FLAG=VALUE" if key.endswith("lightning") else add
        raise InputError(
            f"{key}={values}: holds things by name; take one out with {key}.NAME=null, add one with {add}"
        )
    wanted = any(get_origin(kind) is list for kind in kinds)
    if not wanted or values is None or isinstance(values, list):
        return values
    return values if open_ended else [values]


def _with_every(cfg: DictConfig) -> DictConfig:
    """The config with ``evaluation.every`` merged below each entry of ``evaluation.splits``, as the schema has it."""
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    for key in APART:
        cfg[key] = cfg.pop(key.rstrip("_"), None)
    evaluation = cfg.get("evaluation")
    if not evaluation or not evaluation.get("splits"):
        return cfg
    for key in list(evaluation.splits):
        if evaluation.splits[key] is not None and evaluation.get("every"):
            evaluation.splits[key] = OmegaConf.merge(evaluation.every, evaluation.splits[key])
    return cfg
