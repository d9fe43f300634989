"""The sweeper of ``hydra/sweeper=optuna``, where Hydra looks for plugins. Optuna is imported when it searches."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Hands a search to :func:`colbert_lab.run.searching.search`. Hydra takes no sweeper from another package.

    Args:
        settings: what ``conf/hydra/sweeper/optuna.yaml`` has; they are read from the whole config.
    """

    def __init__(self, **settings: Any) -> None:
        self.context: HydraContext | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Search.

        Args:
            arguments: overrides of the command line, some of them with ranges.
        """
        from colbert_lab.run.searching import search

        assert self.context is not None
        assert self.config is not None
        search(self.config, self.context, self.task_function, arguments)
