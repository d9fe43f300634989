"""What can be said of a run in one cell: columns, measures, factors and config keys, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from colbert_lab.analysis.configurations import DEFAULT
from colbert_lab.analysis.ledger.entries import RUNNING, Entry, Measured
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE
from colbert_lab.records.cost import mfu, total
from colbert_lab.records.identity import SHORT

COMMIT = 8  # digits of a commit that are shown
ERROR = 80  # characters of an error in a cell
NOWHERE = Measured(None, None)
Value = str | float | None


@dataclass(frozen=True)
class Column:
    """One thing about a run.

    Attributes:
        key: what filters, sorting and files call it.
        title: its heading in tables.
        value: the plain value; None where it is not known.
        shown: the text of a cell.
        time: whether the value is a moment, seconds since 1970.
    """

    key: str
    title: str
    value: Callable[[Entry], Value]
    shown: Callable[[Entry], str]
    time: bool = False


@dataclass(frozen=True)
class Place:
    """Where a run stands among those of its config.

    Attributes:
        seeds: different seeds of this config.
        number: of its executions with this seed, from the oldest: 2 for the first repetition.
        of: executions with this seed.
    """

    seeds: int = 1
    number: int = 1
    of: int = 1

    @property
    def text(self) -> str:
        """``3 seeds, rerun 2 of 2``."""
        said = [f"{self.seeds} seeds"] if self.seeds > 1 else []
        said += [f"{'rerun' if self.number > 1 else 'run'} {self.number} of {self.of}"] if self.of > 1 else []
        return ", ".join(said) or NONE


@dataclass
class Columns:
    """The columns of some runs.

    Args:
        entries: all runs there are, also those that are not listed: replicates and repetitions are counted among them.
        headline: the value to show, such as ``test/ndcg@10``; None shows each run's own ``evaluation.headline``.

    Raises:
        InputError: no run has the headline.
    """

    entries: Sequence[Entry]
    headline: str | None = None
    _fixed: dict[str, Column] = field(init=False)

    def __post_init__(self) -> None:
        self.measures = sorted({key for entry in self.entries for key in entry.values})
        if self.headline is not None and self.headline not in self.measures:
            raise InputError(f"ledger.headline={self.headline}: no run measured it; {self._measures_there()}")
        self.factors = list(dict.fromkeys(key for entry in self.entries for key in entry.factors))
        self.places = _places(self.entries)
        self._fixed = {column.key: column for column in self._all()}

    def about(self, entry: Entry) -> str | None:
        """Which value stands for the run: ``dev/ndcg@10``."""
        return self.headline or entry.headline

    def find(self, key: str, setting: str) -> Column:
        """The column of that name.

        Args:
            key: a column, ``<split>/<measure>``, a factor (its config key or the end of it, such as ``lr``), or any
                other key of the config.
            setting: which setting names it, for messages.

        Raises:
            InputError: nothing has this name, or two factors end so.
        """
        if key in self._fixed:
            return self._fixed[key]
        if key in self.measures:
            return _numbers(key, key, lambda entry: entry.values.get(key, NOWHERE).after, "{:.4f}")
        fitting = [key] if key in self.factors else [f for f in self.factors if f.endswith(f".{key}")]
        if len(fitting) > 1:
            raise InputError(f"{setting}: {key} may be {' or '.join(fitting)}; give the whole key")
        if fitting:
            return _factor(fitting[0], key)
        if any(_looked_up(entry.config, key) is not None for entry in self.entries):
            return _factor(key, key)
        there = f"columns {', '.join(self._fixed)}; factors {', '.join(self.factors) or 'none'}"
        raise InputError(f"{setting}: nothing is called {key}; there are {there}; {self._measures_there()}")

    def factor(self, key: str) -> Column:
        """The column of a factor; a run that does not override it has no value."""
        return _plain(key, key, lambda entry: entry.factors.get(key))

    def _measures_there(self) -> str:
        return f"measured are {', '.join(self.measures) or 'none'}"

    def value_of(self, entry: Entry) -> float | None:
        """The value that stands for the run."""
        return self._headline(entry).after

    def _headline(self, entry: Entry) -> Measured:
        return entry.values.get(self.about(entry) or "", NOWHERE)

    def _all(self) -> Iterable[Column]:
        yield _plain("run", "run", lambda entry: entry.run_id)
        yield _plain("name", "name", lambda entry: entry.name)
        yield Column("status", "status", lambda entry: entry.status, _status)
        yield _plain("seed", "seed", lambda entry: entry.seed)
        abouts = {self.about(entry) for entry in self.entries} - {None}
        title = abouts.pop() if len(abouts) == 1 else "headline"
        yield _numbers("value", title or "", self.value_of, "{:.4f}")
        yield _numbers("change", "change", lambda entry: self._headline(entry).change, "{:+.4f}")
        yield _plain("headline", "headline is", self.about)
        yield _plain("phase", "measured after", lambda entry: entry.phase)
        yield _moment("started", lambda entry: entry.started)
        yield _moment("ended", lambda entry: entry.ended)
        yield _plain("seconds", "took", lambda entry: entry.seconds, clock)
        yield _plain("seconds_train", "training", lambda entry: entry.seconds_train, clock)
        yield _plain("seconds_reused", "reused", lambda entry: entry.seconds_reused, clock)
        yield _numbers("device_hours", "device hours", lambda entry: entry.device_hours, "{:.3f}")
        yield _numbers("tokens", "tokens", lambda entry: total(c.tokens for c in entry.own_costs), "{:,.0f}")
        yield _numbers("tflop", "TFLOP", _tflop, "{:,.1f}")
        yield _numbers("mfu", "MFU", lambda entry: mfu(entry.own_costs), "{:.1%}")
        yield _numbers("memory_gib", "memory, GiB", _memory, "{:.2f}")
        yield Column("commit", "commit", lambda entry: entry.commit, _commit)
        yield _plain("dirty", "changed code", lambda entry: _text(entry.dirty))
        yield _plain("config", "config", lambda entry: entry.config_hash[:SHORT])
        yield _plain("seeds", "seeds", lambda entry: self.places[entry.path].seeds)
        yield _plain("rerun", "rerun", lambda entry: self.places[entry.path].number)
        yield _plain("reruns", "of", lambda entry: self.places[entry.path].of)
        yield _plain("same", "same config", lambda entry: self.places[entry.path].text)
        yield _plain("task", "task", lambda entry: entry.task)
        yield _plain("hardware", "hardware", lambda entry: entry.hardware)
        yield _plain("host", "host", lambda entry: entry.host)
        yield _plain(
            "error", "error", lambda entry: entry.error, lambda error: shortened(error or NONE, ERROR)
        )
        yield _plain("path", "path", lambda entry: str(entry.path))


def _tflop(entry: Entry) -> float | None:
    flops = total(cost.flops for cost in entry.own_costs)
    return None if flops is None else flops / 1e12


def _memory(entry: Entry) -> float | None:
    """The highest of its phases, of the GPU where there is one."""
    peaks = [cost.peak for cost in entry.own_costs]
    return max((peak for peak in peaks if peak is not None), default=0) / 2**30 or None


def _places(entries: Sequence[Entry]) -> dict[Any, Place]:
    seeds: dict[str, set[int | None]] = {}
    same: dict[tuple[str, int | None], list[Entry]] = {}
    for entry in sorted(entries, key=lambda each: (each.started or 0.0, len(each.run_id), str(each.path))):
        config = entry.config_hash[:SHORT]
        seeds.setdefault(config, set()).add(entry.seed)
        same.setdefault((config, entry.seed), []).append(entry)
    return {
        entry.path: Place(len(seeds[config]), number, len(members))
        for (config, _), members in same.items()
        for number, entry in enumerate(members, start=1)
    }


def _plain(
    key: str,
    title: str,
    value: Callable[[Entry], Value],
    form: Callable[[Any], str] = str,
    time: bool = False,
) -> Column:
    """A column whose cells show the value in a form of its own."""

    def shown(entry: Entry) -> str:
        found = value(entry)
        return NONE if found is None else form(found)

    return Column(key, title, value, shown, time)


def _numbers(key: str, title: str, value: Callable[[Entry], float | None], form: str) -> Column:
    return _plain(key, title, value, form.format)


def _moment(key: str, value: Callable[[Entry], float | None]) -> Column:
    return _plain(key, key, value, lambda found: f"{datetime.fromtimestamp(found):%Y-%m-%d %H:%M}", time=True)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _factor(key: str, title: str) -> Column:
    """A factor, or what the config says where a run did not override it."""

    def value(entry: Entry) -> Value:
        given = entry.factors.get(key)
        return _text(_looked_up(entry.config, key)) if given is None else given

    def shown(entry: Entry) -> str:
        return value(entry) or DEFAULT  # type: ignore[return-value]

    return Column(key, title, value, shown)


def _looked_up(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return None if isinstance(found, Mapping) else found


def _text(value: Any) -> str | None:
    """As one would write it on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_text(each) or 'null' for each in value)}]"
    return None if value is None else str(value)


def _status(entry: Entry) -> str:
    return f"running on {entry.host}" if entry.status == RUNNING and entry.host else entry.status


def _commit(entry: Entry) -> str:
    return NONE if entry.commit is None else entry.commit[:COMMIT] + ("+" if entry.dirty else "")


def number(value: Value) -> float | None:
    """The value as a finite number, if it is one."""
    try:
        found = float(value) if value is not None else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def shortened(text: str, length: int) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
