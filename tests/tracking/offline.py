"""Read what W&B wrote offline, once it is all there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError
from tests.tracking.wandb_file import WandbRun, _records, read_wandb_file


def finished_run(path: Path, seconds: float = 60) -> WandbRun:
    """The run in a file; ``finish()`` returns before the records are on disk, on a busy machine long before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            run = read_wandb_file(path)
        except InputError:
            run = None
        if run is not None and run.finished:
            return run
        time.sleep(0.05)
    return read_wandb_file(path)


def artifacts(path: Path) -> list[Any]:
    """The artifacts that an offline file logs, as W&B's own messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for data in _records(path):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "artifact":
            found.append(record.artifact)
        elif record.WhichOneof("record_type") == "request" and record.request.HasField("log_artifact"):
            found.append(record.request.log_artifact.artifact)
    return found
