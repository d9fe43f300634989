"""``--help``, ``task=TASK --help`` and ``task=list``: what can be typed, read from the configs themselves."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import colbert_lab
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import WIDTH
from colbert_lab.base.outside import printable
from colbert_lab.settings import Command
from colbert_lab.tasks.composing import CONF, config_folders
from colbert_lab.tasks.registry import READERS, SCHEDULED, TASKS, task_of

PROGRAM = "python -m colbert_lab"
NARROW = 80  # columns that help fits in whatever the terminal
HELP, VERSION = ("--help", "-h"), "--version"
STUDIES, STUDY = "experiments", "study.yaml"
KINDS = {
    "experiment": "+experiment=NAME",
    "size": "size=NAME, for experiments that have one",
    "student": "student=NAME",
    "data": "data=NAME, or data@phases.PHASE.data=NAME",
    "loss": "+loss@phases.PHASE.objective.NAME=NAME",
    "head": "head=NAME",
    "teacher": "teacher@data.teacher=NAME",
    "evaluation": "evaluation=NAME",
    "layout": "layout@evaluation.every.layout=NAME",
    "search_mode": "+search_mode@evaluation.own_modes.NAME=NAME",
    "callback": "+callback@trainer.callbacks.NAME=NAME",
    "measure": "+measure@evaluation.own_measures.NAME=NAME",
    "prompts": "prompts=NAME",
    "lora": "lora=NAME",
    "trainer": "trainer=NAME",
    "tracking": "tracking=NAME",
    "logger": "+logger@tracking.loggers.NAME=NAME",
    "sweep": "-m +sweep=NAME",
    "study": f"task=report study={STUDIES}/NAME",
}
"""Groups of configs, and studies, with what one types to choose one."""
PLURALS = {"losses": "loss", "studies": "study"}


def told(arguments: Sequence[str]) -> str | None:
    """What ``--help`` and ``--version`` show, without Hydra; None where neither is asked for.

    Args:
        arguments: what follows the program's name.

    Raises:
        InputError: help for a task that is not there.
    """
    if VERSION in arguments:
        return f"colbert_lab {colbert_lab.__version__}"
    if not any(option in arguments for option in HELP):
        return None
    task = next((each.removeprefix("task=") for each in arguments if each.startswith("task=")), None)
    return overview() if task is None else task_help(task)


def overview() -> str:
    """What the program does, in no more than a screen."""
    cells = [f"task={name:<9} {task.what}" for name, task in TASKS.items()]
    return "\n".join(
        [
            f"colbert_lab {colbert_lab.__version__}: run, compare and trust training ablations of ColBERT models",
            f"  {PROGRAM} +experiment=colbert_zero_kd          train and measure",
            f"  {PROGRAM} -m +experiment=NAME seed=1,2,3       a sweep",
            f"  {PROGRAM} task=TASK GROUP=NAME KEY=VALUE ...   anything else",
            "",
            *(f"  {cell}" for cell in cells),
            "",
            f"  {PROGRAM} task=TASK --help           what a task is given",
            f"  {PROGRAM} task=list [of=student]     what there is, a line each",
            f"  {PROGRAM} +experiment=NAME --cfg job every key and its value",
        ]
    )


def task_help(name: str) -> str:
    """What a task is for, what one types, and the keys that are its own.

    Args:
        name: of the task.

    Raises:
        InputError: there is none of that name.
    """
    task, known = task_of(name), described(CONF / "config.yaml")
    lines = [f"task={name}: {task.what}", "", f"  {PROGRAM} {task.example}", ""]
    own = [key for key, users in READERS.items() if name in users and "." not in key]
    lines += _entries(_keys(own, known)) if own else []
    if own:
        lines.append("")
    apart = ("hydra", "task", *READERS)
    shared = [key for key in known if key.partition(".")[0] not in apart]
    if name == "evaluate" or SCHEDULED in task.needs:
        groups = ", ".join(f"{kind}={option}" for kind, option in _defaults().items())
        lines += [
            *_entries(_keys(shared, known)),
            "",
            *textwrap.wrap(f"Groups by default: {groups}.", NARROW),
        ]
        lines.append(f"{PROGRAM} task=list has their options, --cfg job every key.")
    elif task.reads is None:
        lines += textwrap.wrap(
            f"Also {', '.join(f'{key}=' for key in shared)}: see task=train --help.", NARROW
        )
    return "\n".join(lines).rstrip()


def execute(command: Command) -> None:
    """List what can be chosen: a line each, of every kind or of some.

    Args:
        command: what is asked for; ``of`` is read.

    Raises:
        InputError: a kind that is not there.
    """
    folders = config_folders()
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else None
    print("\n".join(listing(command.settings.of, folders, width)))


def listing(kinds: Sequence[str] | None, folders: Sequence[Path], width: int | None) -> Iterator[str]:
    """The lines of ``task=list``.

    Args:
        kinds: some of ``KINDS``; also in the plural. None for all that have something.
        folders: of configs; the first one that has a name says what it is.
        width: columns of the terminal; None cuts no line.

    Raises:
        InputError: a kind that is not there.
    """
    for kind in KINDS if kinds is None else map(_kind, kinds):
        found = dict(sorted(_options(kind, folders).items()))
        if not found and kinds is None:
            continue
        yield f"{kind}: {KINDS[kind]}"
        longest = max(map(len, found), default=0)
        for name, what in found.items():
            line = f"  {name:<{longest}}  {what}"
            fits = width is None or len(line) <= width
            yield printable(line if fits else f"{line[: (width or 0) - 3].rstrip()}...")
        yield "" if found else "  (none)"


def _kind(asked: str) -> str:
    alike = {each: each for each in KINDS} | {f"{each}s": each for each in KINDS} | PLURALS
    if asked in alike:
        return alike[asked]
    near = "".join(f"did you mean {each}? " for each in get_close_matches(asked, KINDS, n=1))
    raise InputError(f"of={asked}: {near}must be one of {', '.join(KINDS)}")


def _options(kind: str, folders: Sequence[Path]) -> dict[str, str]:
    """Names of a kind with what each is."""
    if kind == "study":
        places = sorted((CONF.parent / STUDIES).glob(f"*/{STUDY}"))
        return {place.parent.name: _title(place) for place in places}
    files = {
        str(file.relative_to(folder / kind).with_suffix("")): file
        for folder in reversed(folders)
        for file in (folder / kind).rglob("*.yaml")
    }
    return {name: what(file) for name, file in files.items()}


def what(file: Path) -> str:
    """What a config is: the first sentence of the comment that it begins with, or of its class's docstring."""
    text = file.read_text(encoding="utf-8")
    begin = re.match(r"(?:# @package.*\n)?((?:#.*\n)*)", text)
    said = " ".join(line.lstrip("# ") for line in (begin[1] if begin else "").splitlines())
    if not said and (target := re.search(r"^_target_:\s*([\w.]+)", text, re.MULTILINE)):
        said = _docstring(target[1])
    return re.split(r"(?<=[a-z0-9)\"])\. (?=[A-Z])", said)[0].rstrip(".:")


