"""Rooms import one way: each says in the docstring of its ``__init__`` which others it may import."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import colbert_lab

PACKAGE = Path(colbert_lab.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FACE = {
    "__init__": {"api", "commands", "index"},  # which it imports when something of them is asked for
    "__main__": {"base", "settings", "run", "tasks"},
    "api": {"base", "model", "search", "training", "publish", "tasks", "index"},
    "index": {"base", "model", "search"},
    "commands": {"base", "records", "analysis", "sources", "tasks", "api"},
    "mteb_search": {"base", "search", "api", "index"},
}
"""The files at the root, and what they import."""
NO_TORCH = ("records", "tracking", "analysis", "studies", "tuning")
MOST_FILES = 22


def allowed(folder: Path) -> set[str]:
    """The rooms that a room may import, as its docstring says."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert all(f"{each}: " in text for each in ("Comes in", "Goes out", "May import")), folder
    return set(re.findall(r"``(\w+)``", text.partition("May import: ")[2]))


ROOMS = {folder.name: allowed(folder) for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}


def imported(path: Path) -> Iterator[str]:
    """Top-level members of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            if node.module == "colbert_lab":
                names = [f"colbert_lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "colbert_lab" and len(parts) > 1:
                yield parts[1]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_root_has_only_the_face() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(FACE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    here = room_of(path)
    assert set(imported(path)) <= {here} | (FACE | ROOMS)[here]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_no_more_than_it_imports(room: str) -> None:
    found = {each for path in FILES if room_of(path) == room for each in imported(path)}
    assert ROOMS[room] <= found


def test_rooms_import_one_way() -> None:
    order = list(TopologicalSorter(FACE | ROOMS).static_order())  # raises where there is a circle
    assert order[0] == "base"


def test_no_room_is_too_full() -> None:
    for folder in {path.parent for path in FILES}:
        assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_FILES, folder
        assert "Comes in: " in (folder / "__init__.py").read_text(encoding="utf-8") or folder == PACKAGE


def test_only_the_edge_sees_what_hydra_composed() -> None:
    seeing = (
        "__main__.py",
        "settings/",
        "tasks/registry.py",
        "tasks/arguments.py",
        "tasks/composing.py",
        "run/sweeping.py",
        "run/searching.py",
        "tuning/search.py",
        "run/run.py",
        "training/prepare.py",
    )
    for path in FILES:
        if not str(path.relative_to(PACKAGE)).startswith(seeing):
            assert not re.search(r"^\s*(from|import) (omegaconf|hydra)\b", path.read_text(), re.MULTILINE), (
                path
            )


def test_results_and_the_command_line_need_no_torch() -> None:
    """Help, listings, and finding a finished run wait for nothing heavy."""
    modules = ["colbert_lab.__main__"]
    modules += [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in FILES
        if room_of(path) in NO_TORCH and path.name != "__init__.py"
    ]
    assert len(modules) > 40
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
