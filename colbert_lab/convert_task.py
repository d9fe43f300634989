"""``task=convert``: a student from one layout into another, with proof that it embeds the same."""

from __future__ import annotations

import logging

from omegaconf import DictConfig

from colbert_lab.atomic import atomic_folder
from colbert_lab.converting import convert, free_folder, notes
from colbert_lab.errors import InputError
from colbert_lab.logs import start_logging
from colbert_lab.results.layout import print_tables
from colbert_lab.settings import checked
from colbert_lab.student.formats.known import folder_of
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
FROM = "from"


def execute(cfg: DictConfig) -> None:
    """Convert a student, encode the probe texts with both folders, and print the largest differences.

    Args:
        cfg: what Hydra composed; ``from``, ``to``, ``out``, ``student.trust_remote_code`` and ``trainer.threads`` are
            read.

    Raises:
        InputError: something is missing, the layout cannot hold the student, or embeddings differ; ``out`` is then not
            there.
    """
    start_logging()
    source, target = cfg.get(FROM), cfg.get("to")
    cfg = checked(cfg)
    for key, value, example in ((FROM, source, "STUDENT"), ("to", target, "pylate"), ("out", cfg.out, "DIR")):
        if value is None:
            raise InputError(
                f"{key}: no value; for example task=convert from=STUDENT to=pylate out=DIR ({key}={example})"
            )
    out = free_folder(cfg.out)
    prepare_torch(cfg.trainer.threads)
    folder = folder_of(str(source), FROM)
    with atomic_folder(out) as temporary:
        done = convert(folder, str(target), temporary, cfg.student.trust_remote_code, FROM)
    print_tables([done.table(out.name)])
    for note in notes(done.student, done.target):
        log.info("%s", note)
    log.info("written: %s", out)
