"""Hydra composes the same configs faster: a test command is little else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.default_element import InputDefault


def compose_fast() -> None:
    """Read each config file once in a process, and resolve choices where a defaults list names one by ``${}``.

    Hydra merges all choices into a config of their own for each entry of every defaults list, and makes a config of
    each file each time.
    """
    if getattr(FileConfigSource.load_config, "once", False):
        return
    merged = defaults_list._create_interpolation_map
    resolved = InputDefault._resolve_interpolation_impl
    load = FileConfigSource.load_config
    known: dict[tuple[str, int, int], Any] = {}

    def later(*given: Any) -> Callable[[], Any]:
        return partial(merged, *given)

    def resolve(self: InputDefault, choices: Callable[[], Any], value: str) -> str:
        return resolved(self, choices(), value) if "${" in value else value

    def load_once(self: FileConfigSource, config_path: str) -> Any:
        path = Path(self.path) / self._normalize_file_name(config_path)
        if not path.is_file():
            return load(self, config_path)
        facts = path.stat()
        key = (str(path), facts.st_mtime_ns, facts.st_size)
        if key not in known:
            known[key] = load(self, config_path)
        return copy.deepcopy(known[key])

    load_once.once = True  # type: ignore[attr-defined]
    setattr(defaults_list, "_create_interpolation_map", later)  # noqa: B010
    setattr(InputDefault, "_resolve_interpolation_impl", resolve)  # noqa: B010
    setattr(FileConfigSource, "load_config", load_once)  # noqa: B010
