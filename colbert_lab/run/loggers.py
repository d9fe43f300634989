"""The loggers that ``tracking.loggers`` names: Lightning's for CSV, TensorBoard and MLflow, and a user's own."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import yaml
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, to_markdown
from colbert_lab.base.locks import one_maker
from colbert_lab.settings.typed import NAME, instance_of
from colbert_lab.tracking.tracker import LoggedPhase, logger_guarded

KEY = "tracking.loggers"
PLACE = "phase_place"
"""MLflow's tag of the phase's folder."""
PACKAGES: Mapping[type[Logger], str] = {TensorBoardLogger: "tensorboard", MLFlowLogger: "mlflow"}
"""The package that a logger of Lightning needs; our extra of that name has it."""


class CSV(CSVLogger):
    """Lightning's CSV logger: one row a point in ``metrics.csv``, the config in ``hparams.yaml``.

    The phase's file is written anew each time that the phase is opened, from what is on disk.
    """

    def __init__(self, save_dir: str, name: str, version: str = "") -> None:
        super().__init__(save_dir, name, version, flush_logs_every_n_steps=1)
        _remove(Path(self.log_dir), "metrics.csv", "hparams.yaml")


class TensorBoard(TensorBoardLogger):
    """Lightning's TensorBoard logger; the config and the tables are texts.

    The phase's events are written anew each time that the phase is opened, from what is on disk.
    """

    def __init__(self, save_dir: str, name: str, version: str = "") -> None:
        super().__init__(save_dir, name, version, default_hp_metric=False)
        _remove(Path(self.log_dir), "events.out.tfevents.*")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log the config as a text too."""
        super().log_hyperparams(params, *args, **kwargs)
        plain = vars(params) if isinstance(params, Namespace) else params
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
        self.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers under names that TensorBoard takes: other characters become ``_``."""
        super().log_metrics({re.sub(r"[^-/\w.]", "_", name): value for name, value in metrics.items()}, step)

    @rank_zero_only
    def log_table(self, key: str, columns: Sequence[str], data: Sequence[Sequence[str]]) -> None:
        """Log a table as Markdown."""
        self.experiment.add_text(re.sub(r"[^-/\w.]", "_", key), _markdown(key, columns, data))


class MLflow(MLFlowLogger):
    """Lightning's MLflow logger; tables are Markdown files among a run's artifacts.

    An MLflow run is a phase. When a phase is opened again, its former MLflow run is deleted, which MLflow can restore,
    and the phase is written anew from what is on disk. MLflow takes no ``@`` in a metric's name: ``ndcg@10`` is
    ``ndcg_at_10``. It takes no character of other kinds either; those become ``_``.

    Args:
        experiment_name: MLflow's experiment.
        run_name: name of the MLflow run.
        tracking_uri: a server, or ``sqlite:///FILE``, beside which the artifacts then are.
        folder: the phase's folder, by which its former MLflow run is found.
        tags: MLflow's tags.
    """

    def __init__(
        self,
        experiment_name: str,
        run_name: str,
        tracking_uri: str,
        folder: str,
        tags: dict[str, str] | None = None,
    ) -> None:
        file = tracking_uri.removeprefix("sqlite:///")
        local = file != tracking_uri
        place = hashlib.sha256(folder.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        # MLflow makes its database and an experiment without asking whether another process is just doing so.
        with one_maker(Path(file)) if local else nullcontext():
            super().__init__(
                experiment_name=experiment_name,
                run_name=run_name,
                tracking_uri=tracking_uri,
                tags={**(tags or {}), PLACE: place},
                artifact_location=(Path(file).parent.absolute() / "mlflow").as_uri() if local else None,
            )
            client = self._mlflow_client
            known = client.get_experiment_by_name(experiment_name)
            if known is not None:
                for run in client.search_runs([known.experiment_id], f"tags.`{PLACE}` = '{place}'"):
                    client.delete_run(run.info.run_id)
            _ = self.experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers under names that MLflow takes."""
        taken = {re.sub(r"[^-/\w. ]", "_", name.replace("@", "_at_")): v for name, v in metrics.items()}
        super().log_metrics(taken, step)

    @rank_zero_only
    def log_table(self, key: str, columns: Sequence[str], data: Sequence[Sequence[str]]) -> None:
        """Keep a table as a Markdown file among the artifacts."""
        file = f"{re.sub(r'[^-/A-Za-z0-9_.]+', '_', key)}.md"
        self.experiment.log_text(self.run_id, _markdown(key, columns, data), file)


