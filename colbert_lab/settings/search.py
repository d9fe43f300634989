"""Settings of a search: ``hydra.sweeper`` with ``hydra/sweeper=optuna``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from colbert_lab.settings.allowed import one_of, whole
from colbert_lab.settings.checks import TARGET, check_values

NO_PRUNER = "NopPruner"


@dataclass(frozen=True)
class SearchSettings:
    """See ``conf/hydra/sweeper/optuna.yaml``."""

    params: dict[str, Any] | None
    n_trials: int = whole(1)
    n_jobs: int = whole(1)
    direction: str = one_of("maximize", "minimize")
    seed: int = whole(0)
    sampler: Any = None
    pruner: Any = None

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped before their end."""
        return not str(self.pruner[TARGET]).endswith(NO_PRUNER)


@dataclass(frozen=True)
class _Hydra:
    sweeper: SearchSettings


@dataclass(frozen=True)
class _Whole:
    hydra: _Hydra = field(default_factory=lambda: _Hydra(SearchSettings(None)))


def search_settings_of(values: Mapping[str, Any]) -> SearchSettings:
    """Settings of a search from plain values, checked.

    Args:
        values: ``hydra.sweeper``; what it has beside the settings is of Hydra.

    Raises:
        InputError: a wrong value, or a sampler or pruner that is not there or has no such argument.
    """
    own = {each.name: values[each.name] for each in fields(SearchSettings)}
    check_values({"hydra": {"sweeper": own}}, _Whole)
    return SearchSettings(**own)
