"""The pages of the reference that are made from the code when the site is built: settings, options, tasks, records."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from colbert_lab.records.records import Record
from colbert_lab.settings.allowed import LIKE, MOST, Allowed, allowed_of
from colbert_lab.settings.checks import TARGET, kinds_of
from colbert_lab.settings.groups import HeadSettings
from colbert_lab.settings.roles import TASKS as ONLY_FOR
from colbert_lab.settings.roles import Role, walk
from colbert_lab.settings.whole import Settings
from colbert_lab.tasks.registry import TASKS

CONF = Path(__file__).resolve().parent.parent.parent / "conf"
VALUES = (
    ("", "config"),
    ("student.", "student/minilm"),
    ("student.head.", "head/linear"),
    ("student.lora.", "lora/all_linear"),
    ("prompts.", "prompts/inherit"),
    ("evaluation.", "evaluation/base"),
    ("evaluation.", "evaluation/installed_docs"),
    ("trainer.", "trainer/auto"),
    ("tracking.", "tracking/wandb"),
    ("phases.*.", "phase/base"),
    ("phases.*.prompts.", "prompts/inherit"),
    *((f"{name}.", f"{name}/default") for name in ("score", "mine", "audit", "explain", "push", "ledger")),
    *((f"{name}.", f"{name}/default") for name in ("plan", "certify", "report")),
)
"""Files that have the defaults of the schema's keys, below a prefix."""
MEANT = (*VALUES, ("evaluation.", "evaluation/beir"))
"""Files whose comments say what the schema's keys mean."""
COUNTS = {
    Role.RUN: "run", Role.PHASE: "phase", Role.PROTOCOL: "protocol", Role.WHICH: "place", Role.WHERE: "nothing",
    Role.DEFAULT: "where it is read",
}  # fmt: skip
SEE = re.compile(r"[Ss]ee :(?:class|func):`([\w.]+)`")
CHOSEN = re.compile(r"\s*- (?:override )?/?[\w/]+(?:@(?P<place>[\w.]+))?: .*?\s# (?P<told>.*)")
"""A line of the defaults list: which group fills a place, and what the comment beside it says."""


def pages() -> dict[str, str]:
    """Name of each generated page below ``reference/``, and its Markdown."""
    return {"settings": settings(), "options": options(), "tasks": tasks(), "records": records()}


@dataclasses.dataclass(frozen=True)
class Values:
    """A file of values.

    Attributes:
        about: what the comment at its beginning says.
        values: by key, those below others too.
        meanings: what the comment beside a key says, by key.
    """

    about: str
    values: Mapping[str, Any]
    meanings: Mapping[str, str]


@cache
def read(name: str) -> Values:
    """A file of ``conf/``, with its comments.

    Args:
        name: its path below ``conf/``, without ``.yaml``.
    """
    lines = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    head = [
        line[1:].strip()
        for line in lines[: next((n for n, x in enumerate(lines) if not x.startswith("#")), 0)]
    ]
    values: dict[str, Any] = {}
    meanings: dict[str, str] = {}
    root = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
    for key, node, line in _nodes(root, ""):
        values[key] = yaml.SafeLoader.construct_object(_constructor(), node, deep=True)
        told = _comment(lines[line])
        if told and lines[line].lstrip().startswith(key.rpartition(".")[2]):
            meanings[key] = told
    for found in filter(None, map(CHOSEN.match, lines)):
        place = found["place"] or found[0].strip(" -").partition(":")[0]
        for key in (place, place.rpartition(".")[0] if found["place"] else place):
            meanings.setdefault(key, found["told"])
    return Values(" ".join(line for line in head if not line.startswith("@package")), values, meanings)


def _constructor() -> yaml.SafeLoader:
    return yaml.SafeLoader("")


def _nodes(node: Any, prefix: str) -> Iterator[tuple[str, Any, int]]:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name = f"{prefix}{key.value}"
        if name != "defaults":
            yield name, value, key.start_mark.line
            yield from _nodes(value, f"{name}.")


def _comment(line: str) -> str:
    bare = re.sub(r"\"[^\"]*\"|'[^']*'", lambda found: "x" * len(found[0]), line)
    place = re.search(r"(?<=\s)# ", bare)
    return line[place.end() :].strip() if place else ""


def settings() -> str:
    """Every key of the config's schema: type and range, default, what it counts in, meaning."""
    text = [
        "# Settings",
        "Every key of the config. `*` stands for a name: of a phase, a split, or what else is there by name. A value\n"
        "is given as `KEY=VALUE`; what a group's option fills in is in [options](options.md).",
        "*Counts in* says what a key decides: the identity of a **run**, that of a **phase** (whose student is reused\n"
        "where all of it is the same), the **protocol** of measured numbers, the **place** where a run is looked for,\n"
        "or **nothing** that anybody compares. *If set*: at its default it counts in nothing. Keys of one task are no\n"
        "part of a run.",
    ]
    for part, rows in _parts().items():
        text += [f"## {part}", _table(("key", "value", "default", "counts in", "meaning"), rows)]
    return "\n\n".join(text) + "\n"


