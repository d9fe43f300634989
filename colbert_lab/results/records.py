"""Records, the lines of ``results.jsonl``: one measured number with everything needed to tell what it is."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colbert_lab.atomic import atomic_path
from colbert_lab.types import Variant

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning; new fields alone do not need it."""

RECORDS_FILE = "results.jsonl"
"""Of a run, in its folder and among the own files of its W&B runs."""

EXACT = Variant().label
"""How exact search of float32 embeddings is called in records."""

TIMES = ("run_id", "seconds_train", "seconds_eval", "seconds_index", "seconds_search", "time")
"""Fields in which two executions of the same run may differ."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measure of one system on one split.

    Attributes:
        schema: version of this layout.
        run_id: the run that measured it.
        name: the run's name in the config.
        config_hash: identity of the config, see :func:`colbert_lab.results.identity.config_hash`.
        phase_hash: identity of the phase that the student comes from; None for other systems and before training.
        student_hash: of the student's weights, vocabulary, lengths, prompts and markers; None for other systems.
        factors: the overrides that make this run differ, as given on the command line.
        seed: the run's seed.
        step: optimizer steps done in the phase; None for other systems.
        system: ``student``, ``bm25``, ``teacher`` or ``dense``.
        system_name: which model it was, for people.
        phase: the phase just trained, ``before`` for the untrained student, ``baselines`` for other systems.
        dataset: name of the collection.
        split: name of the split in ``evaluation.splits``, unique in a run.
        split_fingerprint: hash of corpus, queries and judgments.
        protocol_hash: see :func:`colbert_lab.results.identity.protocol_hash`.
        mode: search mode (exact, rerank, muvera, muvera_rerank, plaid).
        storage: how token embeddings were kept (float32, float16, int8, residual4); None where the mode keeps none.
        pool_factor: document tokens that a pooled token stands for; 1 without pooling.
        measure: name such as ``ndcg@10``.
        value: mean over the judged queries; nan is stored as null.
        n_queries: number of judged queries.
        commit: git commit of the code; None when installed without a checkout.
        dirty: whether the checkout had changes; None without a checkout.
        seconds_train: wall time of training so far in this phase.
        seconds_eval: wall time of this evaluation.
        seconds_index: of ``seconds_eval``, making the index from the embeddings.
        seconds_search: of ``seconds_eval``, searching all queries.
        index_bytes: size of what was searched; None for systems that are not students.
        n_documents: documents that were searched.
        hardware: short label, see :func:`colbert_lab.results.environment.hardware_label`.
        time: when it was written, seconds since 1970 (UTC).
        extra: fields of newer versions that this one does not know; written back unchanged.
    """

    schema: int = SCHEMA_VERSION
    run_id: str
    name: str = ""
    config_hash: str = ""
    phase_hash: str | None = None
    student_hash: str | None = None
    factors: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    step: int | None = None
    system: str
    system_name: str = ""
    phase: str = ""
    dataset: str
    split: str
    split_fingerprint: str = ""
    protocol_hash: str = ""
    mode: str = "exact"
    storage: str | None = "float32"
    pool_factor: int = 1
    measure: str
    value: float
    n_queries: int = 0
    commit: str | None = None
    dirty: bool | None = None
    seconds_train: float | None = None
    seconds_eval: float | None = None
    seconds_index: float | None = None
    seconds_search: float | None = None
    index_bytes: int | None = None
    n_documents: int | None = None
    hardware: str = ""
    time: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """The search in short: ``exact``, ``exact.int8``, ``muvera.pool2``."""
        return Variant(self.mode, self.storage, self.pool_factor).label

    def to_dict(self) -> dict[str, Any]:
        """The fields in their order, then the extra ones; what goes into the JSON line."""
        known = {name: getattr(self, name) for name in FIELDS}
        if isinstance(self.value, float) and math.isnan(self.value):
            known["value"] = None
        return {**known, **{key: value for key, value in self.extra.items() if key not in known}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """A record from a JSON object of this or another schema.

        Args:
            data: fields by name; missing optional ones take their default, unknown ones go to ``extra``.

        Raises:
            ValueError: a field without which the number means nothing is missing, or has the wrong type.
        """
        _check(data)
        known = {name: data[name] for name in FIELDS if name in data}
        value = known["value"]
        known["value"] = math.nan if value is None else float(value)
        known.setdefault("schema", 0)
        return cls(**known, extra={key: value for key, value in data.items() if key not in FIELDS})


FIELDS = tuple(f.name for f in dataclasses.fields(Record) if f.name != "extra")
REQUIRED = ("run_id", "system", "dataset", "split", "measure", "value")


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Add records to the end of a file, so that they are on disk when this returns.

    All lines go out in one write and are fsynced. A last line that a crash cut in half is first ended with a
    newline, so that it stays one broken line (which :func:`read_records` skips).

    Args:
        path: the file; made, with its folder, when missing.
        records: what to add.

    Raises:
        OSError: what the write raised (no space, no permission).
        TypeError: a factor or extra field that JSON cannot hold; nothing is written then.
    """
    lines = _lines(records)
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = "\n" + lines
        file.write(lines.encode("utf-8", "surrogatepass"))
        file.flush()
        os.fsync(file.fileno())


def rewrite_records(path: Path, records: Iterable[Record]) -> None:
    """Replace a file by these records, atomically; to drop what an interrupted evaluation left.

    Args:
        path: the file.
        records: its new content, for example a part of what :func:`read_records` returned.

    Raises:
        OSError: what the write raised; the file then still has its old content.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(_lines(records).encode("utf-8", "surrogatepass"))


def read_records(path: Path) -> list[Record]:
    """Read all records of a file; lines that are not records are skipped with a logged warning.

    Args:
        path: a ``results.jsonl``; a missing file has no records.

    Returns:
        The records in the order of the file.
    """
    return [Record.from_dict(data) for data in read_objects(path)]


def read_objects(path: Path) -> list[dict[str, Any]]:
    """The same as :func:`read_records`, as plain dicts: several times faster where thousands of files are read."""
    if not path.exists():
        return []
    objects = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line.decode("utf-8", "surrogatepass"))
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            _check(data)
            objects.append(data)
        except ValueError as problem:
            log.warning("%s, line %d is skipped, it is not a whole record: %s", path, number, problem)
    return objects


def _check(data: Mapping[str, Any]) -> None:
    """Whether the number means something.

    Raises:
        ValueError: a field without which it does not is missing, or has the wrong type.
    """
    missing = [name for name in REQUIRED if name not in data]
    if missing:
        raise ValueError(f"fields are missing: {', '.join(missing)}")
    value = data["value"]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"value is not a number: {value!r}")


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in records)


def without_times(record: Record) -> dict[str, Any]:
    """The fields that two executions of one run must share: all but run id, durations and time of day."""
    return {key: value for key, value in record.to_dict().items() if key not in TIMES}
