"""Find out which layout a checkpoint has, load it, and write a student in any of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import PACKAGE_PREFIX, locate
from colbert_lab.student.formats import colbert_az, flmr, own, pylate, sentence_transformers, stanford
from colbert_lab.student.formats.assembly import KEY, read_json
from colbert_lab.student.formats.modules import CONFIG_FILE, MODULES_FILE
from colbert_lab.student.formats.own import SETTINGS_FILE, load_student
from colbert_lab.student.student import Student
from colbert_lab.text.hub_tables import HUB_ID

log = logging.getLogger(__name__)
# Files of a model on the hub that a student is made of; what else lies there is not fetched.
HUB_FILES = ("*.json", "*.safetensors", "*.bin", "*.pt", "*.txt", "*.model", "artifact.metadata")


@dataclass(frozen=True)
class Format:
    """A layout of a student's folder.

    Attributes:
        looked_for: what tells it from others, for messages.
        found: whether a folder has it.
        load: folder, attention implementation and consent to remote code to student.
        save: student and an empty folder; None where it can only be loaded.
        remote_code: whether a backbone in it may bring code of its own.
    """

    looked_for: str
    found: Callable[[Path], bool]
    load: Callable[[Path, str, bool], Student]
    save: Callable[[Student, Path], None] | None
    remote_code: bool = True


def _model_type(folder: Path) -> str | None:
    file = folder / CONFIG_FILE
    return read_json(file).get("model_type", "ColBERT") if file.is_file() else "ColBERT"


def _architecture(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and stanford.ARCHITECTURE in (read_json(file).get("architectures") or [])


FORMATS: Mapping[str, Format] = {
    "colbert_lab": Format(
        SETTINGS_FILE,
        lambda folder: (folder / SETTINGS_FILE).is_file(),
        lambda folder, attention, _: load_student(folder, attention),
        own.write_student,
        remote_code=False,
    ),
    sentence_transformers.NAME: Format(
        f"{MODULES_FILE} with model_type {sentence_transformers.MODEL_TYPE} in {CONFIG_FILE}",
        lambda folder: (
            (folder / MODULES_FILE).is_file() and _model_type(folder) == sentence_transformers.MODEL_TYPE
        ),
        sentence_transformers.load,
        sentence_transformers.save,
    ),
    pylate.NAME: Format(
        f"{MODULES_FILE} with model_type ColBERT (or none) in {CONFIG_FILE}",
        lambda folder: (folder / MODULES_FILE).is_file() and _model_type(folder) == "ColBERT",
        pylate.load,
        pylate.save,
    ),
    flmr.NAME: Format(
        " and ".join(f"{name}/" for name in flmr.TOKENIZERS),
        lambda folder: all((folder / name).is_dir() for name in flmr.TOKENIZERS),
        flmr.load,
        None,
        remote_code=False,
    ),
    stanford.NAME: Format(
        f"{stanford.METADATA_FILE}, or {stanford.ARCHITECTURE} in config.json",
        lambda folder: (folder / stanford.METADATA_FILE).is_file() or _architecture(folder),
        stanford.load,
        stanford.save,
    ),
    colbert_az.NAME: Format(
        colbert_az.HEAD_FILE,
        lambda folder: (folder / colbert_az.HEAD_FILE).is_file(),
        colbert_az.load,
        colbert_az.save,
    ),
}
"""By name, in the order in which they are looked for."""


def folder_of(checkpoint: str, key: str = KEY) -> Path:
    """The folder of a checkpoint: a local one, one inside an installed package, or a copy of a model on the hub.

    Args:
        checkpoint: a path, ``package:NAME/FOLDER``, or a hub id.
        key: the config key to name in errors.

    Raises:
        InputError: there is none.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        return path
    if checkpoint.startswith(PACKAGE_PREFIX):
        return Path(locate(checkpoint, key))
    if path.exists() or not HUB_ID.fullmatch(checkpoint) or checkpoint.count("/") != 1:
        raise InputError(f"{key}={checkpoint}: no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(checkpoint, allow_patterns=list(HUB_FILES)))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{key}={checkpoint}: no such folder, and the hub has no such model that can be reached ({first})"
        ) from error


def folder_digest(folder: Path) -> str:
    """Hash of all files of a checkpoint with their names: equal digests mean equal students."""
    digest = hashlib.sha256()
    for file in sorted(
        path for path in folder.rglob("*") if path.is_file() and any(map(path.match, HUB_FILES))
    ):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder)}\n{content}\n".encode())
    return digest.hexdigest()


def format_of(folder: Path, key: str = KEY) -> str:
    """Name of a folder's layout.

    Raises:
        InputError: none of those that are known.
    """
    for name, layout in FORMATS.items():
        if layout.found(folder):
            return name
    dense = (folder / MODULES_FILE).is_file()
    looked = "; ".join(f"{name}: {layout.looked_for}" for name, layout in FORMATS.items())
    hint = f"; it is a {_model_type(folder)}: start from it with student.backbone={folder}" if dense else ""
    raise InputError(f"{key}={folder}: not a student folder of a known layout (looked for {looked}){hint}")


def load_checkpoint(
    checkpoint: str, attention: str = "sdpa", trust_remote_code: bool = False, key: str = KEY
) -> Student:
    """Load a student from any known layout.

    Args:
        checkpoint: see :func:`folder_of`.
        attention: attention implementation of transformers.
        trust_remote_code: run Python code that comes with a backbone; off unless asked for.
        key: the config key to name in errors.

    Raises:
        InputError: there is no such folder, its layout is unknown, or something in it does not fit.
    """
    return load_folder(folder_of(checkpoint, key), attention, trust_remote_code, key)


def load_folder(folder: Path, attention: str, trust_remote_code: bool, key: str = KEY) -> Student:
    """Load a student from a local folder; like :func:`load_checkpoint`."""
    name = format_of(folder, key)
    if trust_remote_code and not FORMATS[name].remote_code:
        log.warning(
            "trust_remote_code has no effect on %s=%s: the layout %s brings no code", key, folder, name
        )
    try:
        return FORMATS[name].load(folder, attention, trust_remote_code)
    except InputError as error:
        raise InputError(str(error).replace(KEY, key, 1)) from error


def save_checkpoint(student: Student, target: str, folder: Path) -> None:
    """Write a student in a layout.

    Args:
        student: the student.
        target: name of the layout.
        folder: an empty folder; write to a temporary one (see :mod:`colbert_lab.atomic`).

    Raises:
        InputError: the layout is not known, or cannot hold the student.
    """
    writable = [name for name, layout in FORMATS.items() if layout.save is not None]
    if target not in writable:
        raise InputError(f"to={target}: must be one of {', '.join(writable)}")
    if student.model.pooling is not None and target != "colbert_lab":
        raise InputError(
            f"to={target}: this student has one vector a text, and the layout is for one a token"
        )
    save = FORMATS[target].save
    assert save is not None
    save(student, folder)
