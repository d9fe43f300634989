"""Every command, config and piece of code on the pages is what the program takes."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from colbert_lab.tasks import composing
from colbert_lab.tasks.arguments import readable
from colbert_lab.tasks.composing import CONF
from colbert_lab.tasks.registry import TASKS
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "experiments" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
PROGRAM = ["python", "-m", "colbert_lab"]
HARMLESS = (".", "export", "hf", "python3", "wandb")
"""First words of commands of other programs."""


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Every command in the shell blocks of a page, and our own within its text."""
    for block in blocks(page, "sh"):
        known: dict[str, str] = {}
        for line in block.replace("\\\n", " ").splitlines():
            for variable, value in known.items():
                line = line.replace(f"${variable}", value)
            found: list[list[str]] = [[]]
            for word in shlex.split(line, comments=True):
                if word == "&&":
                    found.append([])
                elif re.fullmatch(r"[A-Z_]+=.*", word) and not found[-1]:
                    name, _, value = word.partition("=")
                    known[name] = value
                else:
                    found[-1].append(word)
            yield from (each for each in found if each and not any(word.endswith("=...") for word in each))
    for line in re.findall(r"`(python -m colbert_lab [^`]*)`", page.read_text(encoding="utf-8")):
        if "..." not in line and "KEY" not in line and "NAME" not in line:
            yield shlex.split(line)


def one_cell(given: list[str]) -> tuple[list[str], list[str]]:
    """The overrides of a command's first cell, and the folders of configs that it names."""
    options = [word for word in readable(given, CONF, TASKS) if word not in ("-m", "--multirun", "--help")]
    folders = [options.pop(n + 1) for n, word in enumerate(options) if word == "--config-dir"]
    while "--cfg" in options:
        del options[options.index("--cfg") : options.index("--cfg") + 2]
    words = []
    for word in (word for word in options if word != "--config-dir"):
        (override,) = OverridesParser.create().parse_overrides([word])
        if override.is_sweep_override():
            value = override.value()
            first = (
                value.start if isinstance(value, IntervalSweep) else next(override.sweep_string_iterator())
            )
            word = f"{word.partition('=')[0]}={first}"
        words.append(word)
    return words, [f"file://{ROOT / folder}" for folder in folders]


def check_command(given: list[str]) -> None:
    """Whether the program would begin with it: names, types and ranges, and whether the task reads what is given."""
    words, folders = one_cell(given)
    found = [f"hydra.searchpath=[{','.join(folders)}]"] if folders else []
    if any(word.startswith("+experiment=paper/") for word in words):
        found.append("trainer.precision=32-true")  # 16 bits need a GPU
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*words, *found])
    task = TASKS[cfg.task]
    composing._check_read(cfg, task, words)
    composing._command(cfg, task, words)


@pages
def test_commands_are_what_the_program_takes(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "own"))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    wrong = []
    for words in commands(page):
        words[0] = words[0].rpartition("bin/")[2] or words[0]
        try:
            if words[:3] == PROGRAM:
                check_command(words[3:])
            elif words[0] == "pip":
                named = re.findall(r"\.\[([\w,-]+)\]", " ".join(words))
                assert set(",".join(named).split(",")) - {""} <= set(extras)
            elif words[0] == "python" and words[1].endswith(".py"):
                assert (ROOT / words[1]).is_file()
            else:
                assert words[0] in HARMLESS or words[:3] in (
                    ["python", "-m", "pytest"],
                    ["python", "-m", "mkdocs"],
                )
        except Exception as error:
            wrong.append(f"{shlex.join(words)}: {error!r}")
    assert wrong == []


@pages
def test_python_and_yaml_are_what_they_say(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("colbert_lab"):
                for alias in node.names:
                    resolve_name(f"{node.module}:{alias.name}")
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)


def test_the_loss_of_the_tutorial_is_that_of_the_examples() -> None:
    def body(text: str) -> list[str]:
        (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
        kept = [each for each in ast.walk(found) if isinstance(each, ast.AnnAssign | ast.Assign | ast.Return)]
        return [ast.unparse(each) for each in kept]

    # The second block of Python is certified in test_extend.
    text, _ = blocks(DOCS / "tutorials" / "your-loss.md", "python")
    assert body(text) == body((ROOT / "examples" / "own" / "my_margin.py").read_text(encoding="utf-8"))
    (values,) = blocks(DOCS / "tutorials" / "your-loss.md", "yaml")
    own = (ROOT / "examples" / "own" / "conf" / "loss" / "margin.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(values) == yaml.safe_load(own)
