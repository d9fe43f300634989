"""``task=push``: a student in another library's layout, with a model card, to a folder and to the Hugging Face hub."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables
from colbert_lab.model.formats.known import check_target, folder_of
from colbert_lab.publish.card import FILE, Subject, model_card
from colbert_lab.publish.converting import convert, notes
from colbert_lab.publish.history import HUB_ID, History, find_history
from colbert_lab.publish.metadata import Claims
from colbert_lab.publish.origin import parent_license, parents
from colbert_lab.publish.upload import check_hub, upload
from colbert_lab.records.run_directory import free_folder
from colbert_lab.settings import Command
from colbert_lab.settings.tasks import PushSettings
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
FROM = "from"
OTHER = "other"
LICENSES = "https://huggingface.co/docs/hub/repositories-licenses"


def execute(command: Command) -> None:
    """Convert a student, write its card, and upload both in one commit.

    Args:
        command: what is asked for; ``from``, ``to``, ``repo``, ``out``, ``push``, ``student.trust_remote_code``,
            ``trainer.threads`` and ``progress`` are read.

    Raises:
        InputError: something is missing, the layout cannot hold the student, embeddings differ, or the hub refuses;
            ``out`` is then not there, and nothing was committed.
    """
    settings, asked = command.settings, command.settings.push
    source, target, repo = settings.from_, settings.to, settings.repo
    assert source is not None  # see needs of the task
    assert target is not None
    check_target(target)
    hub = None if asked.dry_run else repo
    if hub is None and settings.out is None:
        raise InputError("out: no value, and nothing is uploaded; set out=DIR, repo=OWNER/NAME, or both")
    if repo is None and (asked.replace or not asked.private):
        key = "replace" if asked.replace else "private"
        raise InputError(f"push.{key}: has no effect without repo=OWNER/NAME; leave it out")
    folder = folder_of(source, FROM)
    history = find_history(folder)
    said = parent_license(history, source, folder)
    claims = _claims(asked, history, source, folder, said)
    if hub is not None:
        check_hub(hub)
    out = None if settings.out is None else free_folder(settings.out)
    prepare_torch(settings.trainer.threads, float32_matmul=settings.trainer.float32_matmul)
    if not settings.progress:
        disable_progress_bars()
    with _folder(out) as temporary:
        done = convert(folder, target, temporary, settings.student.trust_remote_code, FROM)
        name = out.name if out is not None else "student"
        card = model_card(Subject(done, source, history, repo, name, said), claims)
        card.save(temporary / FILE)
        print_tables([done.table(name if repo is None else repo)])
        for key in ("base_model", "datasets"):
            log.info("%s: %s (push.%s says otherwise)", key, card.data.get(key) or "not known", key)
        if hub is not None:
            message = f"{done.target} layout and model card, by colbert_lab"
            wanted = {"private": asked.private, "replace": asked.replace}
            log.info("uploaded: %s", upload(temporary, hub, message=message, **wanted))
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
    settings: PushSettings, history: History | None, source: str, folder: Path, said: tuple[str, str] | None
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
        value = getattr(settings, key)
        if settings.license == OTHER and value is None:
            raise InputError(f"push.{key}: no value; push.license=other needs it")
        if settings.license != OTHER and value is not None:
            raise InputError(f"push.{key}: has no effect on push.license={settings.license}; it is for other")
    for key, given in (("base_model", [settings.base_model]), ("datasets", settings.datasets or [])):
        wrong = [name for name in given if name is not None and not _on_hub(name, key)]
        if wrong:
            raise InputError(f"push.{key}={wrong[0]}: must be an id on the hub")
    return Claims(
        license=settings.license,
        license_name=settings.license_name,
        license_link=settings.license_link,
        language=_languages(settings.language or ()),
        base_model=settings.base_model,
        datasets=None if settings.datasets is None else tuple(settings.datasets),
    )


def _on_hub(name: str, key: str) -> bool:
    return bool(HUB_ID.fullmatch(name)) or (key == "datasets" and bool(re.fullmatch(r"[\w.-]+", name)))


def _languages(given: Sequence[str]) -> tuple[str, ...]:
    wrong = [code for code in given if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?|code|multilingual", code)]
    if wrong:
        raise InputError(
            f"push.language={wrong[0]}: must be a code of ISO 639 such as en or aze, or code, or multilingual"
        )
    return tuple(given)
