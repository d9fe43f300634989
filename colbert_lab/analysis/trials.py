"""What became of the trials of a search, and its picture. matplotlib comes with the extra ``notebook``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.configurations import short_names
from colbert_lab.analysis.figures import COLOURS, new_figure, plain
from colbert_lab.evaluation.measures import measure_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FINISHED, PRUNED, LEFT = "finished", "pruned", "left"
BLUE, RED, GREEN, GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#555555"
TEXT = 10
MOST_SLICES = 6
"""Keys that have a panel of their own, the most important ones first."""


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: its place in the search, from 0.
        state: ``finished``, ``pruned``, or ``left``: it runs, or failed or was killed, and the same command
            takes it up.
        tried: by config key, what was tried: numbers of ranges, texts of choices.
        value: of the objective at its end; None of trials that are not finished.
        curve: what it reported while it trained, by optimizer step over all phases.
        run: its run directory, as far as is known.
    """

    number: int
    state: str
    tried: Mapping[str, Any]
    value: float | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    run: str | None = None


@dataclass(frozen=True)
class Trials:
    """All of a search.

    Attributes:
        objective: what is searched for, such as ``dev/ndcg@10``.
        maximize: whether more of it is better.
        logarithmic: keys whose logarithm is searched.
        trials: in their order.
        importance: by key, the share of what the objective's good values depend on; empty where too few are finished.
    """

    objective: str
    maximize: bool
    logarithmic: frozenset[str]
    trials: Sequence[Trial]
    importance: Mapping[str, float]

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best value, the first one among equals."""
        done = [
            (each, each.value) for each in self.trials if each.state == FINISHED and each.value is not None
        ]
        if not done:
            return None
        pick = max if self.maximize else min
        return pick(done, key=lambda pair: pair[1])[0]


def plot_search(found: Trials) -> Figure:
    """The history of a search, the dev curves of its trials, a slice for each key, and what the keys count for.

    Finished trials are blue discs; trials that were stopped are red crosses below the axis of values, as they have no
    value of the whole dev split; the best is circled in green.

    Args:
        found: the trials.

    Raises:
        InputError: matplotlib is not installed.
    """
    keys = sorted(
        dict.fromkeys(key for trial in found.trials for key in trial.tried),
        key=lambda k: -found.importance.get(k, 0),
    )
    names = short_names(keys)
    sliced = keys[:MOST_SLICES]
    with_curves, with_bars = any(trial.curve for trial in found.trials), len(found.importance) > 1
    n = 1 + with_curves + len(sliced) + with_bars
    columns = min(n, 3 if n != 4 else 2)
    rows = -(-n // columns)
    figure = new_figure(4.3 * columns, 3.2 * rows + 0.5)
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for panel in panels[n:]:
        panel.set_visible(False)
    _history(panels[0], found)
    if with_curves:
        _curves(panels[1], found)
    for number, key in enumerate(sliced):
        _slice(panels[1 + with_curves + number], found, key, names[key])
    if with_bars:
        _bars(panels[n - 1], found, names)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=TEXT)
    return figure


def _history(panel: Axes, found: Trials) -> None:
    plain(panel)
    done = [trial for trial in found.trials if trial.state == FINISHED]
    _marks(panel, found, [(trial.number, trial) for trial in found.trials])
    best: list[float] = []
    for trial in done:
        assert trial.value is not None
        best.append(trial.value if not best else (max if found.maximize else min)(best[-1], trial.value))
    panel.step(
        [trial.number for trial in done], best, where="post", color=GREEN, linewidth=1.4, label="best so far"
    )
    panel.locator_params(axis="x", integer=True)
    panel.set_xlabel("trial", fontsize=TEXT)
    panel.set_ylabel(_title(found), fontsize=TEXT)
    panel.tick_params(labelsize=TEXT)


def _curves(panel: Axes, found: Trials) -> None:
    plain(panel)
    for trial in found.trials:
        if not trial.curve:
            continue
        steps = sorted(trial.curve)
        values = [trial.curve[step] for step in steps]
        stopped = trial.state == PRUNED
        colour = RED if stopped else GREEN if trial == found.best else BLUE
        panel.plot(
            steps, values, color=colour, linewidth=2 if trial == found.best else 1.2, alpha=0.85, marker=".",
            linestyle="--" if stopped else "-",
        )  # fmt: skip
        if stopped:
            panel.plot(steps[-1:], values[-1:], "x", color=RED, markersize=7, markeredgewidth=1.8)
    panel.set_xlabel("optimizer step", fontsize=TEXT)
    panel.set_ylabel(f"{_title(found)}, cut", fontsize=TEXT)
    panel.tick_params(labelsize=TEXT)


def _slice(panel: Axes, found: Trials, key: str, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    plain(panel)
    places = _places([trial.tried[key] for trial in found.trials if key in trial.tried])
    if places:
        panel.set_xticks(range(len(places)), list(places))
        panel.set_xlim(-0.5, len(places) - 0.5)
    elif key in found.logarithmic:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
    at = [
        (places[str(trial.tried[key])] if places else trial.tried[key], trial)
        for trial in found.trials
        if key in trial.tried
    ]
    _marks(panel, found, at)
    panel.set_xlabel(name, fontsize=TEXT)
    panel.set_ylabel(_title(found), fontsize=TEXT)
    panel.tick_params(labelsize=TEXT)


def _places(values: Sequence[object]) -> dict[str, int]:
    """Where choices stand on an axis; nothing for numbers."""
    words = sorted({value for value in values if isinstance(value, str)})
    return {word: number for number, word in enumerate(words)}


def _bars(panel: Axes, found: Trials, names: dict[str, str]) -> None:
    plain(panel)
    panel.grid(visible=False, axis="y")
    keys = sorted(found.importance, key=lambda key: found.importance[key])
    shares = [100 * found.importance[key] for key in keys]
    panel.barh([names[key] for key in keys], shares, color=BLUE, height=0.5)
    panel.set_ylim(-0.75, len(keys) - 0.25)
    for place, share in enumerate(shares):
        panel.annotate(
            f"{share:.0f}%",
            (share, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=TEXT,
        )
    panel.set_xlim(0, 1.18 * max(shares))
    finished = sum(trial.state == FINISHED for trial in found.trials)
    panel.set_xlabel(f"importance (%), from {finished} finished trials", fontsize=TEXT)
    panel.tick_params(labelsize=TEXT)


def _marks(panel: Axes, found: Trials, at: Sequence[tuple[float, Trial]]) -> None:
    done = [(x, trial.value) for x, trial in at if trial.state == FINISHED and trial.value is not None]
    stopped = [x for x, trial in at if trial.state == PRUNED]
    best = [(x, trial.value) for x, trial in at if trial == found.best and trial.value is not None]
    panel.plot(
        [x for x, _ in done],
        [y for _, y in done],
        "o",
        color=BLUE,
        markersize=6,
        alpha=0.85,
        label="finished",
    )
    # In heights of the panel: they have no value of the whole split.
    (crosses,) = panel.plot(
        stopped, [0.03] * len(stopped), "x", color=RED, markersize=7, markeredgewidth=1.8, label="pruned (no value)",
        transform=panel.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
    crosses.set_in_layout(False)  # without trials it would count as lying at the corner of the figure
    panel.plot(
        [x for x, _ in best], [y for _, y in best], "o", markersize=12, markerfacecolor="none",
        markeredgecolor=GREEN, markeredgewidth=2, label="best",
    )  # fmt: skip
    panel.margins(y=0.16)


def _title(found: Trials) -> str:
    split, _, measure = found.objective.rpartition("/")
    return f"{measure_title(measure)}, {split}"
