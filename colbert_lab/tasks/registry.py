"""The tasks of the command line: what each is for, and what it reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, print_tables, to_markdown
from colbert_lab.settings import Settings
from colbert_lab.settings.roles import Role, keys, readers

log = logging.getLogger("colbert_lab")


@dataclass(frozen=True)
class Task:
    """What ``task=NAME`` is.

    Attributes:
        function: module and function, which takes a command; the module is imported when the task is asked for, as
            some need no torch.
        what: what it is for, in a few words.
        example: what one types after the name of the program.
        classes: whether the classes that the config names are looked at, which imports them and so torch.
        computes: whether ``trainer.precision`` is that of this machine.
        trains: whether it looks at the run that the same config would be with ``task=train``.
        reads: where no other settings may be given: those that are read beside the task's own.
        instead: what to do in place of giving a setting that has no effect.
        needs: keys of which one must say something, before anything heavy is imported, and what to say where none does.
    """

    function: str
    what: str
    example: str
    classes: bool = True
    computes: bool = False
    trains: bool = False
    reads: Sequence[str] | None = None
    instead: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[tuple[Sequence[str], str]] = ()


RUN, TASK = "colbert_lab.run.run:run", "colbert_lab.tasks"
KD = "+experiment=colbert_zero_kd"
CONVERT = "task=convert from=STUDENT to=pylate out=DIR"
RANKINGS = "task=rankings runs=[DIR] out=OUT"
PUSH = "task=push from=RUN/PHASE/student to=pylate repo=OWNER/NAME"
SCHEDULED = (
    ("schedule",),
    "nothing to train; choose +experiment=NAME (task=list has them), or set schedule=[phase]",
)
TASKS = {
    "train": Task(RUN, "train a student, measure it before and after", KD, computes=True, needs=[SCHEDULED]),
    "evaluate": Task(
        RUN,
        "measure a student",
        "task=evaluate student.checkpoint=RUN/PHASE/student evaluation=beir evaluation.path=DIR",
        computes=True,
    ),
    "compare": Task(
        f"{TASK}.compare:execute",
        "is the difference between runs real",
        "task=compare runs=[DIR,DIR]",
        classes=False,
    ),
    "runs": Task(
        f"{TASK}.runs:execute",
        "what was run, and what it cost",
        "task=runs ledger.status=[failed,killed]",
        classes=False,
        reads=(),
        instead={
            "name": "choose runs with ledger.name=",
            "seed": "choose runs with ledger.where=seed=...",
            "experiment": "choose runs with ledger.where=experiment=...",
        },
    ),
    "plan": Task(
        f"{TASK}.plan:execute",
        "time and memory of a run, before it",
        f"task=plan {KD}",
        computes=True,
        trains=True,
        needs=[SCHEDULED],
    ),
    "certify": Task(
        f"{TASK}.certify:execute",
        "do chunks, processes, precision count",
        f"task=certify {KD}",
        computes=True,
        trains=True,
        needs=[SCHEDULED],
    ),
    "report": Task(
        f"{TASK}.report:execute",
        "runs, or a study, as one HTML page",
        "task=report runs=[DIR,DIR]",
        classes=False,
        reads=(),
    ),
    "rankings": Task(
        f"{TASK}.rankings:execute",
        "rankings and judgments as TREC's files",
        RANKINGS,
        classes=False,
        reads=(),
        needs=[((key,), f"no value; for example {RANKINGS}") for key in ("runs", "out")],
    ),
    "score": Task(
        f"{TASK}.score:execute",
        "a teacher's scores, to distil",
        "task=score data=beir data.path=DIR teacher@score.teacher=cross_encoder out=LISTS",
        computes=True,
        needs=[
            (
                ("score.teacher", "score.files"),
                "name what scores, for example teacher@score.teacher=cross_encoder, or else score.files",
            )
        ],
    ),
    "mine": Task(
        f"{TASK}.mine:execute",
        "hard negatives to train on",
        "task=mine data=beir data.path=DIR out=OUT",
        computes=True,
    ),
    "audit": Task(
        f"{TASK}.audit:execute",
        "faults of training data",
        "task=audit data=beir data.path=DIR",
        computes=True,
    ),
    "convert": Task(
        f"{TASK}.convert:execute",
        "a student in another library's layout",
        CONVERT,
        needs=[((key,), f"no value; for example {CONVERT}") for key in ("from", "to", "out")],
    ),
    "push": Task(
        f"{TASK}.push:execute",
        "a student, with a card, to the hub",
        f"{PUSH} push.license=mit",
        needs=[((key,), f"no value; for example {PUSH}") for key in ("from", "to")],
    ),
    "explain": Task(
        f"{TASK}.explain:execute",
        "which tokens matched",
        'task=explain student.checkpoint=RUN/PHASE/student query="..." document="..."',
        reads=(
            "name",
            "seed",
            "experiment",
            "student",
            "head",
            "prompts",
            "trainer.accelerator",
            "trainer.threads",
        ),
        needs=[((key,), f'no text; give {key}="..."') for key in ("query", "document")],
    ),
    "list": Task(
        f"{TASK}.listing:execute",
        "experiments, students, losses, ...",
        "task=list of=[experiment,loss]",
        classes=False,
        reads=(),
    ),
}
EVERY = ("task", "hydra", *(key for key in keys(Settings, has=Role.WHERE) if "." not in key))
"""Settings that may be given to any task."""
READERS = readers(Settings)


def task_of(name: str) -> Task:
    """The task of a name.

    Raises:
        InputError: there is none.
    """
    if name not in TASKS:
        near = "".join(f"did you mean {each}? " for each in get_close_matches(name, TASKS, n=1))
        raise InputError(f"task={name}: {near}must be one of {', '.join(TASKS)}")
    return TASKS[name]


def show(table: Table, out: Path | None, texts: Mapping[str, Callable[[], str]]) -> None:
    """Print a table, and write it to a file.

    Args:
        table: what a task found.
        out: the file; None writes none.
        texts: by the file's ending, what makes its text; ``.md`` is the table itself.
    """
    if out is not None:
        ending = out.suffix.lower()
        write_text(out, texts[ending]() if ending in texts else to_markdown([table]))
    print_tables([table])
    if out is not None:
        log.info("saved: %s", out)