class Following(Logger):
    """What Lightning logs to while a phase is trained: the points of the curves, and nothing else.

    Args:
        logged: who gets the points.
    """

    def __init__(self, logged: LoggedPhase) -> None:
        super().__init__()
        self.logged = logged

    @property
    def name(self) -> str:
        """Logger name, as Lightning wants it."""
        return self.logged.name

    @property
    def version(self) -> str:
        """Logger version, as Lightning wants it."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's config is logged once."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log a point."""
        self.logged.point(metrics, step)


def check_loggers(loggers: Mapping[str, Any]) -> None:
    """Whether ``tracking.loggers`` names loggers that can be made; nothing is opened.

    Args:
        loggers: name to settings with a ``_target_``.

    Raises:
        InputError: a name that is none, a class that is no logger of Lightning's, or a package that is not installed.
    """
    for name, chosen in loggers.items():
        key = f"{KEY}.{name}"
        if not NAME.fullmatch(name):
            raise InputError(f"{key}: must have a name of small letters, digits and _")
        if not isinstance(chosen, Mapping) or not isinstance(chosen.get("_target_"), str):
            raise InputError(f"{key}: names no class; give its _target_, or choose +logger@{key}=csv")
        made = resolve_name(chosen["_target_"])
        if not (isinstance(made, type) and issubclass(made, Logger)):
            raise InputError(
                f"{key}._target_={chosen['_target_']}: is no logger of Lightning; derive it from "
                "pytorch_lightning.loggers.Logger"
            )
        for kind, package in PACKAGES.items():
            if issubclass(made, kind) and importlib.util.find_spec(package) is None:
                raise InputError(
                    f'{key}: the package {package} is not installed; pip install "colbert-lab[{package}]"'
                )


def open_loggers(
    loggers: Mapping[str, Any], config: Mapping[str, Any], path: Path, run_id: str, phase: str
) -> list[LoggedPhase]:
    """Open the loggers of a phase and give them the run's config.

    Args:
        loggers: name to settings with a ``_target_``. ``{run}`` (the run's folder), ``{outputs}`` (``output_dir``),
            ``{phase}``, ``{name}`` and ``{run_id}`` in their texts are filled in.
        config: the run's resolved config.
        path: the run's folder.
        run_id: the run.
        phase: the phase.

    Returns:
        Those that could be opened; the log tells of others.
    """
    places = places_of(config, path, run_id, phase)
    opened = []
    for name, chosen in loggers.items():
        with logger_guarded(name, f"the phase {phase}"):
            made = instance_of(filled(chosen, places), f"{KEY}.{name}", Logger, "logger of Lightning")  # type: ignore[type-abstract]
            logged = LoggedPhase(name, made, phase)
            logged.config(config)
            opened.append(logged)
    return opened


def places_of(config: Mapping[str, Any], path: Path, run_id: str, phase: str) -> dict[str, str]:
    """What texts of loggers and callbacks may have in braces, such as ``{run}``; see :func:`open_loggers`."""
    return {
        "run": str(path.absolute()),
        "outputs": str(Path(config["output_dir"]).expanduser().absolute()),
        "phase": phase,
        "name": str(config["name"]),
        "run_id": run_id,
    }


def filled(value: Any, places: Mapping[str, str]) -> Any:
    """Plain values with places in their texts.

    Args:
        value: settings of a logger or callback.
        places: by the word in braces.
    """
    if isinstance(value, Mapping):
        return {key: filled(each, places) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, places) for each in value]
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: places.get(match.group(1), match.group(0)), value)
    return value


def _remove(folder: Path, *patterns: str) -> None:
    for file in [file for pattern in patterns for file in folder.glob(pattern)]:
        file.unlink()


def _markdown(key: str, columns: Sequence[str], data: Sequence[Sequence[str]]) -> str:
    return to_markdown([Table(key, tuple(columns), tuple(map(tuple, data)), (), ())])
