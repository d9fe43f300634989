"""The generated part of a study's README and its figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError
from colbert_lab.results.layout import Table, to_markdown
from colbert_lab.studies.answer import Answer
from colbert_lab.studies.commands import Places

README = "README.md"
FIGURES = "figures"
BEGIN = "<!-- generated from study.yaml and the rows by experiments/study.py table; what is between the marks is replaced -->"
END = "<!-- end of the generated part -->"
NO_RUNS = "No runs are here yet: the tables and figures come with their rows."


def generated(answer: Answer) -> str:
    """The generated part, without its marks.

    Args:
        answer: what :func:`colbert_lab.studies.answer.answer` returned.
    """
    study = answer.study
    claims, *tables = answer.tables
    parts = [
        f"**Question.** {study.question}",
        f"**Verdict.** {answer.verdict}",
        *([study.conclusion] if study.conclusion else []),
        f"## Prediction, written before the runs\n\n{study.prediction}",
        f"## What varies\n\n{_listed(study.factors)}",
        f"## What is held fixed\n\n{_listed(study.held_fixed)}",
        _markdown(claims) + _sources(answer),
    ]
    if answer.runs:
        parts += [_markdown(table) for table in tables]
        parts += [f"![{_one_line(p.alt)}]({FIGURES}/{p.name}.svg)\n\n{p.caption}" for p in answer.pictures]
    else:
        parts.append(f"## Numbers\n\n{NO_RUNS}")
    if study.limits:
        parts.append(f"## What it cannot tell\n\n{_listed(study.limits)}")
    parts.append(_commands(answer))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def updated(readme: str, answer: Answer, path: Path) -> str:
    """A README with its generated part made anew.

    Args:
        readme: its text.
        answer: what the study says.
        path: for the error.

    Raises:
        InputError: the marks are not there, once and in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise InputError(f"{path}: must have these two lines once, in this order: {BEGIN} and {END}")
    head, rest = readme.split(BEGIN)
    return f"{head}{BEGIN}\n\n{generated(answer)}\n{END}{rest.split(END)[1]}"


def write_readme(answer: Answer) -> None:
    """Write the generated part and the figures; figures that the rows no longer have are removed.

    Args:
        answer: what the study says.

    Raises:
        InputError: the README is missing, or its marks are; nothing is then written.
    """
    folder = answer.study.folder
    path = folder / README
    if not path.is_file():
        raise InputError(f"{path}: is missing; make it with the two lines {BEGIN} and {END}")
    text = updated(path.read_text(encoding="utf-8"), answer, path)
    for old in (folder / FIGURES).glob("*.svg"):
        if old.stem not in {picture.name for picture in answer.pictures}:
            old.unlink()
    for picture in answer.pictures:
        write_text(folder / FIGURES / f"{picture.name}.svg", picture.svg)
    write_text(path, text)


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {each}" for each in sentences)


def _one_line(text: str) -> str:
    return re.sub(r"[\[\]]", "", " ".join(text.split()))


def _markdown(table: Table) -> str:
    return to_markdown([table])


def _sources(answer: Answer) -> str:
    told = [
        f"{number}. {claim.source}" for number, claim in enumerate(answer.study.claims, 1) if claim.source
    ]
    return "\nWhere the claims come from:\n\n" + "\n".join(told) + "\n" if told else ""


def _commands(answer: Answer) -> str:
    study = answer.study
    needs = [*study.fixed, *(o for cell in study.cells.values() for o in cell.overrides)]
    needs += [f"{each.makes} {each.command}" for each in study.prepare]
    where = " --collections COLLECTIONS" if any("{collections}" in each for each in needs) else ""
    lines = [
        "## Commands",
        "",
        f"    python experiments/study.py run experiments/{study.name}{where}",
        "",
        "makes every run that is not there yet, and then this page; or one by one:",
        "",
    ]
    if study.prepare:
        lines += ["Data that is made first:", ""]
        lines += [f"    {Places().filled(study, each.command)}" for each in study.prepare]
        lines.append("")
    for each in answer.commands:
        lines += [f"{each.cell.title} ({each.stage}):", ""]
        lines += [f"    {command}" for command in each.commands]
        lines.append("")
    return "\n".join(lines)
