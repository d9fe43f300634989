"""Folders with ``modules.json``, which PyLate and sentence-transformers share: the list of modules and the heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import ACTIVATIONS, Head, LayerShape
from colbert_lab.model.formats.shared import fit, refuse
from colbert_lab.model.model_files import KEY, read_json, read_json_list, read_weights, value
from colbert_lab.model.projection import ProjectionHead

LIBRARIES = ("sentence_transformers.", "pylate.")
MODULES_FILE, CONFIG_FILE = "modules.json", "config_sentence_transformers.json"
ROLES = ("query", "document", "passage", "corpus")
"""Names of prompts that belong to a role: the queries', and those that the documents' may have."""
TRANSFORMER_FILES = (
    "sentence_bert_config.json", "sentence_roberta_config.json", "sentence_distilbert_config.json",
    "sentence_camembert_config.json", "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)  # fmt: skip
"""Where sentence-transformers has kept the settings of its Transformer module, the newest first."""


@dataclass(frozen=True)
class Module:
    """One entry of ``modules.json``.

    Attributes:
        kind: last part of its class's name, such as ``Dense``.
        type: the whole name.
        folder: where its files are.
    """

    kind: str
    type: str
    folder: Path

    def config(self, key: str = KEY) -> dict[str, Any]:
        """Its ``config.json``; empty when it has none."""
        file = self.folder / "config.json"
        return read_json(file, key) if file.is_file() else {}


def read_modules(folder: Path, key: str = KEY) -> list[Module]:
    """The modules of a folder, in order; the first one, and no other, is the Transformer.

    Args:
        folder: of the model.
        key: the config key to name in errors.

    Raises:
        InputError: there is no Transformer first or another one later, a module is of neither library or lies outside
            the folder, or the file is damaged.
    """
    modules = []
    file = folder / MODULES_FILE
    for entry in read_json_list(file, key):
        path, kind = (value(entry, name, str, file, key=key) for name in ("path", "type"))
        if path is None or kind is None:
            raise InputError(f"{key}: {file}: a module has no path or no type; is it damaged?")
        own = (folder / path).resolve()
        if not own.is_relative_to(folder.resolve()):
            raise InputError(f"{key}={folder}: {MODULES_FILE} points outside the folder ({path})")
        if not kind.startswith(LIBRARIES):
            raise InputError(
                f"{key}={folder}: its module {kind} is not known, and code that a folder names is not run"
            )
        modules.append(Module(kind.rpartition(".")[2], kind, own))
    kinds = [module.kind for module in modules]
    if kinds[:1] != ["Transformer"]:
        first = modules[0].type if modules else "nothing"
        raise InputError(f"{key}={folder}: its first module is {first}; only Transformer is known there")
    if "Transformer" in kinds[1:]:
        raise InputError(
            f"{key}={folder}: {MODULES_FILE} has {kinds.count('Transformer')} Transformer modules"
        )
    return modules


def read_transformer(module: Module, key: str = KEY) -> dict[str, Any]:
    """The settings of the Transformer module (lengths, lower-casing)."""
    for name in TRANSFORMER_FILES:
        if (module.folder / name).is_file():
            return read_json(module.folder / name, key)
    return {}


def role_prompts(config: dict[str, Any], key: str = KEY) -> tuple[str, str]:
    """The prompts of queries and of documents in ``config_sentence_transformers.json``; empty where there is none."""
    prompts = value(config, "prompts", dict[str, str | None], CONFIG_FILE, {}, key)
    query, *documents = (value(prompts, name, str, f"{CONFIG_FILE}: prompts", "", key) for name in ROLES)
    return query, next(filter(None, documents), "")


def read_head(folder: Path, modules: list[Module]) -> Head:
    """The Dense modules as one head.

    Raises:
        InputError: there are none, or one of them does what this head cannot.
    """
    shapes: list[LayerShape] = []
    weights: dict[str, Tensor] = {}
    dense = [module for module in modules if module.kind == "Dense"]
    if not dense:
        raise InputError(
            f"{KEY}={folder}: has no Dense module, so no trained head; start from it with student.backbone={folder}"
        )
    for number, module in enumerate(dense):
        config, file = module.config(), module.folder / "config.json"
        usual = "torch.nn.modules.linear.Identity" if module.type.startswith("pylate.") else "torch.nn.Tanh"
        activation = str(config.get("activation_function", usual))
        name = activation.rpartition(".")[2]
        if not activation.startswith("torch.nn.") or name not in ACTIVATIONS:
            raise InputError(
                f"{KEY}: {module.folder}/config.json: activation_function={activation} is not known, and code that a "
                "folder names is not run; known are classes of torch.nn without parameters"
            )
        lacking = [key for key in ("in_features", "out_features") if config.get(key) is None]
        if lacking:
            raise InputError(f"{KEY}: {module.folder}/config.json: {lacking[0]} is missing")
        shapes.append(
            LayerShape(
                inputs=value(config, "in_features", int, file),
                outputs=value(config, "out_features", int, file),
                bias=value(config, "bias", bool, file, True),
                activation=name,
                residual=value(config, "use_residual", bool, file, False),
            )
        )
        weights |= {f"{number}.{name}": value for name, value in read_weights(module.folder, KEY).items()}
    head = Head(shapes)
    fit(head, weights, f"{KEY}={folder}")
    return head


def write_modules(folder: Path, types: list[tuple[str, str]]) -> None:
    """Write ``modules.json``: class and folder of each module."""
    entries = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (kind, path) in enumerate(types)
    ]
    write_json(folder / MODULES_FILE, entries)


def write_head(head: Head | ProjectionHead, folder: Path, target: str, **config: Any) -> list[str]:
    """Write a head as Dense modules, each in a folder of its own.

    Args:
        head: the head.
        folder: where to.
        target: the layout, to name in errors.
        config: more values of each module's ``config.json``.

    Returns:
        The modules' folders.

    Raises:
        InputError: the layout cannot hold it.
    """
    if isinstance(head, ProjectionHead):
        raise refuse(
            target, f"this student's head is of the class {head.target}, which a Dense module is not"
        )
    if not head.shapes:
        raise refuse(target, "this student has no head, and the layout needs one")
    if any(shape.gated for shape in head.shapes):
        raise refuse(target, "this student's head is gated (a GLU), which a Dense module is not")
    paths = []
    for number, layer in enumerate(head, start=1):
        shape = head.shapes[number - 1]
        path = f"{number}_Dense"
        (folder / path).mkdir()
        activation = type(layer.activation)
        values = {
            "in_features": shape.inputs,
            "out_features": shape.outputs,
            "bias": shape.bias,
            "activation_function": f"{activation.__module__}.{activation.__name__}",
            "use_residual": shape.residual,
        }
        write_json(folder / path / "config.json", values | config)
        weights = {name: value.detach().cpu().contiguous() for name, value in layer.state_dict().items()}
        save_file(weights, folder / path / "model.safetensors", metadata={"format": "pt"})
        paths.append(path)
    return paths


def write_json(file: Path, values: Any) -> None:
    """Write a JSON file as the libraries do."""
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
