"""Find out which layout a checkpoint has, load it, and write a student in any of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.base.errors import InputError, named
from colbert_lab.model.formats import (
    bge_m3,
    colbert_az,
    flmr,
    own,
    pylate,
    sentence_transformers,
    stanford,
)
from colbert_lab.model.formats.modules import CONFIG_FILE, MODULES_FILE
from colbert_lab.model.formats.own import load_student
from colbert_lab.model.formats.shared import Parts, assemble
from colbert_lab.model.maxsim import MAXSIM, SCORES
from colbert_lab.model.model_files import KEY, locate, read_json, value
from colbert_lab.model.projection import BY_CONFIG, ProjectionHead
from colbert_lab.model.student import Student
from colbert_lab.text.contents import MODEL_FILES, PACKAGE_PREFIX, STUDENT_FILE, no_model

log = logging.getLogger(__name__)
HEADED = (KEY, "from")
"""Keys of a checkpoint beside which the config may choose the class of its head."""


NOT_EVERYWHERE = {
    "expansion_min": "expands queries to their whole length or not at all, and this student to student.expansion_min",
    "unscored": "scores the first token of a text, and this student does not",
}
"""Rules that few layouts can say: what the others do."""


@dataclass(frozen=True)
class Format:
    """A layout of a student's folder.

    Attributes:
        looked_for: what tells it from others, for messages.
        found: whether a folder has it.
        load: folder, attention implementation and consent to remote code to student.
        save: student and an empty folder; None where it can only be loaded.
        remote_code: whether a folder may bring or name code of its own, of its backbone or its head.
        scores: what a folder can say of its student's score.
        rules: what else a folder can say, of :data:`NOT_EVERYWHERE`.
    """

    looked_for: str
    found: Callable[[Path], bool]
    load: Callable[[Path, str, bool], Student]
    save: Callable[[Student, Path], None] | None
    remote_code: Callable[[Path], bool] = lambda _: True
    scores: Sequence[str] = (MAXSIM,)
    rules: Sequence[str] = ()


def _model_type(folder: Path) -> str | None:
    file = folder / CONFIG_FILE
    return value(read_json(file), "model_type", str, file, "ColBERT") if file.is_file() else "ColBERT"


def _architecture(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and stanford.ARCHITECTURE in value(
        read_json(file), "architectures", list[str], file, []
    )


def _assembled(read: Callable[[Path], Parts]) -> Callable[[Path, str, bool], Student]:
    return lambda folder, attention, trust_remote_code: assemble(read(folder), attention, trust_remote_code)


FORMATS: Mapping[str, Format] = {
    "colbert_lab": Format(
        STUDENT_FILE,
        lambda folder: (folder / STUDENT_FILE).is_file(),
        load_student,
        own.write_student,
        remote_code=own.names_code,
        scores=SCORES,
        rules=tuple(NOT_EVERYWHERE),
    ),
    # Its folder has modules.json too, for its dense vectors.
    bge_m3.NAME: Format(
        bge_m3.HEAD_FILE,
        lambda folder: (folder / bge_m3.HEAD_FILE).is_file(),
        _assembled(bge_m3.read),
        None,
    ),
    sentence_transformers.NAME: Format(
        f"{MODULES_FILE} with model_type {sentence_transformers.MODEL_TYPE} in {CONFIG_FILE}",
        lambda folder: (
            (folder / MODULES_FILE).is_file() and _model_type(folder) == sentence_transformers.MODEL_TYPE
        ),
        _assembled(sentence_transformers.read),
        sentence_transformers.save,
        scores=SCORES,
        rules=("expansion_min",),
    ),
    pylate.NAME: Format(
        f"{MODULES_FILE} with model_type ColBERT (or none) in {CONFIG_FILE}",
        lambda folder: (folder / MODULES_FILE).is_file() and _model_type(folder) == "ColBERT",
        _assembled(pylate.read),
        pylate.save,
    ),
    flmr.NAME: Format(
        " and ".join(f"{name}/" for name in flmr.TOKENIZERS),
        lambda folder: all((folder / name).is_dir() for name in flmr.TOKENIZERS),
        _assembled(flmr.read),
        None,
        remote_code=lambda _: False,
    ),
    stanford.NAME: Format(
        f"{stanford.METADATA_FILE}, or {stanford.ARCHITECTURE} in config.json",
        lambda folder: (folder / stanford.METADATA_FILE).is_file() or _architecture(folder),
        _assembled(stanford.read),
        stanford.save,
    ),
    colbert_az.NAME: Format(
        colbert_az.HEAD_FILE,
        lambda folder: (folder / colbert_az.HEAD_FILE).is_file(),
        _assembled(colbert_az.read),
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
    if problem := no_model(checkpoint):
        raise InputError(f"{key}={checkpoint}: {problem}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(checkpoint, allow_patterns=list(MODEL_FILES)))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{key}={checkpoint}: no such folder, and the hub has no such model that can be reached ({first})"
        ) from error


def format_of(folder: Path, key: str = KEY) -> str:
    """Name of a folder's layout.

    Raises:
        InputError: none of those that are known.
    """
    for name, layout in FORMATS.items():
        if layout.found(folder):
            return name
    if inside := students_in(folder):
        several = f"one of {len(inside)} ({named(map(str, inside), longest=4096, most=5)})"
        told = f"{key}={inside[0]}" if len(inside) == 1 else several
        raise InputError(
            f"{key}={folder}: is the folder of a run, or a part of one, and no student; give its student: {told}"
        )
    dense = (folder / MODULES_FILE).is_file()
    looked = "; ".join(f"{name}: {layout.looked_for}" for name, layout in FORMATS.items())
    hint = f"; it is a {_model_type(folder)}: start from it with student.backbone={folder}" if dense else ""
    raise InputError(f"{key}={folder}: not a student folder of a known layout (looked for {looked}){hint}")


def students_in(folder: Path) -> list[Path]:
    """The students of a phase's folder, a run's, or the runs of one name: each once, however many links lead to it."""
    found = (
        file.parent for depth in (".", "*", "*/*") for file in folder.glob(f"{depth}/student/{STUDENT_FILE}")
    )
    return list({path.resolve(): path for path in sorted(found)}.values())


def load_checkpoint(
    checkpoint: str, attention: str = "sdpa", trust_remote_code: bool = False, key: str = KEY
) -> Student:
    """Load a student from any known layout.

    Args:
        checkpoint: see :func:`folder_of`.
        attention: attention implementation of transformers.
        trust_remote_code: run Python code that comes with a backbone, or that the folder names of its head; off unless
            asked for.
        key: the config key to name in errors.

    Raises:
        InputError: there is no such folder, its layout is unknown, or something in it does not fit.
    """
    return load_folder(folder_of(checkpoint, key), attention, trust_remote_code, key)


def load_folder(folder: Path, attention: str, trust_remote_code: bool, key: str = KEY) -> Student:
    """Load a student from a local folder; like :func:`load_checkpoint`."""
    name = format_of(folder, key)
    try:
        if trust_remote_code and not FORMATS[name].remote_code(folder):
            log.warning(
                "trust_remote_code has no effect on %s=%s: it brings no code (layout %s)", key, folder, name
            )
        student = FORMATS[name].load(folder, attention, trust_remote_code)
    except InputError as error:
        told = str(error).replace(KEY, key, 1)
        if key not in HEADED:
            told = told.replace(BY_CONFIG, "")
        if str(folder) not in told:
            told = f"{key}={folder}: {told.removeprefix(f'{key}: ')}"
        raise InputError(told) from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{key}={folder}: its files are damaged, or of a kind that is not known: reading them led to "
            f"{type(error).__name__} ({' '.join(str(error).split())[:200]})"
        ) from error
    if student.tokenizer.cut_side:
        log.warning(
            "%s=%s: long texts are cut%s, as its tokenizer has truncation_side=left and its layout obeys it",
            key, folder, student.tokenizer.cut_side,
        )  # fmt: skip
    return student


def check_target(target: str) -> None:
    """Whether students can be written in a layout.

    Args:
        target: its name.

    Raises:
        InputError: there is none of that name, or it can only be read.
    """
    writable = [name for name, layout in FORMATS.items() if layout.save is not None]
    if target not in writable:
        raise InputError(f"to={target}: must be one of {', '.join(writable)}")


def save_checkpoint(student: Student, target: str, folder: Path) -> None:
    """Write a student in a layout.

    Args:
        student: the student.
        target: name of the layout.
        folder: an empty folder; write to a temporary one (see :mod:`colbert_lab.base.atomic`).

    Raises:
        InputError: the layout is not known, or cannot hold the student.
    """
    check_target(target)
    if isinstance(student.model.head, ProjectionHead) and target != "colbert_lab":
        raise InputError(
            f"to={target}: this student's head is of the class {student.model.head.target}, which only the layout "
            "colbert_lab can name"
        )
    if student.model.pooling is not None and target != "colbert_lab":
        raise InputError(
            f"to={target}: this student has one vector a text, and the layout is for one a token"
        )
    reading = student.tokenizer
    used = {
        "expansion_min": reading.floor("query") not in (0, reading.length("query")),
        "unscored": reading.rules.unscored > 0,
    }
    for rule in (rule for rule, is_used in used.items() if is_used and rule not in FORMATS[target].rules):
        holding = [name for name, layout in FORMATS.items() if layout.save and rule in layout.rules]
        raise InputError(
            f"to={target}: the layout {NOT_EVERYWHERE[rule]}; layouts that can say so: {', '.join(holding)}"
        )
    score = reading.rules.score
    if score not in FORMATS[target].scores:
        holding = [name for name, layout in FORMATS.items() if layout.save and score in layout.scores]
        raise InputError(
            f"to={target}: the layout's score is MaxSim, and this student's is {score}; layouts that can say so: "
            f"{', '.join(holding)}"
        )
    save = FORMATS[target].save
    assert save is not None
    save(student, folder)
