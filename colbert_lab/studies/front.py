"""What the front page says of a study: some claims with their numbers and their cost, and what it cannot tell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table, escaped, to_markdown
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.studies.answer import Answer
from colbert_lab.studies.evidence import BASELINES, Finding
from colbert_lab.studies.lineage import mean_cost

TITLE = "What the largest study says"


def front(answers: Sequence[Answer], root: Path) -> str:
    """The part of the study that names claims for it (``front``), as Markdown; empty where none has them tested.

    Args:
        answers: of the studies.
        root: folder that links start from.

    Raises:
        InputError: several studies name some.
    """
    named = [each for each in answers if each.study.front]
    if len(named) > 1:
        raise InputError(
            f"{named[1].study.folder}: front: {named[0].study.name} has claims on the front page already"
        )
    if not named or not named[0].runs:
        return ""
    (answer,) = named
    study = answer.study
    link = Path(os.path.relpath(study.folder, root)).as_posix()
    rows = [_row(answer, answer.found[number - 1]) for number in study.front]
    columns = ("claim", f"difference, {measure_title(study.measure)}", "seeds", "training, s", "verdict")
    queries = f"{len(answer.runs[0].query_ids):,} queries"
    hardware = " and ".join(dict.fromkeys(str(run.facts.get("hardware")) for run in answer.runs))
    notes = (
        f"difference: with its 95% paired bootstrap interval over {queries}; training: of each student named in the "
        f"difference, phases of others that it goes on from included, mean over the seeds, on {hardware}.",
    )
    table = to_markdown([Table(TITLE, columns, tuple(rows), (), notes)])
    limits = "\n".join(f"- {each}" for each in study.limits)
    asked = f"[{escaped(study.title)}]({link}/README.md)"
    return f"{table.strip()}\n\nThe study {asked} has all claims and rows. What it cannot tell:\n\n{limits}\n"


def _row(answer: Answer, found: Finding) -> tuple[str, str, str, str, str]:
    cells = dict.fromkeys(term.cell for term in found.claim.weights if term.phase not in BASELINES)
    costs = [mean_cost(answer.study, answer.runs, cell) for cell in cells]
    seconds = ", ".join(NONE if cost is None else f"{cost[0]:,.0f}" for cost in costs)
    i = found.interval
    difference = NONE if i is None else f"{i.mean:+.4f} {i.bounds('+')}"
    return found.claim.claim, difference, str(len(found.by_seed or {})), seconds, found.told
