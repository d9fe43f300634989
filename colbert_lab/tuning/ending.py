"""What is said at the end of a search: the best trial, the command that measures it on all splits, and a picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from colbert_lab.analysis.trials import FINISHED, PRUNED, Trial, Trials, plot_search
from colbert_lab.base.atomic import atomic_path
from colbert_lab.base.errors import InputError
from colbert_lab.tuning.search import trials_in

PICTURE = "search.png"


def show_search(journal: Path, folder: Path, again: str) -> None:
    """Print what a search found so far, and draw it in ``search.png``.

    Args:
        journal: its file.
        folder: where the picture goes.
        again: the command that goes on with it.
    """
    found = trials_in(journal)
    best = found.best
    if best is None:
        print("search: no trial is finished yet")
        return
    counts = {state: sum(each.state == state for each in found.trials) for state in (FINISHED, PRUNED)}
    print(
        f"search: best of {counts[FINISHED]} finished and {counts[PRUNED]} pruned trials is {best.number}, "
        f"{found.objective} {best.value:.4f}"
    )
    print(f"to measure it on all splits: {best_command(again, best)}")
    try:
        draw(found, folder / PICTURE)
    except InputError as missing:
        print(f"search: no picture: {missing}")
    else:
        print(f"picture: {folder / PICTURE}")


def draw(found: Trials, file: Path) -> None:
    """Write the picture of a search as PNG.

    Args:
        found: its trials.
        file: where.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = plot_search(found)
    with atomic_path(file) as temporary:
        figure.savefig(temporary, format="png")


def best_command(again: str, best: Trial) -> str:
    """The command that runs a trial's settings as one run, which trains nothing again.

    Args:
        again: the search's command.
        best: the trial.
    """
    start, words = shlex.split(again)[:3], shlex.split(again)[3:]  # python -m colbert_lab
    kept = [word for word in words if not _of_search(word, [key.lstrip("+") for key in best.tried])]
    tried = [f"{key}={value}" for key, value in best.tried.items()]
    return shlex.join([*start, *kept, *tried, "hydra.mode=RUN"])


def _of_search(word: str, keys: Sequence[str]) -> bool:
    if word in ("-m", "--multirun"):
        return True
    key = word.partition("=")[0].lstrip("+")
    return key in keys or key.startswith(
        ("hydra/sweeper", "hydra.sweeper", "hydra/launcher", "hydra.launcher", "hydra.mode")
    )
