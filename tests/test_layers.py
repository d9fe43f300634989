"""Folders import one way: from left to right in the order of the data flow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import colbert_lab

PACKAGE = Path(colbert_lab.__file__).parent
FREE = {"errors", "atomic", "types", "parts"}  # anyone may import these
ORDER = [
    "text",
    "tokens",
    "student",
    "scoring",
    "objectives",
    "retrieval",
    "metrics",
    "teachers",
    "training",
    "results",
    "audit",
    "explain",
    "api",
    "mteb_search",
    "settings",
    "searching",
    "evaluating",
    "measuring",
    "mirroring",
    "encoding",
    "sharing",
    "inputs",
    "scheduling",
    "rereading",
    "planning",
    "certifying",
    "studies",
    "logs",
    "comparing",
    "cell_process",
    "sweeping",
    "runs_task",
    "report_task",
    "audit_task",
    "run",
    "plan_task",
    "certify_task",
    "score_task",
    "mine_task",
    "converting",
    "convert_task",
    "publishing",
    "push_task",
    "explain_task",
    "arguments",
    "tasks",
    "__main__",
]
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Top-level members of the package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "colbert_lab" and len(parts) > 1:
                yield parts[1]


def test_every_folder_has_its_place() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert found == FREE | set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_is_left_of_it(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    entry = {"__init__": FREE | {"api"}}  # colbert_lab.load, which imports it when called
    allowed = entry.get(here) or (FREE if here in FREE else FREE | set(ORDER[: ORDER.index(here) + 1]))
    assert set(imported(path)) <= allowed


def test_only_the_entry_and_the_phase_see_the_config() -> None:
    seeing = {"__main__.py", "run.py", "measuring.py", "searching.py", "inputs.py", "phase.py"}
    seeing |= {"prepare.py", "comparing.py", "audit_task.py", "tasks.py", "mine_task.py", "score_task.py"}
    seeing |= {"explain_task.py", "convert_task.py", "push_task.py", "arguments.py", "runs_task.py"}
    seeing |= {"evaluating.py", "rereading.py", "sweeping.py", "cell_process.py", "plan_task.py"}
    seeing |= {"scheduling.py", "certify_task.py", "report_task.py"}
    for path in FILES:
        if path.name not in seeing and path.parent.name != "settings":
            assert not re.search(r"^\s*(from|import) (omegaconf|hydra)\b", path.read_text(), re.MULTILINE), (
                path
            )


def test_results_need_no_torch() -> None:
    modules = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in FILES
        if path.parent.name == "results" and path.name != "__init__.py"
    ]
    assert len(modules) > 5
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
