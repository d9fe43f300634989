"""What is behind the numbers of a page: what was looked at before and while training, settings, commands, machines."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.analysis.configurations import Configuration
from colbert_lab.analysis.score_audit import phase_facts, ranked_scores, score_table, training_table
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table
from colbert_lab.base.outside import read_json_or
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.contents import other_contents, read_contents
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.run_files import Status, read_config
from colbert_lab.records.runs import FINISHED, Run
from colbert_lab.records.texts import read_texts
from colbert_lab.report.headline import Headline
from colbert_lab.report.queries import judged

PROGRAM = "python -m colbert_lab"
NOT_TOLD = ("seed", "output_dir", "cache_dir")
"""Settings that are not told as differences: seeds belong to one configuration, and paths to a machine."""
MOST_WARNINGS = 20
WARNING = re.compile(r"\S+ \S+ WARNING (?!py\.warnings)\S+: (.*)")


class _Audit(TypedDict, total=False):
    """What is read of an ``audit.json``."""

    verdicts: list[str]


def checks(found: Headline) -> list[Table]:
    """What was found about training texts, teacher and scores of the run that the page is about; audit and warnings.

    Args:
        found: what :func:`colbert_lab.report.headline.headline` returned.
    """
    each = found.subject or found.reference
    run, split = each.row.configuration.runs[0], found.place.split
    tables = [training_table(run)] if phase_facts(run) else []
    texts = read_texts(run.path, split, each.row.fingerprint)
    try:
        scores = ranked_scores(run, split, judged(texts, split) if texts.relevant else None)
        tables.append(score_table(scores, split))
    except InputError:
        pass  # a mean of splits has no rankings
    tables += _audit(run)
    if warned := _warnings(run):
        tables.append(Table(f"Warnings in the log of {run.run_id}", ("warning",), warned, (), ()))
    return tables


def _audit(run: Run) -> list[Table]:
    """What ``task=audit`` of the run's name said last, where it wrote beside the runs."""
    name = run.records[0].name or run.path.parent.name
    outputs = run.path.parents[min(len(Path(name).parts), len(run.path.parents) - 1)]
    found = sorted(
        outputs.joinpath("audit").glob(f"{escape(name)}-*/audit.json"), key=lambda file: file.stat().st_mtime
    )
    told = read_json_or(found[-1], _Audit).get("verdicts") if found else None
    if not told:
        return []
    notes = (
        f"The newest audit called {name}, {found[-1].parent}; task=audit with the run's settings makes it anew.",
    )
    return [Table("Audit of the training data", ("finding",), tuple((each,) for each in told), (), notes)]


def _warnings(run: Run) -> tuple[tuple[str], ...]:
    try:
        text = (run.path / "run.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    told = dict.fromkeys(line[1] for line in map(WARNING.match, text.splitlines()) if line)
    return tuple((warning,) for warning in list(told)[:MOST_WARNINGS])


def settings_table(configurations: Mapping[str, Configuration]) -> Table | None:
    """The settings whose values are not the same in all configurations; None for one configuration.

    Args:
        configurations: by title.
    """
    if len(configurations) < 2:
        return None
    configs = {title: _flat(read_config(each.runs[0].path)) for title, each in configurations.items()}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    rows = []
    for key in keys:
        values = [config.get(key, NONE) for config in configs.values()]
        if len(set(values)) > 1 and key.partition(".")[0] not in NOT_TOLD:
            rows.append((key, *values))
    first, *others = [read_contents(each.runs[0].path) for each in configurations.values()]
    notes = [
        f"{title}: what is at {key} is not what the first one read."
        for title, contents in zip(list(configurations)[1:], others, strict=True)
        for key in other_contents(first, contents)
        if configs[title].get(key) == next(iter(configs.values())).get(key)
    ]
    if not rows and not notes:
        return None
    return Table("Settings that differ", ("setting", *configurations), tuple(rows), (), tuple(notes))


def _flat(value: Any, key: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        return {
            inner: text
            for name, part in value.items()
            for inner, text in _flat(part, f"{key}.{name}" if key else str(name)).items()
        }
    return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}


def commands(configurations: Mapping[str, Configuration]) -> list[tuple[str, str]]:
    """The command that makes the runs of each configuration, by its title.

    Args:
        configurations: by title.
    """
    return [(title, _command(each)) for title, each in configurations.items()]


def _command(each: Configuration) -> str:
    run = each.runs[0]
    about = read_json_or(run.path / STATUS_FILE, Status).get("run", {})
    given = about.get("overrides")
    if given is None:  # older runs know their factors alone
        given = [f"{'+' * (key == 'experiment')}{key}={value}" for key, value in run.factors.items()]
        given += [f"name={run.records[0].name}"] if run.records[0].name else []
    words = [word for word in given if not word.startswith("seed=")]
    seeds = [str(seed) for seed in each.seeds if seed is not None]
    words += [f"seed={','.join(seeds)}"] if seeds else []
    options = [word for folder in about.get("config_dirs", ()) for word in ("--config-dir", folder)]
    return f"{PROGRAM} {shlex.join([*options, *(['-m'] if len(seeds) > 1 else []), *words])}"


def runs_table(runs: Sequence[Run], found: Headline) -> Table:
    """Every run: its value, how it ended, commit and machine.

    Args:
        runs: in order.
        found: what :func:`colbert_lab.report.headline.headline` returned.
    """
    rows = []
    for run in runs:
        phase = run.phases[-1] if run.phases else "before"
        value = run.value(phase, found.place.split, found.place.measure)
        record = run.records[-1]
        commit = (record.commit or NONE)[:7] + ("+" if record.dirty else "")
        status = read_json_or(run.path / STATUS_FILE, Status).get("status", FINISHED)
        shown = NONE if value is None else f"{value:.4f}"
        rows.append(
            (run.run_id, str(run.seed), phase, shown, status, commit, record.hardware or NONE, str(run.path))
        )
    title = f"{measure_title(found.place.measure)} on {found.place.split}"
    columns = ("run", "seed", "after", title, "status", "commit", "hardware", "folder")
    notes = (
        ("+ after a commit: the code was changed since.",)
        if any(row[5].endswith("+") for row in rows)
        else ()
    )
    return Table("Runs", columns, tuple(rows), (), notes)