def _parts() -> dict[str, list[tuple[str, ...]]]:
    found: dict[str, list[tuple[str, ...]]] = {"The run": []}
    for key, hint, entry, role, schema in leaves():
        part = key.partition(".")[0] if "." in key else "The run"
        where = _counts(role, entry.metadata.get(ONLY_FOR) or _tasks_of(key))
        row = (
            f"`{key}`",
            _kind(hint, allowed_of(entry.metadata)),
            _default(key, entry),
            where,
            meaning(key, schema),
        )
        found.setdefault(part, []).append(row)
    return found


def leaves() -> Iterator[tuple[str, Any, Any, Role | None, type]]:
    """Keys that hold no other keys of the schema: key, type, field, role, the dataclass that has the field."""
    hints = {}
    parts = {key: entry for key, entry, _ in walk(Settings)}
    for prefix, schema in _schemas(Settings, ""):
        for entry in dataclasses.fields(schema):
            hints[f"{prefix}{entry.metadata.get('name') or entry.name}"] = (
                get_type_hints(schema)[entry.name],
                schema,
            )
    for key, entry, role in [*walk(Settings), *walk(HeadSettings, "student.head.", _role("student"))]:
        below = (
            any(other.startswith(f"{key}.") for other in parts) or entry.metadata.get(LIKE) is HeadSettings
        )
        if not below:
            hint, schema = hints.get(key) or (get_type_hints(HeadSettings)[entry.name], HeadSettings)
            yield key, hint, entry, role, schema


def _role(wanted: str) -> Role | None:
    return next(role for key, _, role in walk(Settings) if key == wanted)


def _schemas(schema: type, prefix: str) -> Iterator[tuple[str, type]]:
    yield prefix, schema
    for entry in dataclasses.fields(schema):
        name = f"{prefix}{entry.metadata.get('name') or entry.name}"
        for kind in kinds_of(get_type_hints(schema)[entry.name]):
            inner = get_args(kind)[1] if get_origin(kind) is dict else kind
            stars = "*." if get_origin(kind) is dict else ""
            for each in kinds_of(inner):
                if dataclasses.is_dataclass(each) and isinstance(each, type):
                    yield from _schemas(each, f"{name}.{stars}")


def _tasks_of(key: str) -> Sequence[str]:
    top = next((entry for name, entry, _ in walk(Settings) if name == key.partition(".")[0]), None)
    return () if top is None else top.metadata.get(ONLY_FOR, ())


def _counts(role: Role | None, only: Sequence[str]) -> str:
    if only:
        return "`task=" + "`, `".join(only) + "`"
    told = [word for flag, word in COUNTS.items() if role is not None and flag in role]
    return ", ".join(told) + (", if set" if role is not None and Role.IF_ANY in role else "") or "nothing"


def _kind(hint: Any, allowed: Allowed | None) -> str:
    kinds = [kind for kind in kinds_of(hint) if kind is not NoneType]
    null = " or null" if NoneType in kinds_of(hint) else ""
    if allowed is not None:
        told = str(allowed.wrong("\0")).removeprefix("must be ").removeprefix("one of ")
        told = told.replace(f", at most {MOST}", "")
        lists = any(get_origin(kind) is list for kind in kinds)
        return ("a list, each " if lists else "") + told + null
    return " or ".join(_word(kind) for kind in kinds) + null


def _word(kind: Any) -> str:
    words = {str: "text", bool: "true or false", int: "a whole number", float: "a number", Any: "see meaning"}
    if get_origin(kind) in (list, Sequence):
        return f"a list of {'texts' if get_args(kind) == (str,) else 'values'}"
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) in (dict, Mapping) or dataclasses.is_dataclass(kind):
        return "a mapping"
    return words.get(kind, getattr(kind, "__name__", str(kind)))


def _default(key: str, entry: Any) -> str:
    for prefix, name in VALUES:
        if key.startswith(prefix) and key[len(prefix) :] in read(name).values:
            return _shown(read(name).values[key[len(prefix) :]])
    made = entry.default if entry.default_factory is dataclasses.MISSING else entry.default_factory()
    return "" if str(made) in ("???",) or made is dataclasses.MISSING else _shown(made)


