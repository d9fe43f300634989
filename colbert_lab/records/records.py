"""Records, the lines of ``results.jsonl``: one measured number with everything needed to tell what it is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Any

from colbert_lab.base.atomic import atomic_path, is_name, named_when_full
from colbert_lab.base.errors import InputError, told
from colbert_lab.base.outside import DEEPEST, json_value, lines_of, too_deep, warn_once
from colbert_lab.base.types import Variant

SCHEMA_VERSION = 1
"""Raised when a field changes its meaning; new fields alone do not need it."""
RECORDS_FILE = "results.jsonl"
"""Of a run, in its folder and among the own files of its W&B runs."""
EXACT = Variant().label
"""How exact search of float32 embeddings is called in records."""
TIMES = ("run_id", "seconds_train", "seconds_eval", "seconds_index", "seconds_search", "time")
"""Fields in which two executions of the same run may differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One measure of one system on one split.

    Attributes:
        schema: version of this layout.
        run_id: the run that measured it.
        name: the run's name in the config.
        config_hash: identity of the config, see :func:`colbert_lab.records.identity.config_hash`.
        phase_hash: identity of the phase that the student comes from; None for other systems and before training.
        student_hash: of all that decides the student's embeddings; None for other systems.
        factors: the overrides that make this run differ, as given on the command line.
        seed: the run's seed.
        step: optimizer steps done in the phase; None for other systems.
        system: ``student``, ``teacher``, or the name of a baseline in ``evaluation.baselines`` (``bm25``, ``dense``).
        system_name: which model it was, for people.
        phase: the phase just trained, ``before`` for the untrained student, ``evaluate`` for that of
            ``task=evaluate``, ``baselines`` for other systems.
        dataset: name of the collection.
        split: name of the split in ``evaluation.splits``, unique in a run.
        split_fingerprint: hash of corpus, queries and judgments.
        protocol_hash: see :func:`colbert_lab.records.identity.protocol_hash`.
        mode: search mode (exact, rerank, muvera, muvera_rerank, plaid, xtr, or a name in ``evaluation.own_modes``).
        storage: how token embeddings were kept (float32, float16, int8, residual4); None where the mode keeps none.
        pool_factor: document tokens that a pooled token stands for; 1 without pooling.
        dim: first dimensions that were searched; None for all.
        measure: name such as ``ndcg@10``.
        value: mean over the judged queries; nan is stored as null.
        n_queries: number of judged queries.
        commit: git commit of the code; None when installed without a checkout.
        dirty: whether the checkout had changes; None without a checkout.
        seconds_train: wall time of training so far, over all phases that the run trained.
        seconds_eval: wall time of this evaluation.
        seconds_index: of ``seconds_eval``, making the index from the embeddings.
        seconds_search: of ``seconds_eval``, searching all queries.
        index_bytes: size of what was searched; None for systems that are not students.
        n_documents: documents that were searched.
        hardware: short label, see :func:`colbert_lab.records.environment.hardware_label`.
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
    dim: int | None = None
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
        return Variant(self.mode, self.storage, self.pool_factor, self.dim).label

    def to_dict(self) -> dict[str, Any]:
        """The fields in their order, then the extra ones; what goes into the JSON line."""
        known = {name: getattr(self, name) for name in FIELDS}
        if isinstance(self.value, float) and math.isnan(self.value):
            known["value"] = None
        return {**known, **{key: value for key, value in self.extra.items() if key not in known}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], checked: bool = False) -> Record:
        """A record from a JSON object of this or another schema.

        Args:
            data: fields by name; missing optional ones take their default, unknown ones go to ``extra``.
            checked: whether it comes from :func:`read_objects`, which checks it.

        Raises:
            ValueError: a field without which the number means nothing is missing, or has the wrong type.
        """
        if not checked:
            _check(data)
        known = {"schema": 0} | {name: data[name] for name in FIELDS if name in data}
        known["value"] = math.nan if known["value"] is None else float(known["value"])
        return cls(**known, extra={key: value for key, value in data.items() if key not in FIELDS})


FIELDS = tuple(f.name for f in dataclasses.fields(Record) if f.name != "extra")
REQUIRED = ("run_id", "system", "dataset", "split", "measure", "value")
PLACES = ("system", "phase", "split", "mode", "storage")
_SPELLED = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a JSON object",
}
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (float, int), "bool": (bool,), "Mapping[str, Any]": (dict,)
}  # fmt: skip
_TYPES = {
    f.name: _KINDS[str(f.type).removesuffix(" | None")] + ((NoneType,) if "None" in str(f.type) else ())
    for f in dataclasses.fields(Record)
    if f.name != "extra"
}
_TYPES["value"] += (NoneType,)


