"""``task=push``: a student in another library's layout, with a model card, to a folder and to the Hugging Face hub."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
from omegaconf import DictConfig, ListConfig

from colbert_lab.atomic import atomic_folder
from colbert_lab.converting import convert, free_folder, notes
from colbert_lab.errors import InputError
from colbert_lab.logs import start_logging
from colbert_lab.publishing.card import FILE, Subject, model_card
from colbert_lab.publishing.history import History, find_history
from colbert_lab.publishing.metadata import Claims
from colbert_lab.publishing.names import HUB_ID
from colbert_lab.publishing.origin import parent_license, parents
from colbert_lab.publishing.upload import check_hub, upload
from colbert_lab.results.layout import print_tables
from colbert_lab.settings import checked
from colbert_lab.student.formats.known import folder_of
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
FROM = "from"
OTHER = "other"
LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"


def execute(cfg: DictConfig) -> None:
    """Convert a student, write its card, and upload both in one commit.

    Args:
        cfg: what Hydra composed; ``from``, ``to``, ``repo``, ``out``, ``push``, ``student.trust_remote_code``,
            ``trainer.threads`` and ``progress`` are read.

    Raises:
        InputError: something is missing, the layout cannot hold the student, embeddings differ, or the hub refuses;
            ``out`` is then not there, and nothing was committed.
    """
    start_logging()
    source, target = cfg.get(FROM), cfg.get("to")
    cfg = checked(cfg)
    for key, value, example in ((FROM, source, "RUN/PHASE/student"), ("to", target, "pylate")):
        if value is None:
            raise InputError(f"{key}: no value; for example task=push {key}={example} repo=OWNER/NAME")
    to_hub = cfg.repo is not None and not cfg.push.dry_run
    if not to_hub and cfg.out is None:
        raise InputError("out: no value, and nothing is uploaded; set out=DIR, repo=OWNER/NAME, or both")
    if cfg.repo is None and (cfg.push.replace or not cfg.push.private):
        key = "replace" if cfg.push.replace else "private"
        raise InputError(f"push.{key}: has no effect without repo=OWNER/NAME; leave it out")
    folder = folder_of(str(source), FROM)
    history = find_history(folder)
    said = parent_license(history, str(source), folder)
    claims = _claims(cfg.push, history, str(source), folder, said)
    if to_hub:
        check_hub(cfg.repo)
    out = None if cfg.out is None else free_folder(cfg.out)
    prepare_torch(cfg.trainer.threads)
    if not cfg.progress:
        disable_progress_bars()
    with _folder(out) as temporary:
        done = convert(folder, str(target), temporary, cfg.student.trust_remote_code, FROM)
        name = out.name if out is not None else "student"
        card = model_card(Subject(done, str(source), history, cfg.repo, name, said), claims)
        card.save(temporary / FILE)
        print_tables([done.table(name if cfg.repo is None else cfg.repo)])
        for key in ("base_model", "datasets"):
            log.info("%s: %s (push.%s says otherwise)", key, card.data.get(key) or "not known", key)
        if to_hub:
            message = f"{done.target} layout and model card, by colbert_lab"
            settings = {"private": cfg.push.private, "replace": cfg.push.replace}
            log.info("uploaded: %s", upload(temporary, cfg.repo, message=message, **settings))
    for note in notes(done.student, done.target):
        log.info("%s", note)
    if out is not None:
        log.info("written: %s", out)


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Where the files are made: ``out``, once everything is done, or a place that is cleared away."""
    if out is not None:
        with atomic_folder(out) as temporary:
            yield temporary
    else:
        with tempfile.TemporaryDirectory(prefix="colbert_lab-") as name:
            yield Path(name)


def _claims(
    settings: DictConfig, history: History | None, source: str, folder: Path, said: tuple[str, str] | None
) -> Claims:
    """What the user says, checked."""
    if settings.license is None:
        names = ", ".join(dict.fromkeys(name for name, _ in parents(history, source, folder)))
        known = (
            f"the card of {said[1]} says {said[0]}"
            if said
            else f"no card at hand says it (looked at: {names})"
        )
        raise InputError(
            f"push.license: no value; give the licence of this student, such as apache-2.0: {known}"
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", settings.license):
        raise InputError(
            f"push.license={settings.license}: must be an identifier such as apache-2.0, mit, other; {LICENSES}"
        )
    for key in ("license_name", "license_link"):
        if settings.license == OTHER and settings[key] is None:
            raise InputError(f"push.{key}: no value; push.license=other needs it")
        if settings.license != OTHER and settings[key] is not None:
            raise InputError(f"push.{key}: has no effect on push.license={settings.license}; it is for other")
    for key in ("base_model", "datasets"):
        given = settings[key] if isinstance(settings[key], ListConfig) else [settings[key]]
        wrong = [name for name in given if name is not None and not _on_hub(name, key)]
        if wrong:
            raise InputError(f"push.{key}={wrong[0]}: must be an id on the hub")
    return Claims(
        license=settings.license,
        license_name=settings.license_name,
        license_link=settings.license_link,
        language=_languages(settings.language),
        base_model=settings.base_model,
        datasets=None if settings.datasets is None else tuple(settings.datasets),
    )


def _on_hub(name: str, key: str) -> bool:
    return bool(HUB_ID.fullmatch(name)) or (key == "datasets" and bool(re.fullmatch(r"[\w.-]+", name)))


def _languages(value: Any) -> tuple[str, ...]:
    given = list(value) if isinstance(value, ListConfig) else [] if value is None else [value]
    wrong = [
        code
        for code in given
        if not (isinstance(code, str) and re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?|code|multilingual", code))
    ]
    if wrong:
        raise InputError(
            f"push.language={wrong[0]}: must be a code of ISO 639 such as en or aze, or code, or multilingual"
        )
    return tuple(given)
