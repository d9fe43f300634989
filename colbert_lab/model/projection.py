"""Heads of a class of their own, which ``student.head._target_`` names."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pkgutil import resolve_name
from typing import Any

import torch
from torch import Tensor, nn

from colbert_lab.base.errors import InputError
from colbert_lab.model.colbert import Head
from colbert_lab.text.contents import code_id

KEY = "student.head"
TARGET = "_target_"
OURS = "colbert_lab.model."
BY_CONFIG = "choose that head in the config (head=NAME), "


@dataclass(frozen=True, kw_only=True)
class Projection:
    """A kind of head. A subclass is a frozen dataclass whose fields are its settings, in ``student.head``.

    It stands at the top level of its module, so that a saved student can say which class its head is of.
    """

    def layers(self, inputs: int, dim: int) -> nn.Module:
        """The untrained network that maps hidden states [..., inputs] to embeddings [..., dim], not normalised yet.

        No two of its weights share memory, as a student's file could not hold them.
        Each token is mapped by itself, so that neither padding nor other texts change it; ``task=certify`` compares.

        Args:
            inputs: width of the backbone's hidden states.
            dim: ``student.dim``.
        """
        raise NotImplementedError


class ProjectionHead(nn.Module):
    """A head of a :class:`Projection`; new weights are drawn from torch's global generator.

    Args:
        projection: its settings.
        inputs: width of the backbone's hidden states.
        dim: width of the embeddings.

    Attributes:
        out_features: width of the embeddings.

    Raises:
        InputError: the class does not give a network for these widths, or a student with it could not be loaded again.
    """

    def __init__(self, projection: Projection, inputs: int, dim: int) -> None:
        super().__init__()
        self.projection, self.inputs, self.out_features = projection, inputs, dim
        where = f"{KEY}.{TARGET}={self.target}"
        if imported(self.target) is not type(projection):
            raise InputError(
                f"{where}: must stand at the top level of its module, so that it can be found again"
            )
        try:
            told = json.dumps(self.settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: its settings must be plain values ({_short(error)})") from error
        if json.loads(told) != self.settings:
            raise InputError(
                f"{where}: its settings must be plain values, which a file gives back as they are"
            )
        try:
            self.layers = projection.layers(inputs, dim)
        except InputError as error:
            raise InputError(f"{KEY}.{error}") from error
        except Exception as error:
            raise InputError(
                f"{where}: gives no layers for {inputs} to {dim} dimensions: {_short(error)}"
            ) from error
        if not isinstance(self.layers, nn.Module):
            raise InputError(f"{where}: its layers are {type(self.layers).__name__} and no torch.nn.Module")
        self._try(where)
        self._check_kept(where)

    def _try(self, where: str) -> None:
        """Whether it maps tokens, in a batch and in none, to as many dimensions as it should."""
        training = self.layers.training
        self.layers.eval()
        for size in ((1, 2, self.inputs), (2, self.inputs)):
            try:
                with torch.no_grad(), torch.random.fork_rng(devices=[]):
                    found = self.layers(torch.zeros(size))
            except Exception as error:
                raise InputError(
                    f"{where}: cannot map hidden states of shape {size}: {_short(error)}"
                ) from error
            wanted = (*size[:-1], self.out_features)
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            if shape != wanted:
                raise InputError(
                    f"{where}: maps {size} to {shape}; with student.dim={wanted[-1]} it must give {wanted}"
                )
        self.layers.train(training)

    def _check_kept(self, where: str) -> None:
        """Whether a student's file can hold its weights: tensors, each with memory of its own."""
        kept: list[tuple[int, int, str]] = []
        for name, value in self.layers.state_dict().items():
            if not isinstance(value, Tensor):
                raise InputError(f"{where}: {name} of its layers is no tensor, so that it cannot be saved")
            if value.is_contiguous() and value.numel():
                first = value.data_ptr()
                kept.append((first, first + value.numel() * value.element_size(), name))
        for (_, end, one), (start, _, other) in pairwise(sorted(kept)):
            if start < end:
                raise InputError(
                    f"{where}: {one} and {other} of its layers are the same weights, which cannot be saved; give each "
                    "its own"
                )

    @property
    def target(self) -> str:
        """Whole name of the projection's class."""
        return f"{type(self.projection).__module__}.{type(self.projection).__qualname__}"

    @property
    def settings(self) -> dict[str, Any]:
        """The projection's settings, by name."""
        return {
            each.name: getattr(self.projection, each.name) for each in fields(self.projection) if each.init
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            TARGET: self.target,
            "inputs": self.inputs,
            "outputs": self.out_features,
            "settings": self.settings,
        }

    def identity(self) -> dict[str, Any]:
        """What decides its values beside its weights: also the code of its class where that is the user's own."""
        return self.to_dict() | {"code": code_id(self.target)}

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [..., inputs] to [..., outputs]."""
        out: Tensor = self.layers(hidden)
        return out


def described(head: Head | ProjectionHead) -> list[dict[str, Any]] | dict[str, Any]:
    """A head without its weights, as plain values: its layers, or the class it is of."""
    if isinstance(head, ProjectionHead):
        return head.to_dict()
    return [shape.to_dict() for shape in head.shapes]


def projection_of(settings: Mapping[str, Any]) -> Projection:
    """What ``student.head`` asks for; its class is imported, as the user's config names it.

    Args:
        settings: with a ``_target_``.

    Raises:
        InputError: the class is not there, is no projection, or does not take these settings.
    """
    target = str(settings[TARGET])
    where = f"{KEY}.{TARGET}={target}"
    try:
        kind = resolve_name(target)
    except Exception as error:
        raise InputError(f"{where}: cannot be imported ({_short(error)})") from error
    return _made(kind, where, {key: value for key, value in settings.items() if key != TARGET})


def imported(target: str) -> type[Projection] | None:
    """The projection of a whole name in a module that was imported already; nothing is imported here."""
    module, _, name = target.rpartition(".")
    found = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    return found if isinstance(found, type) and issubclass(found, Projection) else None


def head_named(values: Mapping[str, Any], where: str, trusted: bool) -> ProjectionHead:
    """A head that a student's folder names, with untrained weights.

    Its class must have been imported already, by a config that names it or by Python code, or come with this package.

    Args:
        values: what :meth:`ProjectionHead.to_dict` gave.
        where: the folder, for errors.
        trusted: whether a class that the folder names may be imported.

    Raises:
        InputError: it may not, or cannot be found; or these are no values of a head.
    """
    target, settings = values.get(TARGET), values.get("settings")
    widths = values.get("inputs"), values.get("outputs")
    if (
        not isinstance(target, str)
        or not isinstance(settings, dict)
        or any(type(each) is not int for each in widths)
    ):
        raise InputError(f"{where}: its head is not what colbert_lab writes; is it damaged?")
    of = f"{where}: its head is of the class {target}, which"
    if trusted or target.startswith(OURS):
        try:
            importlib.import_module(target.rpartition(".")[0])
        except Exception as error:
            raise InputError(f"{of} cannot be imported ({_short(error)})") from error
    kind = imported(target)
    if kind is None and trusted:
        raise InputError(f"{of} is no Projection of {__name__}")
    if kind is None:
        raise InputError(
            f"{of} is not imported here, and code that a folder names is not run; {BY_CONFIG}import its "
            "module first in Python, or trust the folder with trust_remote_code=true"
        )
    return ProjectionHead(_made(kind, of.removesuffix(", which"), settings), *widths)  # type: ignore[arg-type]


def _made(kind: Any, where: str, settings: Mapping[str, Any]) -> Projection:
    if not (isinstance(kind, type) and issubclass(kind, Projection)):
        raise InputError(f"{where}: is no head; derive it from {__name__}.Projection")
    try:
        return kind(**settings)
    except InputError as error:  # what a class says of itself begins with one of its settings
        raise InputError(f"{KEY}.{error}") from error
    except Exception as error:
        raise InputError(f"{where}: cannot be made of {dict(settings)}: {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
