"""What a tracker calls a run's tables and its group, and what it is told of the config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from colbert_lab.records.identity import OF_OTHER_TASKS

RUN_ID = "run_id"
"""The run's id among the config of its W&B runs."""


def panel(title: str) -> str:
    """A table's title without numbers of queries and documents: the same for all sizes of a split.

    Args:
        title: of the table.
    """
    return re.sub(r": [\d,]+ (query|queries)\b.*$", "", title)


def group_of(name: str, run_id: str) -> str:
    """The name and hash of a run's config, which its seeds and phases share.

    Args:
        name: the run's name.
        run_id: see :func:`colbert_lab.records.identity.run_id`.
    """
    return f"{name} {re.sub(r'-s[0-9]+(-r[0-9]+)?$', '', run_id)}"


def used(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that a run uses: without what other tasks read, and without phases that it does not train.

    Args:
        config: the resolved config.
    """
    kept = {key: value for key, value in config.items() if key not in OF_OTHER_TASKS}
    if isinstance(phases := kept.get("phases"), Mapping):
        schedule = config.get("schedule") or ()
        kept["phases"] = {name: phase for name, phase in phases.items() if name in schedule}
    return kept
