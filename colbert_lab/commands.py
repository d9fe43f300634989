"""Train, measure and compare from Python, as the command line does: the same runs, records and identities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colbert_lab.analysis.compare import Comparison, compare_runs
from colbert_lab.analysis.compare_table import comparison_rows, comparison_tables
from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.errors import InputError, given_texts, no_folder, told
from colbert_lab.base.layout import Table, tables_text, to_markdown
from colbert_lab.records.records import RECORDS_FILE, Record, read_records
from colbert_lab.records.run_directory import STATUS_FILE
from colbert_lab.records.runs import STUDENT
from colbert_lab.tasks.arguments import settings_of
from colbert_lab.tasks.composing import composed, performed

if TYPE_CHECKING:
    import pandas as pd

    from colbert_lab.api import Model
    from colbert_lab.sources.given import GivenRows


class _Shown:
    """Something that a terminal and a notebook show as tables."""

    def tables(self) -> list[Table]:
        """What is shown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return tables_text(self.tables())

    def _repr_markdown_(self) -> str:
        return to_markdown(self.tables())


@dataclass(frozen=True, repr=False)
class Result(_Shown):
    """A run: where it is, what it measured, and its students. ``Result(PATH)`` opens one that is there already.

    Attributes:
        path: its folder, see the reference of run folders.
        value: its headline, the number of ``evaluation.headline``; None where that was not measured.
    """

    path: Path
    value: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).expanduser().resolve())
        if not (self.path / STATUS_FILE).is_file():
            why = "is no run (no status.json)" if self.path.is_dir() else no_folder(self.path)
            raise InputError(f"{self.path}: {why}; give outputs/NAME/latest or outputs/NAME/RUN_ID")

    @cached_property
    def records(self) -> list[Record]:
        """Every measured number with all that it takes to tell what it is, in the order of ``results.jsonl``."""
        return read_records(self.path / RECORDS_FILE)

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """The phases that left a student, in order."""
        found = dict.fromkeys(record.phase for record in self.records if record.system == STUDENT)
        return tuple(phase for phase in found if (self.path / phase / STUDENT).is_dir())

    def tables(self) -> list[Table]:
        """The tables that the run printed, one a split."""
        return run_tables(self.path)

    def to_pandas(self) -> pd.DataFrame:
        """The records, one a row; the columns are the fields of :class:`colbert_lab.records.records.Record`."""
        import pandas as pd

        return pd.DataFrame([record.to_dict() for record in self.records])

    def student(self, phase: str | None = None) -> Path:
        """The folder of a trained student.

        Args:
            phase: after which phase; None for the last one.

        Raises:
            InputError: the run trained none, or not in this phase.
        """
        if not self.phases:
            raise InputError(f"{self.path}: this run trained no student")
        if phase is not None and phase not in self.phases:
            raise InputError(f"phase={phase}: must be one of {', '.join(self.phases)}")
        return self.path / (phase or self.phases[-1]) / STUDENT

    def load(self, phase: str | None = None, **settings: Any) -> Model:
        """Load a trained student.

        Args:
            phase: see :meth:`student`.
            settings: of :func:`colbert_lab.load`.
        """
        from colbert_lab.api import load

        return load(self.student(phase), **settings)


@dataclass(frozen=True, repr=False)
class Compared(_Shown):
    """Runs compared with a reference: every row with its interval and its tests."""

    comparison: Comparison

    def tables(self) -> list[Table]:
        """The tables of ``task=compare``: one for each measure and search mode."""
        return comparison_tables(self.comparison)

    def to_pandas(self) -> pd.DataFrame:
        """One row for each system, split, measure and mode; the columns are those of ``task=compare``'s CSV file."""
        import pandas as pd

        columns, *rows = comparison_rows(self.comparison)
        return pd.DataFrame(rows, columns=columns)


