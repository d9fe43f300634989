"""Folders with ``modules.json``, which PyLate and sentence-transformers share: the list of modules and the heads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.student.formats.assembly import KEY, read_json, refuse
from colbert_lab.student.formats.weights import fit, read_weights
from colbert_lab.student.heads import ACTIVATIONS, Head, LayerShape

MODULES_FILE, CONFIG_FILE = "modules.json", "config_sentence_transformers.json"
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

    def config(self) -> dict[str, Any]:
        """Its ``config.json``; empty when it has none."""
        file = self.folder / "config.json"
        return read_json(file) if file.is_file() else {}


def read_modules(folder: Path) -> list[Module]:
    """The modules of a folder, in order; the first one is the Transformer.

    Raises:
        InputError: there is no Transformer first, or a module lies outside the folder.
    """
    modules = []
    entries: Any = read_json(folder / MODULES_FILE)
    for entry in entries:
        own = (folder / entry["path"]).resolve()
        if not own.is_relative_to(folder.resolve()):
            raise InputError(f"{KEY}={folder}: {MODULES_FILE} points outside the folder ({entry['path']})")
        modules.append(Module(entry["type"].rpartition(".")[2], entry["type"], own))
    if not modules or modules[0].kind != "Transformer":
        first = modules[0].type if modules else "nothing"
        raise InputError(f"{KEY}={folder}: its first module is {first}; only Transformer is known there")
    return modules


def read_transformer(module: Module) -> dict[str, Any]:
    """The settings of the Transformer module (lengths, lower-casing)."""
    for name in TRANSFORMER_FILES:
        if (module.folder / name).is_file():
            return read_json(module.folder / name)
    return {}


def role_prompts(config: dict[str, Any]) -> tuple[str, str]:
    """The prompts of queries and of documents in ``config_sentence_transformers.json``; empty where there is none."""
    prompts = config.get("prompts") or {}
    of_documents = (prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name))
    return prompts.get("query") or "", next(of_documents, "")


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
        config = module.config()
        usual = "torch.nn.modules.linear.Identity" if module.type.startswith("pylate.") else "torch.nn.Tanh"
        activation = str(config.get("activation_function", usual))
        name = activation.rpartition(".")[2]
        if not activation.startswith("torch.nn.") or name not in ACTIVATIONS:
            raise InputError(
                f"{KEY}: {module.folder}/config.json: activation_function={activation} is not known, and code that a "
                "folder names is not run; known are classes of torch.nn without parameters"
            )
        lacking = [key for key in ("in_features", "out_features") if key not in config]
        if lacking:
            raise InputError(f"{KEY}: {module.folder}/config.json: {lacking[0]} is missing")
        shapes.append(
            LayerShape(
                inputs=config["in_features"],
                outputs=config["out_features"],
                bias=config.get("bias", True),
                activation=name,
                residual=config.get("use_residual", False),
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


def write_head(head: Head, folder: Path, target: str, **config: Any) -> list[str]:
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
