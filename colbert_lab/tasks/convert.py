"""``task=convert``: a student from one layout into another, with proof that it embeds the same."""

from __future__ import annotations

import logging

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.layout import print_tables
from colbert_lab.model.formats.known import check_target, folder_of
from colbert_lab.publish.converting import convert, notes
from colbert_lab.records.run_directory import free_folder
from colbert_lab.settings import Command
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
FROM = "from"


def execute(command: Command) -> None:
    """Convert a student, encode the probe texts with both folders, and print the largest differences.

    Args:
        command: what is asked for; ``from``, ``to``, ``out``, ``student.trust_remote_code`` and ``trainer.threads`` are
            read.

    Raises:
        InputError: something is missing, the layout cannot hold the student, or embeddings differ; ``out`` is then not
            there.
    """
    settings = command.settings
    source, target, folder_out = settings.from_, settings.to, settings.out
    assert source is not None  # see needs of the task
    assert target is not None
    assert folder_out is not None
    check_target(target)
    out = free_folder(folder_out)
    prepare_torch(settings.trainer.threads, float32_matmul=settings.trainer.float32_matmul)
    folder = folder_of(source, FROM)
    with atomic_folder(out) as temporary:
        done = convert(folder, target, temporary, settings.student.trust_remote_code, FROM)
    print_tables([done.table(out.name)])
    for note in notes(done.student, done.target):
        log.info("%s", note)
    log.info("written: %s", out)
