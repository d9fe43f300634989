"""A command: the whole config, resolved once, and what the user typed of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from colbert_lab.settings.roles import texts
from colbert_lab.settings.typed import typed
from colbert_lab.settings.whole import APART, Settings, checked


@dataclass(frozen=True)
class Command:
    """What a command asks for.

    Attributes:
        settings: the whole config, checked and with every value filled in.
        config: the same as plain dicts and lists, which ``config.yaml`` and hashes are made from.
        overrides: what the user gave on the command line.
        asked: ``config`` as it was asked for, before the precision of this machine took the place of ``auto``.
    """

    settings: Settings
    config: Mapping[str, Any]
    overrides: Sequence[str]
    asked: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        config: DictConfig,
        overrides: Sequence[str] = (),
        given: Mapping[str, str] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> Command:
        """The command of a checked config.

        Args:
            config: what :func:`colbert_lab.settings.whole.checked` returned.
            overrides: what the user gave on the command line.
            given: texts by key, which take the place of its values.
            asked: see :class:`Command`; None where that is the same.
        """
        values: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
        values |= given or {}
        plain = {key: value for key, value in values.items() if key not in APART}
        return cls(typed(Settings, values), plain, tuple(overrides), plain if asked is None else asked)


def command_of(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    *,
    targets: bool = True,
    precision: Callable[[str, str], str] | None = None,
) -> Command:
    """Check what Hydra composed, and resolve it.

    Args:
        cfg: what Hydra composed; it stays as it is.
        overrides: what the user gave on the command line.
        targets: see :func:`colbert_lab.settings.whole.checked`.
        precision: makes the precision of this machine of ``trainer.precision`` and ``trainer.accelerator``; None
            leaves ``auto`` as it is.

    Raises:
        InputError: see :func:`colbert_lab.settings.whole.checked`.
    """
    cfg = copy.deepcopy(cfg)
    given = {key: str(cfg[key]) for key in texts(Settings) if "." not in key and cfg[key] is not None}
    for key in given:
        cfg[key] = None  # "${" in a text is no interpolation
    asked = Command.of(checked(cfg, targets), overrides, given)
    if precision is None:
        return asked
    trainer = asked.settings.trainer
    cfg.trainer.precision = precision(trainer.precision, trainer.accelerator)
    return Command.of(checked(cfg, targets=False), overrides, given, asked.config)