def _shown(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...").strip()
    return f"`{text}`"


def meaning(key: str, schema: type) -> str:
    """What the comment beside a key says; what the class says that its dataclass names, where there is none.

    Args:
        key: of the schema, with ``*`` for names.
        schema: the dataclass that has it.
    """
    for prefix, name in MEANT:
        if key.startswith(prefix) and (told := read(name).meanings.get(key[len(prefix) :])):
            return told
    name = key.rpartition(".")[2]
    if told := described(schema).get(name):
        return told
    see = SEE.search(schema.__doc__ or "")
    return described(resolve_name(see[1])).get(name, "") if see else ""


@cache
def described(made: Any) -> dict[str, str]:
    """Fields or arguments of a class or function, as the sections ``Args`` and ``Attributes`` of its docstring say."""
    found: dict[str, str] = {}
    for base in reversed(made.__mro__ if isinstance(made, type) else (made,)):
        name, within = "", False
        for line in (inspect.cleandoc(base.__doc__ or "")).splitlines():
            if re.match(r"\S", line):
                within = line.strip() in ("Args:", "Attributes:")
            elif within and (start := re.match(r" {4}(\w+): (.*)", line)):
                name = start[1]
                found[name] = start[2]
            elif within and name and line.strip():
                found[name] += f" {line.strip()}"
    return {key: re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text.replace("``", "`")) for key, text in found.items()}


def options() -> str:
    """Every option of every group of ``conf/``, with the arguments of what it names by ``_target_``."""
    text = [
        "# Options",
        "A group is a folder of `conf/`, an option a file in it. `GROUP=OPTION` chooses it, `GROUP@PLACE=OPTION`\n"
        "puts it at a place of the config, and `--config-dir DIR` adds options of your own. `???` has to be given.",
    ]
    for group in sorted({path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")} - {"."}):
        names = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        rows = [(f"`{_option(group, name)}`", _about(group, name)) for name in names]
        text += [f"## {group}", _table(("option", "what it is"), rows)]
        for name in names:
            arguments = _arguments(f"{group}/{name}")
            if arguments:
                text += [
                    f"### {group}={name}",
                    _table(("argument", "value", "default", "meaning"), arguments),
                ]
    return "\n\n".join(text) + "\n"


def _option(group: str, name: str) -> str:
    top, _, rest = group.partition("/")
    if top in ("experiment", "sweep"):  # config.yaml has no place for them
        return f"+{top}={rest}/{name}" if rest else f"+{top}={name}"
    return f"{group}={name}"


def _about(group: str, name: str) -> str:
    return read(f"{group}/{name}").about or ", ".join(
        f"`{key}: {value}`"
        for key, value in read(f"{group}/{name}").values.items()
        if not isinstance(value, dict)
    )


def _arguments(name: str) -> list[tuple[str, ...]]:
    found = read(name)
    target = found.values.get(TARGET)
    if target is None or not str(target).startswith("colbert_lab."):
        return []
    made = resolve_name(str(target))
    hints = get_type_hints(made if dataclasses.is_dataclass(made) else made.__init__)
    declared = (
        {each.name: allowed_of(each.metadata) for each in dataclasses.fields(made)}
        if dataclasses.is_dataclass(made)
        else {}
    )
    rows = []
    for key in inspect.signature(made).parameters:
        if key not in hints or key.startswith("_") or hints[key] is NoneType:
            continue
        told = found.meanings.get(key) or described(made).get(key, "")
        default = _shown(found.values[key]) if key in found.values else ""
        rows.append((f"`{key}`", _kind(hints[key], declared.get(key)), default, told))
    return rows


def tasks() -> str:
    """Every task, with the settings that it alone reads."""
    text = [
        "# Tasks",
        "`python -m colbert_lab task=NAME`. A task's own settings are named; all are in [settings](settings.md).",
    ]
    for name, task in TASKS.items():
        about = inspect.cleandoc(resolve_name(task.function.partition(":")[0]).__doc__ or "").split("\n\n")[0]
        own = [key for key, entry, _ in walk(Settings) if name in entry.metadata.get(ONLY_FOR, ())]
        listed = (
            ", ".join(f"`{key}`" + (".*" if f"{key}.".startswith(tuple(_tops())) else "") for key in own)
            or "none"
        )
        text.append(f"## {name}\n\n{_plain(about)}\n\nIts own settings: {listed}.")
    return "\n\n".join(text) + "\n"


def _tops() -> set[str]:
    return {key.partition(".")[0] + "." for key, *_ in leaves() if "." in key}


def records() -> str:
    """Every field of a record."""
    hints = get_type_hints(Record)
    rows = [
        (f"`{each.name}`", _word_of(hints[each.name]), described(Record).get(each.name, ""))
        for each in dataclasses.fields(Record)
    ]
    return (
        "\n\n".join(
            [
                "# Records",
                "A record is one line of a run's `results.jsonl`: one measure of one system on one split, with\n"
                "everything needed to tell what it is. `colbert_lab.records.load` reads records back. [What a run\n"
                "leaves](run-folder.md) has a run's other files.",
                _table(("field", "type", "meaning"), rows),
            ]
        )
        + "\n"
    )


def _word_of(hint: Any) -> str:
    return _kind(hint, None)


def _plain(text: str) -> str:
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text.replace("``", "`"))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
        for line in lines
    )