def _docstring(target: str) -> str:
    """The first line of a class's or function's docstring, whose module is not imported."""
    module, _, name = target.rpartition(".")
    try:
        spec = importlib.util.find_spec(module)
        tree = ast.parse(Path(str(spec.origin if spec else "")).read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def _title(study: Path) -> str:
    found = re.search(r"^title:\s*(.+)$", study.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip("'\"") if found else ""


def described(file: Path) -> dict[str, tuple[str, str]]:
    """The keys of a config file, with their values as they are written and the comment beside each."""
    found: dict[str, tuple[str, str]] = {}
    above: list[tuple[int, str]] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        read = re.fullmatch(r"( *)(\w+):(?: +(.*?))??(?: +# (.*))?", line)
        if read is None or read[2] == "defaults":
            continue
        indent = len(read[1])
        above = [each for each in above if each[0] < indent]
        key = ".".join([*(name for _, name in above), read[2]])
        above.append((indent, read[2]))
        found[key] = (read[3] or "", read[4] or "")
    return found


def _keys(names: Iterable[str], known: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Keys and those below them, of the config or of the group of the same name."""
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        file = CONF / name / "default.yaml"
        below = described(file) if file.is_file() else {}
        here = {key: each for key, each in known.items() if key == name or key.startswith(f"{name}.")}
        found |= here or {f"{name}.{key}": each for key, each in below.items()}
    return {key: each for key, each in found.items() if each[0]}


def _entries(keys: Mapping[str, tuple[str, str]]) -> list[str]:
    """``key=value  comment`` in columns; a longer comment goes on below itself."""
    shown = {key: f"{key}={'' if value == '???' else value}" for key, (value, _) in keys.items()}
    indent = min(max(map(len, shown.values()), default=0), 30) + 4
    lines: list[str] = []
    for key, (_, comment) in keys.items():
        begin = f"  {shown[key]}"
        if len(begin) > indent - 2 and comment:
            lines.append(begin)
            begin = ""
        lines += textwrap.wrap(
            comment, NARROW, initial_indent=begin.ljust(indent), subsequent_indent=" " * indent
        ) or [begin]
    return lines


def _defaults() -> dict[str, str]:
    """The group that each kind has by default."""
    text = (CONF / "config.yaml").read_text(encoding="utf-8")
    return {
        kind: name for kind, name in re.findall(r"^  - (\w+): (\w+)", text, re.MULTILINE) if kind in KINDS
    }
