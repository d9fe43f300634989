"""The sweeper of ``hydra/sweeper=optuna``, where Hydra looks for plugins. Optuna is imported when it searches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


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
        from colbert_lab.run.searching import Launching, search
        from colbert_lab.settings import Command, command_of

        context, config = self.context, self.config
        assert context is not None
        assert config is not None

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=self.task_function, config=config
        )

        def compose(overrides: Sequence[str]) -> Command:
            whole = context.config_loader.load_sweep_config(config, list(overrides))
            return command_of(OmegaConf.masked_copy(whole, [str(key) for key in whole if key != "hydra"]))

        def launch(jobs: Sequence[Sequence[str]], first: int) -> Iterator[Any]:
            return (job.return_value for job in launcher.launch(jobs, initial_job_idx=first))

        values: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper)  # type: ignore[assignment]
        search(Launching(values, Path(config.hydra.sweep.dir), compose, launch), arguments)
