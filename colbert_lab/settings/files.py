"""How config files are read: within bounds, fast, and each text once in a process."""

from __future__ import annotations

import io
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from colbert_lab.base.yaml_files import check_yaml


def bounded_configs() -> None:
    """Let Hydra load no config file whose aliases would take all time and memory, from wherever it is.

    Hydra reads each file, also of ``--config-dir`` and ``hydra.searchpath``, with ``OmegaConf.load``, which writes out
    what every alias stands for; it reads all of them twice, and in a sweep for each cell.
    """
    load = OmegaConf.load

    def bounded(file: Any) -> Any:
        text = Path(file).read_text(encoding="utf-8") if isinstance(file, str | Path) else file.read()
        where = file if isinstance(file, str | Path) else getattr(file, "name", "config")
        values = _values(text if isinstance(text, str) else text.decode("utf-8"), str(where))
        if isinstance(values, dict | list):
            return OmegaConf.create(values)
        return load(io.StringIO(text))

    if not hasattr(load, "bounded"):
        bounded.bounded = True  # type: ignore[attr-defined]
        setattr(OmegaConf, "load", staticmethod(bounded))  # noqa: B010


@lru_cache(maxsize=1024)
def _values(text: str, where: str) -> Any:
    """What ``OmegaConf.load`` reads of a text, by its own loader on libyaml's parser where there is one."""
    check_yaml(text, where)
    return yaml.load(text, _loader())


@cache
def _loader() -> Any:
    loader = get_yaml_loader()
    if not hasattr(yaml, "CSafeLoader"):
        return loader
    own = {name: getattr(loader, name) for name in ("yaml_constructors", "yaml_implicit_resolvers")}
    return type("Loader", (yaml.CSafeLoader, loader), own)