def train(
    experiment: str | None = None,
    *,
    overrides: Sequence[str] = (),
    data: GivenRows | Mapping[str, GivenRows] | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> Result:
    """Train a student and measure it before and after, as ``python -m colbert_lab +experiment=... KEY=VALUE`` does.

    The run has the folder, the records and the identity that the command gives it: a finished run is found again, and a
    killed one goes on, whichever of the two began it.

    Example:
        >>> import colbert_lab
        >>> rows = [{"query": "how do I open a file", "document": "open() opens a file."},
        ...         {"query": "how do I list a folder", "document": "os.listdir() lists a folder."}] * 16
        >>> judged = {"queries": {"q": "open a file"}, "corpus": {"a": "open() opens a file.", "b": "Sockets."},
        ...           "relevant_docs": {"q": {"a"}}}
        >>> result = colbert_lab.train(
        ...     "supervised_kd", data=rows, evaluation=judged, overrides=["schedule=[supervised]", "tracking=off"])
        >>> result.phases
        ('supervised',)
        >>> result.load().encode("open a file", "query").shape[-1]
        128

    Args:
        experiment: its name in ``conf/experiment``; ``task=list`` on the command line has them all.
        overrides: settings as they are typed on the command line, such as ``phases.distill.optimizer.lr=1e-5``.
        data: rows to train on in all phases of the schedule, as a ``datasets.Dataset`` or a list of mappings:
            ``{query, document}``, with ``negative`` (a list) beside them, or ``{query, documents, scores}`` for
            distillation; or several of these by the names of phases. They are written below ``cache_dir``, and their
            content identifies the run.
        evaluation: judgments to measure on in place of ``evaluation=``, as sentence-transformers' evaluators take them:
            ``queries``, ``corpus`` (texts by id) and ``relevant_docs`` (by query id, ids of documents or their grades).

    Raises:
        InputError: anything the caller can mend, in one line; nothing is then left that looks finished.
    """
    return _run("train", experiment, overrides, data, evaluation)


def evaluate(
    student: str | Path | Result | None = None,
    *,
    experiment: str | None = None,
    overrides: Sequence[str] = (),
    evaluation: Mapping[str, Any] | None = None,
) -> Result:
    """Measure a student, as ``python -m colbert_lab task=evaluate student.checkpoint=... KEY=VALUE`` does.

    Example:
        >>> import colbert_lab
        >>> judged = {"queries": {"q": "open a file"}, "corpus": {"a": "open() opens a file.", "b": "Sockets."},
        ...           "relevant_docs": {"q": {"a"}}}
        >>> result = colbert_lab.evaluate(evaluation=judged, overrides=["tracking=off"])
        >>> table = result.to_pandas()
        >>> float(table[(table.system == "student") & (table.measure == "recall@10")].value.iloc[0])
        1.0

    Args:
        student: a folder or hub id of a student in any layout, or a result whose last student is meant; None for the
            untrained student of the config.
        experiment: see :func:`train`.
        overrides: see :func:`train`.
        evaluation: see :func:`train`.

    Raises:
        InputError: anything the caller can mend, in one line.
    """
    checkpoint = student.student() if isinstance(student, Result) else student
    if checkpoint is not None and not isinstance(checkpoint, str | Path):
        raise InputError(
            f"student must be a folder, a hub id or a result, not {told(student)}"
            + ("; save(FOLDER) a model, and give the folder" if hasattr(student, "save") else "")
        )
    chosen = () if checkpoint is None else settings_of({"student.checkpoint": checkpoint})
    return _run("evaluate", experiment, [*chosen, *_settings(overrides)], None, evaluation)


def compare(
    runs: Sequence[str | Path | Result],
    *,
    baseline: str | Path | Result | Mapping[str, str] | None = None,
    measures: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    systems: Sequence[str] = (STUDENT,),
    allow_different: bool = False,
) -> Compared:
    """Say whether runs differ, as ``task=compare`` does; nothing is written.

    Args:
        runs: results, run folders, or folders of runs; the first one is the reference.
        baseline: another run as the reference; or its factor values, such as ``{"lr": "0.1"}``.
        measures: None for all, or some, such as ``["ndcg@10"]``.
        splits: None for all, or names in ``evaluation.splits``.
        systems: also ``before``, a phase, ``bm25``, ``dense``, ``teacher``.
        allow_different: show splits that are not the same for all runs, untested, instead of refusing them.

    Raises:
        InputError: see :func:`colbert_lab.analysis.compare.compare_runs`.
    """
    if isinstance(runs, str | Path | Result):
        raise InputError(f"runs must be a list of results or folders, not {told(runs)}")
    given = {"measures": measures, "splits": splits, "systems": systems}
    wanted = {name: None if each is None else given_texts(each, name) for name, each in given.items()}
    return Compared(
        compare_runs(
            [_folder(each) for each in runs],
            baseline=baseline if baseline is None or isinstance(baseline, Mapping) else _folder(baseline),
            measures=wanted["measures"],
            splits=wanted["splits"],
            systems=wanted["systems"] or (),
            allow_different=allow_different,
        )
    )


def _folder(run: str | Path | Result) -> Path:
    if isinstance(run, Result):
        return run.path
    if not isinstance(run, str | Path):
        raise InputError(f"runs: must be results or folders, not {told(run)}")
    return Path(run).expanduser()


def _settings(overrides: Sequence[str]) -> list[str]:
    settings = given_texts(overrides, "overrides")
    if named := next((each for each in settings if each.startswith("-")), None):
        raise InputError(f"overrides: {named}: is an option of the command line; give settings, KEY=VALUE")
    return settings


def _run(
    task: str,
    experiment: str | None,
    overrides: Sequence[str],
    data: GivenRows | Mapping[str, GivenRows] | None,
    evaluation: Mapping[str, Any] | None,
) -> Result:
    if experiment is not None and not isinstance(experiment, str):
        raise InputError(f"experiment must be the name of one, not {told(experiment)}")
    begin = [f"task={task}", *([] if experiment is None else [f"+experiment={experiment}"])]
    given = _settings(overrides)
    if data is not None or evaluation is not None:
        begin += _written(
            [*begin, *(each for each in given if each.startswith(("cache_dir=", "schedule=")))],
            data,
            evaluation,
        )
    path, value = performed([*begin, *given])
    assert path is not None
    return Result(path, value)


def _written(
    begin: Sequence[str],
    data: GivenRows | Mapping[str, GivenRows] | None,
    evaluation: Mapping[str, Any] | None,
) -> list[str]:
    """Settings that read what was given as objects, once it is written below ``cache_dir``."""
    from colbert_lab.sources.given import data_settings, evaluation_settings

    cfg, _ = composed(begin)
    cache = Path(cfg.cache_dir).expanduser().absolute()
    settings = {} if evaluation is None else evaluation_settings(evaluation, cache)
    by_phase = (
        data if isinstance(data, Mapping) else {phase: data for phase in cfg.schedule if data is not None}
    )
    if unknown := [phase for phase in by_phase if phase not in cfg.phases]:
        raise InputError(f"data: there is no phase {unknown[0]}; there are {', '.join(cfg.phases) or 'none'}")
    for phase, rows in by_phase.items():
        own = isinstance(data, Mapping) or cfg.phases[phase].get("data") is not None
        settings |= data_settings(rows, cache, f"phases.{phase}.data" if own else "data")
    return settings_of(settings)
