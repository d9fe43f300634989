"""``task=explain``: which document tokens the query tokens matched, on the terminal and as an HTML page."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError
from colbert_lab.explain.matches import explain
from colbert_lab.explain.page import to_html
from colbert_lab.explain.terminal import print_explanation
from colbert_lab.inputs import configured_student
from colbert_lab.logs import start_logging
from colbert_lab.results.identity import protocol_hash
from colbert_lab.results.run_directory import check_writable, output_file
from colbert_lab.retrieval.corpus import student_fingerprint
from colbert_lab.settings import checked
from colbert_lab.student.student import Student, pick_device
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
ENDING = ".html"
READ = (
    *("task", "name", "seed", "output_dir", "cache_dir", "progress", "tracking", "hydra", "experiment"),
    *("student", "prompts", "trainer.accelerator", "trainer.threads", "query", "document", "explain", "out"),
)
"""Settings that may be given: those that are read, and those that say nothing about what is shown."""


def execute(cfg: DictConfig) -> None:
    """Print what the query tokens matched, and write the page.

    Args:
        cfg: what Hydra composed; ``query``, ``document``, ``explain``, ``out``, the student and its prompts are read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    start_logging()
    query, document = _text(cfg, "query"), _text(cfg, "document")
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    _check_read(overrides, cfg.student.checkpoint is not None)
    cfg = checked(_read(cfg))
    settings = cfg.explain
    if settings.top < 1:
        raise InputError(f"explain.top={settings.top}: must be at least 1")
    if settings.heatmap < 0:
        raise InputError(f"explain.heatmap={settings.heatmap}: must be at least 0, which leaves it out")
    given = output_file(cfg.out, (ENDING,))
    if given is None:
        check_writable(Path(cfg.output_dir).expanduser())
    prepare_torch(cfg.trainer.threads)
    student, called, notes = _student(cfg, overrides)
    explanation = explain(student, query, document)
    identity = {"query": query, "document": document, "student": student_fingerprint(student), **settings}
    name = f"{cfg.name}-{protocol_hash(identity)}{ENDING}"
    out = given or Path(cfg.output_dir).expanduser() / "explain" / name
    page = to_html(explanation, student=called, top=settings.top, heatmap=settings.heatmap, notes=notes)
    write_text(out, page)
    print_explanation(explanation, settings.top)
    log.info("saved: %s", out)


def _read(cfg: DictConfig) -> DictConfig:
    """The config without what is not read here, so that an experiment's missing data or splits do not matter."""
    cfg = copy.deepcopy(cfg)
    cfg.query = cfg.document = None  # they are text now, and "${" in a text is no interpolation
    cfg.data, cfg.phases, cfg.schedule = None, {}, []
    if OmegaConf.is_missing(cfg.evaluation, "path"):
        cfg.evaluation.path = None
    return cfg


def _text(cfg: DictConfig, key: str) -> str:
    text = cfg[key]
    if text is None:
        raise InputError(f'{key}: no text; give {key}="..."')
    text = str(text)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{key}: no UTF-8 text (see character {error.start + 1}); give it in UTF-8"
        ) from error
    if not text.strip():
        raise InputError(f"{key}={text!r}: the text is empty")
    return text


def _check_read(overrides: Sequence[str], checkpoint: bool) -> None:
    """Whether something was given that has no effect here."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        group = key.partition("@")[0]
        if not any(group == known or group.startswith(f"{known}.") for known in READ):
            raise InputError(f"{key}: has no effect on task=explain; leave it out")
        if checkpoint and (
            group == "prompts" or key.startswith(("prompts.", "student.output", "student.pool"))
        ):
            raise InputError(
                f"{key}: has no effect on task=explain with student.checkpoint, which brings its own; leave it out"
            )


def _student(cfg: DictConfig, overrides: Sequence[str]) -> tuple[Student, str, list[str]]:
    """The student, what to call it, and what has to be known about it."""
    pl.seed_everything(cfg.seed, verbose=False)
    checkpoint, notes = cfg.student.checkpoint, []
    if checkpoint is not None:
        cfg.student.output = None  # a checkpoint is shown as it is
    student = configured_student(cfg, overrides)
    if checkpoint is None and cfg.student.dim is not None and student.model.pooling is None:
        notes.append(
            f"the head is untrained (random weights, seed {cfg.seed}); a trained student: student.checkpoint=DIR"
        )
        log.warning("student.dim=%d: %s", cfg.student.dim, notes[0])
    student.model.to(pick_device(cfg.trainer.accelerator))
    return student, str(checkpoint or cfg.student.backbone), notes
