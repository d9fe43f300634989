"""``task=explain``: which document tokens the query tokens matched, on the terminal and as an HTML page."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace

import pytorch_lightning as pl

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.explain.matches import explain
from colbert_lab.explain.page import to_html
from colbert_lab.explain.tables import print_explanation
from colbert_lab.model.student import Student, pick_device
from colbert_lab.model.unread import check_student_knows
from colbert_lab.records.identity import protocol_hash
from colbert_lab.records.run_directory import check_writable, output_file
from colbert_lab.run.inputs import configured_student
from colbert_lab.search.corpus import student_fingerprint
from colbert_lab.settings import Command
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
ENDING = ".html"


def execute(command: Command) -> None:
    """Print what the query tokens matched, and write the page.

    Args:
        command: what is asked for; ``query``, ``document``, ``explain``, ``out``, the student and its prompts are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings, asked = command.settings, command.settings.explain
    query, document = _text(settings.query, "query"), _text(settings.document, "document")
    _check_read(command)
    given = output_file(settings.out, (ENDING,))
    if given is None:
        check_writable(settings.outputs)
    prepare_torch(settings.trainer.threads, float32_matmul=settings.trainer.float32_matmul)
    student, called, notes = _student(command)
    check_student_knows(student.tokenizer, [query, document], "query, document", "texts")
    explanation = explain(student, query, document)
    identity = {"query": query, "document": document, "student": student_fingerprint(student)} | asdict(asked)
    name = f"{settings.name}-{protocol_hash(identity)}{ENDING}"
    out = given or settings.outputs / "explain" / name
    page = to_html(explanation, student=called, top=asked.top, heatmap=asked.heatmap, notes=notes)
    write_text(out, page)
    print_explanation(explanation, asked.top)
    log.info("saved: %s", out)


def _text(text: str | None, key: str) -> str:
    assert text is not None  # see needs of the task
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{key}: no UTF-8 text (see character {error.start + 1}); give it in UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{key}={text!r}: the text is empty")
    return text


def _check_read(command: Command) -> None:
    """Whether something was given that a checkpoint brings itself."""
    for override in command.overrides if command.settings.student.checkpoint is not None else ():
        key = override.lstrip("+~").partition("=")[0]
        if key.partition("@")[0] == "prompts" or key.startswith(
            ("prompts.", "student.output", "student.pool")
        ):
            raise InputError(
                f"{key}: has no effect on task=explain with student.checkpoint, which brings its own; leave it out"
            )


def _student(command: Command) -> tuple[Student, str, list[str]]:
    """The student, what to call it, and what has to be known about it."""
    settings, chosen, notes = command.settings, command.settings.student, []
    pl.seed_everything(settings.seed, verbose=False)
    checkpoint = chosen.checkpoint
    if checkpoint is not None:
        chosen = replace(chosen, output=None)  # a checkpoint is shown as it is
    student = configured_student(chosen, settings.prompts, command.overrides)
    if checkpoint is None and chosen.dim is not None and student.model.pooling is None:
        notes.append(
            f"the head is untrained (random weights, seed {settings.seed}); a trained student: student.checkpoint=DIR"
        )
        log.warning("student.dim=%d: %s", chosen.dim, notes[0])
    student.model.to(pick_device(settings.trainer.accelerator))
    return student, str(checkpoint or chosen.backbone), notes
