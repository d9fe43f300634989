"""Reader of W&B's offline run files (``offline-run-*/run-<id>.wandb``): what was logged, checked without W&B.

The framing is a LevelDB log (google/leveldb, doc/log_format.md) with W&B's own header and checksum. Worked
out from files that wandb 0.31.0 wrote, one of them over 214 blocks of which six end in padding:

- 7 bytes of header: ``:W&B``, the little-endian number 0xBEE1, version 0. They count as part of block 0.
- Blocks of 32 KiB. A chunk has a header of 7 bytes, all little-endian: uint32 checksum, uint16 length, uint8
  type (1 whole record, 2 first, 3 middle, 4 last chunk of one), then its data. It never crosses a block;
  where fewer than 7 bytes of a block are left, they are zero.
- The checksum is CRC-32 (zlib's polynomial, not LevelDB's masked CRC-32C) over the type byte and the data.
- A record is a ``wandb_internal.Record`` protobuf, read with the definitions that the installed wandb ships.
"""

from __future__ import annotations

import json
import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError

log = logging.getLogger(__name__)

MAGIC = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK = 32 * 1024
CHUNK = struct.Struct("<IHB")
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4
INTERNAL = "_wandb"
"""A key that W&B adds to config and summary for itself; it is left out."""


@dataclass(frozen=True)
class WandbRun:
    """What an offline run file holds of one run.

    Attributes:
        run_id: the run's id.
        name: its display name.
        group: its group, "" for none.
        job_type: its job type, "" for none.
        project: its project, "" for the default one.
        tags: its tags.
        config: the config, nested.
        history: one dict a logged step, nested, with W&B's ``_step``, ``_runtime`` and ``_timestamp``.
        summary: the last value of each key, and what was set on ``run.summary``.
        finished: whether the run was ended; a killed process leaves False.
    """

    run_id: str
    name: str
    group: str
    job_type: str
    project: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    finished: bool


def read_wandb_file(path: Path) -> WandbRun:
    """Read an offline run file.

    A tail that a killed process left unfinished is dropped with a logged warning. So is the tail of a run
    that has only just ended: with wandb 0.31.0, ``run.finish()`` was seen to return about 10 ms before the
    last records were on disk; ``finished`` tells.

    Args:
        path: the ``run-<id>.wandb`` file.

    Returns:
        The run.

    Raises:
        InputError: not such a file, a checksum that is wrong before the tail, or no run in it.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    run: Any = None
    finished = False
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    for data in _records(path):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            _apply(config, run.config)
            _apply(summary, run.summary)
        elif kind == "config":
            _apply(config, record.config)
        elif kind == "summary":
            _apply(summary, record.summary)
        elif kind == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                _put(row, _keys(item), json.loads(item.value_json))
            row.setdefault("_step", record.history.step.num)
            history.append(row)
        elif kind == "exit":
            finished = True
    if run is None:
        raise InputError(f"{path}: holds no run")
    config.pop(INTERNAL, None)
    summary.pop(INTERNAL, None)
    return WandbRun(
        run_id=run.run_id,
        name=run.display_name,
        group=run.run_group,
        job_type=run.job_type,
        project=run.project,
        tags=tuple(run.tags),
        config=config,
        history=history,
        summary=summary,
        finished=finished,
    )


def _records(path: Path) -> Iterator[bytes]:
    """The records of a file, whole and in order."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror}") from problem
    if not data.startswith(MAGIC):
        raise InputError(f"{path}: not an offline W&B run file (it begins with {data[:7]!r})")
    position, pending, inside = len(MAGIC), b"", False
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < CHUNK.size:
            position += left
            continue
        start, end = position, position + CHUNK.size
        if end <= len(data):
            checksum, length, kind = CHUNK.unpack_from(data, position)
            end += length
        if end > len(data) or (data[start:end] == bytes(CHUNK.size) and not any(data[start:])):
            log.warning("%s: the last %d bytes are an unfinished record, skipped", path, len(data) - start)
            return
        chunk = data[start + CHUNK.size : end]
        if zlib.crc32(bytes([kind]) + chunk) != checksum:
            if end == len(data):
                log.warning("%s: the last record is damaged, skipped", path)
                return
            raise InputError(f"{path}: the checksum at byte {start} is wrong: the file is damaged")
        if length > left - CHUNK.size or kind not in (WHOLE, FIRST, MIDDLE, LAST):
            raise InputError(f"{path}: the chunk at byte {start} is not one of W&B's (type {kind})")
        if inside != (kind in (MIDDLE, LAST)):
            raise InputError(f"{path}: the chunk at byte {start} does not continue the record before it")
        pending, inside = pending + chunk, kind in (FIRST, MIDDLE)
        if not inside:
            yield pending
            pending = b""
        position = end
    if inside:
        log.warning("%s: the last record is unfinished, skipped", path)


def _keys(item: Any) -> list[str]:
    """The path of a value: W&B fills either ``nested_key`` or ``key``."""
    return list(item.nested_key) or [item.key]


def _apply(target: dict[str, Any], change: Any) -> None:
    """Updates, then removals, of a config or summary record."""
    for item in change.update:
        _put(target, _keys(item), json.loads(item.value_json))
    for item in change.remove:
        *parents, last = _keys(item)
        inner: Any = target
        for key in parents:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(last, None)


def _put(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[keys[-1]] = value
