"""Read the docstrings of Python source files without importing them.

The file uses the standard library alone and is also the worker program of ``source_files.scan_files``: run by
path, it reads ``[[module, path], ...]`` as JSON from standard input and writes the docstrings as JSON.
"""

import ast
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Docstring(NamedTuple):
    """One docstring of a source file.

    Attributes:
        module: dotted name of the module.
        name: qualified name inside the module, empty for the module itself.
        text: the docstring with its indentation removed.
    """

    module: str
    name: str
    text: str


def read_docstrings(module: str, path: str | Path) -> list[Docstring] | None:
    """Parse a source file and collect the docstrings of its module, classes and functions.

    Args:
        module: dotted name to record.
        path: the file; it is parsed, never executed.

    Returns:
        The docstrings in the order of the file, or None when the file cannot be read or parsed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(Path(path).read_bytes())
            return [Docstring(module, name, text) for name, text in _walk(tree)]
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def read_many(files: Iterable[tuple[str, str]]) -> tuple[list[Docstring], int]:
    """Read several files.

    Args:
        files: pairs of module name and path.

    Returns:
        All docstrings, and how many files could not be read or parsed.
    """
    found: list[Docstring] = []
    unreadable = 0
    for module, path in files:
        docstrings = read_docstrings(module, path)
        if docstrings is None:
            unreadable += 1
        else:
            found += docstrings
    return found, unreadable


def _walk(tree: ast.Module) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(tree)
    if text:
        yield "", _encodable(text)
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, prefix = stack.pop()
        inner: list[tuple[ast.AST, str]] = []
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _Definition):
                text = ast.get_docstring(child)
                if text:
                    yield prefix + child.name, _encodable(text)
                inner.append((child, f"{prefix}{child.name}."))
            elif isinstance(child, ast.stmt | ast.ExceptHandler):
                inner.append((child, prefix))
        stack += reversed(inner)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    json.dump(read_many(json.load(sys.stdin)), sys.stdout)