def append_records(path: Path, records: Iterable[Record]) -> None:
    """Add records to the end of a file, so that they are on disk when this returns.

    All lines go out in one write and are fsynced; where there is no room for all of them, none stays. A last line that
    a crash cut in half is ended with a newline first: one broken line, which :func:`read_records` skips.

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
    with named_when_full(path), path.open("a+b", buffering=0) as file:
        if (end := file.seek(0, os.SEEK_END)) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = "\n" + lines
        left = memoryview(lines.encode("utf-8", "surrogatepass"))
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


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
    """Read all records of a file; lines that are not records are skipped with one logged warning.

    Texts that many records share are kept once, so that a file takes less memory than its size.

    Args:
        path: a ``results.jsonl``; a missing file has no records.

    Returns:
        The records in the order of the file.
    """
    known: dict[Any, Any] = {}
    return [Record.from_dict(_shared(data, known), checked=True) for data in read_objects(path)]


def read_objects(path: Path) -> Iterator[dict[str, Any]]:
    """The same as plain dicts, one at a time: several times faster where thousands of files are read."""
    skipped, first = 0, ("", "")
    try:
        for number, line in lines_of(path):
            try:
                data = json_value(line)
                _check(data, line)
            except (ValueError, RecursionError) as problem:
                skipped += 1
                first = first if skipped > 1 else (f"{path}, line {number}", str(problem))
                continue
            yield data
    except FileNotFoundError:
        return
    except (OSError, InputError) as problem:
        told = getattr(problem, "strerror", None) or "it is no file"
        warn_once(f"{path} is skipped, it cannot be read: {told}")
    if skipped == 1:
        warn_once(f"{first[0]} is skipped, it is not a whole record: {first[1]}")
    elif skipped:
        warn_once(f"{first[0]} is skipped, and {skipped - 1} more: they are not whole records: {first[1]}")


def _shared(data: dict[str, Any], known: dict[Any, Any]) -> dict[str, Any]:
    """The same with texts and factors that are there already in place of equal ones."""
    for name, value in data.items():
        if isinstance(value, str):
            data[name] = known.setdefault(value, value)
        elif name == "factors":
            data[name] = known.setdefault(json.dumps(value), value)
    return data


def _check(data: Any, line: bytes = b"") -> None:
    """Whether the number means something, and the fields are what they are said to be.

    Args:
        data: a JSON value.
        line: its text, where it comes from a file.

    Raises:
        ValueError: it is no object, a field without which it means nothing is missing, or one has another type.
    """
    if not isinstance(data, dict):
        raise ValueError("not a JSON object")
    if line.count(b"{") + line.count(b"[") > DEEPEST and too_deep(data):
        raise ValueError("too many values inside each other")
    if missing := [name for name in REQUIRED if name not in data]:
        raise ValueError(f"fields are missing: {', '.join(missing)}")
    wrong, numbers = _looked_at(tuple(data), tuple(map(type, data.values())))
    for name in wrong:
        raise ValueError(f"{name} is not {_SPELLED[_TYPES[name][0]]}: {told(data[name])}")
    for name in numbers:
        value = data[name]
        if not -(2**63) < value < 2**63 and (type(value) is int or name != "value"):
            raise ValueError(f"{name} is not a number of at most 64 bits: {told(value)}")
    if (strange := _no_name(*map(data.get, PLACES))) is not None:
        raise ValueError(f"{PLACES[strange]} is no name: {told(data[PLACES[strange]])}")


@lru_cache(maxsize=4096)
def _no_name(*places: str | None) -> int | None:
    """The first of :data:`PLACES`, which are parts of the paths of a run's files, that would lead elsewhere."""
    wrong = (n for n, each in enumerate(places) if each and not is_name(each, inside=PLACES[n] == "split"))
    return next(wrong, None)


@lru_cache(maxsize=1024)
def _looked_at(names: tuple[str, ...], types: tuple[type, ...]) -> tuple[list[str], list[str]]:
    """The fields of a wrong type, and those that are numbers. Most lines of a file have the same fields and types."""
    known = [(name, kind) for name, kind in zip(names, types, strict=True) if name in _TYPES]
    wrong = [name for name, kind in known if kind not in _TYPES[name]]
    return wrong, [name for name, kind in known if kind in (int, float)]


def _lines(records: Iterable[Record]) -> str:
    return "".join(json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in records)
