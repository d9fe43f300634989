"""``task=runs``: the ledger, from the config to the table on the screen and in a file. Imports no torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import write_text
from colbert_lab.errors import InputError
from colbert_lab.logs import start_logging
from colbert_lab.results.layout import print_tables, to_markdown
from colbert_lab.results.ledger import read_ledger
from colbert_lab.results.ledger_columns import Columns
from colbert_lab.results.ledger_query import Query, select
from colbert_lab.results.ledger_table import ledger_csv, ledger_json, ledger_table
from colbert_lab.results.run_directory import output_file
from colbert_lab.results.tracking import Tracking, check_tags, connected_mode
from colbert_lab.settings import checked

log = logging.getLogger("colbert_lab")
ENDINGS = (".csv", ".md", ".json")
READ = ("task", "output_dir", "cache_dir", "progress", "tracking", "hydra", "ledger", "out", "to")
"""Settings that may be given: those that are read, and those that say nothing about what is listed."""


def execute(cfg: DictConfig) -> None:
    """List runs, write the list to a file when one is named, and write the runs to W&B when asked.

    Args:
        cfg: what Hydra composed; ``output_dir``, ``ledger``, ``out``, ``to`` and, for ``to=wandb``, ``tracking`` are
            read.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    start_logging()
    _check_read(list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [])
    target = cfg.get("to")
    cfg = checked(cfg)
    tracking = _tracking(target, cfg)
    settings = cfg.ledger
    out = output_file(cfg.out, ENDINGS)
    folder = Path(cfg.output_dir).expanduser()
    query = Query(
        names=_list(settings.name, "name"),
        statuses=_list(settings.status, "status"),
        where=_list(settings.where, "where"),
        since=settings.since,
        commit=settings.commit,
        sort=_list(settings.sort, "sort"),
        limit=settings.limit,
    )
    wanted = None if settings.columns is None else _list(settings.columns, "columns")
    if wanted == []:
        raise InputError("ledger.columns=[]: nothing to show; name columns, or null for the usual ones")
    columns = Columns(read_ledger(folder), settings.headline)
    entries = select(columns, query)
    table = ledger_table(columns, entries, wanted, str(folder))
    if out is not None:
        text = {
            ".csv": lambda: ledger_csv(columns, entries, wanted),
            ".md": lambda: to_markdown([table]),
            ".json": lambda: ledger_json(columns, entries, wanted),
        }[out.suffix.lower()]()
        write_text(out, text)
    if entries:
        print_tables([table])
    else:
        print(f"None of the {len(columns.entries):,} runs below {folder} fits.")
    if out is not None:
        log.info("saved: %s", out)
    if tracking is not None:
        from colbert_lab.results.rebuild import rebuild

        written, lost = rebuild(entries, tracking, cfg.progress)
        log.info(
            "W&B (%s): W&B runs written, one a phase: %d; of runs: %d", tracking.mode, written, len(entries)
        )
        if lost:
            raise InputError(
                f"to=wandb: {lost} of {written + lost} W&B runs could not be written, see above; the same command "
                "sends them again"
            )


def _tracking(target: str | None, cfg: DictConfig) -> Tracking | None:
    """Where ``to`` writes the runs; None where it is not given."""
    if target is None:
        return None
    if target != "wandb":
        raise InputError(f"to={target}: task=runs writes runs to wandb alone; set to=wandb")
    check_tags(cfg.tracking.tags)
    mode = connected_mode(cfg.tracking.mode)
    if mode == "off":
        raise InputError(
            "tracking.mode=off: nothing is written to W&B; use tracking=wandb or tracking=offline"
        )
    settings = cfg.tracking
    return Tracking(mode, settings.project, settings.entity, tuple(settings.tags), settings.wait_seconds)


def _check_read(overrides: Sequence[str]) -> None:
    """Whether something was given that has no effect here."""
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key.partition("@")[0].partition(".")[0] not in READ:
            instead = "choose runs with ledger.name=" if key == "name" else "leave it out"
            if key in ("seed", "experiment"):
                instead = f"choose runs with ledger.where={key}=..."
            raise InputError(f"{key}: has no effect on task=runs; {instead}")


def _list(value: Any, key: str) -> list[str]:
    """A setting that is one value or a list, as a list of texts."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    several = plain if isinstance(plain, list) else [] if plain is None else [plain]
    if any(isinstance(each, dict | list) or each is None for each in several):
        raise InputError(f"ledger.{key}={plain}: must be a value or a list of values")
    return [str(each) for each in several]
