"""``study.yaml``, read and checked."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from colbert_lab.analysis.pareto import COSTS
from colbert_lab.analysis.scaling import FEWEST
from colbert_lab.base.errors import InputError, no_folder
from colbert_lab.base.yaml_files import read_yaml
from colbert_lab.evaluation.measures import parse_measure
from colbert_lab.studies.study import EXPECTED, PLACEHOLDERS, Cell, Claim, Preparation, Study, Term

STUDY_FILE = "study.yaml"
CLASSES = (
    "colbert_lab.teachers.",
    "colbert_lab.sources.",
    "colbert_lab.training.objectives.",
    "torch.optim.",
)
"""What the groups data, teacher, loss and optimizer are made of."""
PACKAGE = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[a-z][a-z0-9_]*")


def read_study(folder: Path) -> Study:
    """Read a study.

    Args:
        folder: of the study.

    Raises:
        InputError: no such folder, no ``study.yaml`` in it, or something in it is wrong; it names file and key.
    """
    path = folder / STUDY_FILE
    if not folder.is_dir():
        there = sorted(each.parent.name for each in folder.parent.glob(f"*/{STUDY_FILE}"))
        known = f"; there are {', '.join(there)}" if there else ""
        raise InputError(f"study={folder}: {no_folder(folder)}{known}")
    if not path.is_file():
        raise InputError(f"study={folder}: has no {STUDY_FILE}; give the folder of a study")
    return _Reader(path).study(read_yaml(path))


def asks_for_code(override: str) -> str:
    """Why an override of a study, which anybody may have written, would run other code than ours; "" for nothing."""
    key = override.lstrip("+~").partition("=")[0]
    if override.startswith("-") or key.split(".")[0].split("/")[0] == "hydra":
        return "must be a setting; options of the program and of Hydra belong on your own command line"
    targets = re.findall(r"_target_['\"]?\s*[:=]\s*['\"]?([\w.]*)", override)
    if len(targets) < override.count("_target_") or not all(map(_is_ours, targets)):
        return f"_target_ must name a class of {' or '.join(each + '*' for each in CLASSES)}"
    if re.search(r"trust_remote_code['\"]?\s*[:=]\s*['\"]?(?!false|False|FALSE|no\b|off\b|0)", override):
        return "trust_remote_code runs code that comes with a model; set it on your own command line"
    return ""


def _is_ours(target: str) -> bool:
    """Whether a ``_target_`` is a class where :data:`CLASSES` says; nothing is imported.

    A dotted path leads through whatever a module has imported, so its beginning says nothing of its end.
    """
    module, _, name = target.rpartition(".")
    if module == "torch.optim":
        return re.fullmatch(r"[A-Z]\w*", name) is not None  # which are classes there
    file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not target.startswith(CLASSES) or not file.is_file():
        return False
    return any(
        isinstance(each, ast.ClassDef) and each.name == name
        for each in ast.parse(file.read_text(encoding="utf-8")).body
    )


class _Reader:
    """Turns the plain content of a file into a study; every error names the file and the key."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wrong(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {key}: {problem}")

    def study(self, found: Any) -> Study:
        values = self.keys("study", found, Study, without=("folder",))
        parts: dict[str, Any] = {
            "cells": self.cells(values.pop("cells")),
            "claims": tuple(
                self.claim(n, each) for n, each in enumerate(self.list_of("claims", values.pop("claims")))
            ),
            "prepare": tuple(
                Preparation(**self.texts(f"prepare[{n}]", self.keys(f"prepare[{n}]", each, Preparation)))
                for n, each in enumerate(self.list_of("prepare", values.pop("prepare", [])))
            ),
        }
        for key in ("title", "question", "prediction", "measure", "split", "cost", "conclusion"):
            if key in values:
                values[key] = self.text(key, values[key])
        for key in ("factors", "held_fixed", "fixed", "confirmed", "screened", "modes", "beside", "limits"):
            if key in values:
                values[key] = tuple(self.text(key, each) for each in self.list_of(key, values[key]))
        if "curves" in values:
            values["curves"] = self.curves(values["curves"])
        values["front"] = tuple(self.list_of("front", values.get("front", [])))
        values["seeds"] = tuple(self.list_of("seeds", values["seeds"]))
        study = Study(folder=self.path.parent, **values, **parts)
        self.check(study)
        return study

    def keys(self, where: str, found: Any, kind: type, without: Sequence[str] = ()) -> dict[str, Any]:
        """A mapping with all keys that a dataclass must have and none that it does not know."""
        if not isinstance(found, dict):
            raise self.wrong(where, "must be a mapping")
        known = {f.name: f for f in fields(kind) if f.name not in without}
        if unknown := [key for key in found if key not in known]:
            raise self.wrong(where, f"unknown key {unknown[0]!r}; there are {', '.join(known)}")
        needed = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
        if missing := [name for name in needed if name not in found]:
            raise self.wrong(where, f"{missing[0]} is missing")
        return dict(found)

    def text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, f"must be text, not {value!r}; put it in quotes")
        return " ".join(value.split()) if key not in ("prediction", "conclusion") else value.strip()

    def texts(self, where: str, values: Mapping[str, Any]) -> dict[str, str]:
        return {key: self.text(f"{where}.{key}", value) for key, value in values.items()}

    def list_of(self, key: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list")
        return value

    def cells(self, found: Any) -> dict[str, Cell]:
        if not isinstance(found, dict) or not found:
            raise self.wrong("cells", "must be a mapping of names to cells")
        cells = {}
        for name, content in found.items():
            where = f"cells.{name}"
            if not isinstance(name, str) or not NAME.fullmatch(name):
                raise self.wrong("cells", f"{name!r} must be of small letters, digits and _")
            values = self.keys(where, content, Cell, without=("name",))
            overrides = self.list_of(f"{where}.overrides", values.pop("overrides", []))
            told = self.texts(where, values)
            parent = Term.parse(told.pop("student_of")) if "student_of" in told else None
            cells[name] = Cell(
                name=name,
                title=told.pop("title"),
                overrides=tuple(self.text(f"{where}.overrides", each) for each in overrides),
                student_of=parent,
                **told,
            )
        return cells

    def curves(self, found: Any) -> dict[str, tuple[str, ...]]:
        if not isinstance(found, dict):
            raise self.wrong("curves", "must be a mapping of titles to lists of cells")
        titles = {self.text("curves", title): f"curves.{title}" for title in found}
        return {
            title: tuple(self.text(where, each) for each in self.list_of(where, cells))
            for (title, where), cells in zip(titles.items(), found.values(), strict=True)
        }

    def claim(self, number: int, found: Any) -> Claim:
        where = f"claims[{number}]"
        values = self.keys(where, found, Claim)
        weights = values.pop("weights")
        if not isinstance(weights, dict) or not all(
            isinstance(w, int | float) and not isinstance(w, bool) and math.isfinite(w)
            for w in weights.values()
        ):
            raise self.wrong(f"{where}.weights", "must be a mapping of cells to numbers")
        margin = values.pop("margin")
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < math.inf:
            raise self.wrong(f"{where}.margin", f"must be a number above 0, not {margin!r}")
        told = self.texts(where, values)
        if told["expect"] not in EXPECTED:
            raise self.wrong(f"{where}.expect", f"{told['expect']!r} must be one of {', '.join(EXPECTED)}")
        if len(weights) < 2 or abs(sum(weights.values())) > 1e-9:
            raise self.wrong(f"{where}.weights", "must name two cells or more, and sum to 0")
        parsed = {Term.parse(str(key)): float(weight) for key, weight in weights.items()}
        return Claim(weights=parsed, margin=float(margin), **told)

    def check(self, study: Study) -> None:
        """What the parts must be to each other.

        Raises:
            InputError: they are not.
        """
        if not study.seeds or not all(
            isinstance(seed, int) and not isinstance(seed, bool) for seed in study.seeds
        ):
            raise self.wrong("seeds", "must be whole numbers")
        if len(set(study.seeds)) != len(study.seeds):
            raise self.wrong("seeds", "one is there twice")
        named = [*study.screened, *study.confirmed]
        for name in named:
            if name not in study.cells:
                raise self.wrong("confirmed, screened", f"no cell {name}; there are {', '.join(study.cells)}")
        if sorted(named) != sorted(study.cells):
            other = next((n for n in study.cells if named.count(n) != 1), named[-1])
            raise self.wrong("confirmed, screened", f"{other} must be in one of them, once")
        for claim in study.claims:
            for term in claim.weights:
                if term.cell not in study.confirmed:
                    raise self.wrong("claims", f"{term}: no confirmed cell {term.cell}")
                if term.mode is not None and term.mode not in study.modes:
                    raise self.wrong("claims", f"{term}: {term.mode} is not in modes")
        for title, cells in study.curves.items():
            if unknown := [cell for cell in cells if cell not in study.cells]:
                raise self.wrong(
                    f"curves.{title}", f"no cell {unknown[0]}; there are {', '.join(study.cells)}"
                )
            if len(set(cells)) < max(FEWEST, len(cells)):
                raise self.wrong(f"curves.{title}", f"must name {FEWEST} cells or more, each once")
        if not study.claims:
            raise self.wrong("claims", "a study needs a decision rule: one claim or more")
        if strange := [each for each in study.front if each not in range(1, len(study.claims) + 1)]:
            raise self.wrong(
                "front", f"{strange[0]!r} is no number of a claim; there are 1 to {len(study.claims)}"
            )
        if not study.modes:
            raise self.wrong("modes", "must name a search mode")
        if study.cost is not None and study.cost not in COSTS:
            raise self.wrong("cost", f"must be one of {', '.join(COSTS)}")
        try:
            parse_measure(study.measure)
        except InputError as error:
            raise self.wrong("measure", str(error).partition(": ")[2]) from error
        for cell in study.cells.values():
            self.check_cell(study, cell)

    def check_cell(self, study: Study, cell: Cell) -> None:
        where = f"cells.{cell.name}"
        given = " ".join([*study.fixed, *cell.overrides])
        unknown = [each for each in re.findall(r"\{(\w+)\}", given) if each not in PLACEHOLDERS]
        if unknown:
            raise self.wrong(
                where, f"unknown placeholder {{{unknown[0]}}}; there are {', '.join(PLACEHOLDERS)}"
            )
        for override in (*study.fixed, *cell.overrides):
            if wrong := asks_for_code(override):
                raise self.wrong(where, f"{override}: {wrong}")
        if ("{student}" in given) != (cell.student_of is not None):
            raise self.wrong(where, "student_of and {student} in overrides belong together")
        parent = study.cells.get(cell.student_of.cell if cell.student_of else cell.name)
        if parent is None or (cell.student_of and parent.student_of):
            raise self.wrong(
                f"{where}.student_of", "must name a cell that does not start from another one itself"
            )
        if not set(study.seeds_of(cell.name)) <= set(study.seeds_of(parent.name)):
            raise self.wrong(f"{where}.student_of", f"{parent.name} has fewer seeds than {cell.name}")
