"""What models and data sets hold, as short ids: equal ids mean equal content, wherever it lies. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sysconfig
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import no_folder
from colbert_lab.text.file_hashes import files_id, folder_files
from colbert_lab.text.fingerprint import fingerprint

PACKAGE_PREFIX = "package:"
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.pt", "*.txt", "*.model", "artifact.metadata")
"""Files that a model is made of; what else lies in its folder does not count, and is not fetched from the hub."""
CODE = ("*.py",)
MODELS = ("model", "checkpoint")
"""Settings of anything with a ``_target_`` that name a model: of teachers and retrievers, of yours too."""
DATA = ("path", "documents")
"""Settings of anything with a ``_target_`` that name data; a number in ``documents`` counts as it is."""
TOLD = ("_target_", "code")
"""What :func:`identity` says beside settings."""
STUDENT_FILE = "colbert_lab.json"
"""What tells a student's folder from others; it may name the class of the student's head."""


def package_folder(model: str) -> Path | None:
    """The folder of ``package:<package>/<folder>``, which need not exist; None where the package is not installed."""
    package, _, folder = model.removeprefix(PACKAGE_PREFIX).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / folder


def called(model: str) -> str:
    """What tables call a model: the end of its id or path.

    Args:
        model: hub id, folder or ``package:NAME/FOLDER``.
    """
    return model.removeprefix(PACKAGE_PREFIX).rstrip("/").removesuffix("/model").rsplit("/", 1)[-1]


def no_model(model: str) -> str | None:
    """What is wrong with the name of a model that is neither a folder nor could be an id on the hub; None otherwise."""
    path = Path(model).expanduser()
    if path.is_dir() or model.startswith(PACKAGE_PREFIX):
        return None
    on_hub = not path.exists() and HUB_ID.fullmatch(model) and model.count("/") == 1
    return None if on_hub else no_folder(path)


@lru_cache(maxsize=64)
def code_id(target: str) -> str | None:
    """What a class or function of the user's own is: the hash of its module, or of all modules of its package.

    Of an installed package it is the version. A process that asked once gets the same answer, as it has imported the
    code by then. Nothing is imported here. Modules that the code imports from elsewhere do not count.

    Args:
        target: its whole name, as a config has it.

    Returns:
        None for what comes with Python, torch or this package, and for what is not there.
    """
    top = target.partition(".")[0]
    if top in (__name__.partition(".")[0], "torch"):
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    # A folder without __init__.py is a package too, perhaps in several places.
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    for name in ("purelib", "platlib", "stdlib", "platstdlib"):
        if any(place.is_relative_to(Path(sysconfig.get_path(name)).resolve()) for place in places):
            named = importlib.metadata.packages_distributions().get(top, ())
            return f"version:{' '.join(map(importlib.metadata.version, sorted(named)))}" if named else None
    files = [folder_files(place, CODE) if place.is_dir() else {"": place} for place in places]
    return f"sha256:{files_id({f'{n}/{name}': file for n, each in enumerate(files) for name, file in each.items()})}"


def identity(thing: Any) -> dict[str, Any]:
    """What decides what a user's own dataclass computes, as plain values: its class, its code, its settings by content.

    A setting ``code`` stands as ``settings.code``, which no other setting can be called, and so does ``_target_``.

    Args:
        thing: what a config's ``_target_`` and settings made.
    """
    target = f"{type(thing).__module__}.{type(thing).__qualname__}"
    told: dict[str, Any] = {"_target_": target}
    if (code := code_id(target)) is not None:
        told["code"] = code
    for name, value in ((each.name, getattr(thing, each.name)) for each in fields(thing) if each.init):
        key = f"settings.{name}" if name in TOLD else name
        told[key] = identity(value) if is_dataclass(value) and not isinstance(value, type) else value
        if isinstance(value, str):
            content = model_id(value) if name in MODELS else data_id(value) if name in DATA else None
            told[key] = content or value
    return told


def model_id(model: str) -> str | None:
    """What a model setting means: the hash of its files, or the commit of a model on the hub.

    Where it is a saved student whose head is of a user's own class, the code of that class is a part of it.

    Args:
        model: a folder, ``package:<package>/<folder>``, or a hub id.

    Returns:
        None when it is not there, or not in the hub's local cache yet: what it holds is then not known.
    """
    folder = package_folder(model) if model.startswith(PACKAGE_PREFIX) else Path(model).expanduser()
    if folder is not None and folder.is_dir():
        files = files_id(folder_files(folder, (*MODEL_FILES, *CODE)))
        code = _head_code(folder)
        return f"sha256:{files if code is None else fingerprint(files, code)}"
    if (found := hub_commit(model, "model")) is None:
        return None
    return commit_id(found.removeprefix("commit:"), _hub_folder(model, "model") / "snapshots")


def commit_id(commit: str, snapshots: Path) -> str:
    """What a model on the hub is at a commit, see :func:`model_id`.

    Args:
        commit: in hexadecimal.
        snapshots: the folder of the hub's local cache that has a folder for each commit of the model.
    """
    code = _head_code(snapshots / commit)
    return f"commit:{commit}" if code is None else f"commit:{commit} {code}"


def _head_code(folder: Path) -> str | None:
    """See :func:`code_id`, of the class that a student's folder names of its head; None where it names none."""
    try:
        head = json.loads((folder / STUDENT_FILE).read_text(encoding="utf-8"))["head"]
        return code_id(head["_target_"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # no student; or a damaged one, and loading it will say so


def data_id(path: str, revision: str | None = None) -> str | None:
    """What a data setting means: the hash of a file or of a folder's files, or the commit of a data set on the hub.

    Args:
        path: a file, a folder, or a hub id.
        revision: of a data set on the hub.

    Returns:
        None where that is not known, see :func:`model_id`.
    """
    place = Path(path).expanduser()
    if place.is_file():
        return f"sha256:{files_id({'': place})}"
    if place.is_dir():
        return f"sha256:{files_id(folder_files(place))}"
    return hub_commit(path, "dataset", revision)


def hub_commit(name: str, kind: str, revision: str | None = None) -> str | None:
    """The commit that a hub id stands for in the hub's local cache; nothing is fetched.

    Args:
        name: ``owner/name``.
        kind: ``model`` or ``dataset``.
        revision: branch, tag or commit; None is ``main``.

    Returns:
        None where the cache does not have it.
    """
    if not HUB_ID.fullmatch(name):
        return None
    if revision is not None and COMMIT.fullmatch(revision):
        return f"commit:{revision}"
    ref = _hub_folder(name, kind) / "refs" / (revision or "main")
    return f"commit:{ref.read_text(encoding='utf-8').strip()}" if ref.is_file() else None


def _hub_folder(name: str, kind: str) -> Path:
    """Where the hub's local cache keeps a model or data set."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
