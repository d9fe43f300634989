"""What the command line reads: arguments, before Hydra reads them, and config files.

Config files are read within bounds, fast, and each text once in a process.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from colbert_lab.base.errors import InputError
from colbert_lab.base.yaml_files import check_yaml
from colbert_lab.settings import Settings
from colbert_lab.settings.roles import texts

FREE_TEXT = texts(Settings)
"""Settings that hold any text."""
HOME = re.compile(r"(?<=[=,\[])~(?=[/,\]]|$)(?:/[^,\[\](){}]*)?")
"""A place below the home folder, as a value or as one of several."""
LISTS = ("ledger.where",)
"""Those of them that may also be a list, whose quotes the shell took away."""


def readable(arguments: Sequence[str], conf: Path, tasks: Collection[str] = ()) -> list[str]:
    """The arguments as Hydra reads them: options in front, free text in quotes.

    Args:
        arguments: what follows the program's name.
        conf: folder of the config groups.
        tasks: names of the tasks, which some type alone.

    Raises:
        InputError: one that Hydra would not take, with what to type instead.
    """
    options, settings = ordered(arguments)
    settings = quoted(settings)
    if named := next((setting for setting in settings if setting in tasks), None):
        raise InputError(f"{named}: a setting is given as key=value; type task={named}")
    words = [each for each in settings if re.fullmatch(r"\w+", each)]
    if near := next((close for each in words for close in get_close_matches(each, tasks, n=1)), None):
        raise InputError(f"{words[0]}: a setting is given as key=value; did you mean task={near}?")
    sweep = bool({"-m", "--multirun"} & {*options}) or "hydra.mode=MULTIRUN" in settings
    if wrong := null_group(settings, conf) or refused(settings, sweep):
        raise InputError(wrong)
    return [*options, *settings]


def quoted(arguments: Sequence[str]) -> list[str]:
    """The arguments with free text in Hydra's quotes, and places below the home folder (``~/x``) too.

    Hydra reads ``a, b`` as a sweep, and outside quotes it takes no apostrophe, no line break and no letter beyond
    ASCII. Text that already is in quotes stays as it is, and so does ``null``; ``${`` in a text is no interpolation.

    Args:
        arguments: what follows the program's name.
    """
    return [_quoted(argument) for argument in arguments]


def ordered(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's options, which it takes in front alone, and the settings, wherever they stand.

    Args:
        arguments: what follows the program's name.

    Raises:
        InputError: an option that Hydra does not have.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()

    def wrong(message: str) -> NoReturn:
        raise InputError(f"{message}; see python -m colbert_lab --hydra-help")

    parser.error = wrong  # type: ignore[method-assign]
    known, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        bare = unknown[0].lstrip("-")
        example = bare if "=" in bare else f"{bare or 'key'}=VALUE"
        raise InputError(
            f"{unknown[0]}: no such option; a setting is given without dashes: {example} (see --help and --hydra-help)"
        )
    settings = list(known.overrides)
    options = list(arguments)
    for setting in settings:
        options.remove(setting)
    return options, settings


def refused(settings: Sequence[str], sweep: bool) -> str | None:
    """What is wrong with the first setting that Hydra's grammar does not take, with what to type instead.

    Outside quotes the grammar has no letters beyond ASCII, and brackets, commas, ``=``, quotes and ``:`` at an end mean
    something. The shell takes the quotes that a user types, so they must be typed twice.

    Args:
        settings: what :func:`ordered` returned.
        sweep: whether several values of a setting are run one after the other (``-m``).
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for number, setting in enumerate(settings):
        try:
            override = parser.parse_override(setting)
        except HydraException:
            before = settings[number - 1] if number else ""
            return f"{setting}: {_instead(setting, before)}"
        if override.is_sweep_override() and not sweep:
            key, _, value = setting.partition("=")
            plain = (
                f"; for one list type {shlex.quote(f'{key}=[{value}]')}, for one text {_typed(key, value)}"
            )
            plain = plain if re.fullmatch(r"[^()]*", value) else ""
            return f"{setting}: several values are a sweep; add -m: python -m colbert_lab -m ...{plain}"
    return None


def _instead(setting: str, before: str) -> str:
    """What to type instead of a setting that cannot be read."""
    key, equals, value = setting.partition("=")
    if equals and re.fullmatch(r"[\w.@/+~-]+", key):
        return f"Hydra does not read this value without quotes; type {_typed(key, value)}"
    pair = re.fullmatch(r"([\w.]+):\s*(.*)", setting)
    if pair:
        return f"a setting is given as key=value; type {_typed(pair[1], pair[2])}"
    first, _, start = before.partition("=")
    joined = (
        start and f"where this belongs to the value before it, type {_typed(first, f'{start} {setting}')}"
    )
    told = f"type {setting}=VALUE" if re.fullmatch(r"[\w.]+", setting) else ""
    return "; ".join(
        each for each in ("a setting is given as key=value, without spaces around =", told, joined) if each
    )


def _typed(key: str, value: str) -> str:
    """A setting as one types it: in Hydra's quotes where it needs them, and in the shell's around them."""
    listed = value.startswith("[") and value.endswith("]") and not re.search("['\"]", value)
    if listed:
        return shlex.quote(f"{key}=[{','.join(map(in_quotes, _parts(value[1:-1])))}]")
    return shlex.quote(f"{key}={in_quotes(value)}")


def settings_of(values: Mapping[str, object]) -> list[str]:
    """Settings as one types them, with values in Hydra's quotes where they need them.

    Args:
        values: texts, paths, and true or false, by key.
    """
    texts = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in values.items()
    }
    return [f"{key}={in_quotes(text)}" for key, text in texts.items()]


def in_quotes(text: str) -> str:
    """A value in Hydra's quotes, where it needs them to be one text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    try:
        if not OverridesParser.create().parse_override(f"k={text}").is_sweep_override():
            return text
    except HydraException:
        pass
    return str(QuotedString(text, Quote.single if '"' in text else Quote.double).with_quotes())


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
    if equals and key not in FREE_TEXT and not re.search("['\"]", text):
        return HOME.sub(lambda found: _literal(found[0]), argument)
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


def bounded_configs() -> None:
    """Let Hydra load no config file whose aliases would take all time and memory, from wherever it is.

    Hydra reads each file, also of ``--config-dir`` and ``hydra.searchpath``, with ``OmegaConf.load``, which writes out
    what every alias stands for; it reads all of them twice, and in a sweep for each cell.
    """
    load = OmegaConf.load

    def bounded(file: Any) -> Any:
        text = Path(file).read_text(encoding="utf-8") if isinstance(file, str | Path) else file.read()
        where = file if isinstance(file, str | Path) else getattr(file, "name", "config")
        values = _values(text if isinstance(text, str) else text.decode("utf-8"), str(where))
        if isinstance(values, dict | list):
            return OmegaConf.create(values)
        return load(io.StringIO(text))

    if not hasattr(load, "bounded"):
        bounded.bounded = True  # type: ignore[attr-defined]
        setattr(OmegaConf, "load", staticmethod(bounded))  # noqa: B010


@lru_cache(maxsize=1024)
def _values(text: str, where: str) -> Any:
    """What ``OmegaConf.load`` reads of a text, by its own loader on libyaml's parser where there is one."""
    check_yaml(text, where)
    return yaml.load(text, _loader())


@cache
def _loader() -> Any:
    loader = get_yaml_loader()
    if not hasattr(yaml, "CSafeLoader"):
        return loader
    own = {name: getattr(loader, name) for name in ("yaml_constructors", "yaml_implicit_resolvers")}
    return type("Loader", (yaml.CSafeLoader, loader), own)
